"""The columns of a Struct's table: nested Structs flattened, each with its way from staging."""

from collections.abc import Iterator

import msgspec
from msgspec import inspect as mi

from sluice.contract.docstrings import attribute_docs
from sluice.contract.parts import ColumnOptions
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import (
    ColumnType,
    column_type_of,
    nullable_type,
    refuse_array_like,
    unsupported,
    unwrap,
)
from sluice.errors import ContractError
from sluice.sql import quote_identifier

STAGED = "message"
"""Name of the staged column that holds the message."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the target table.

    Attributes:
        name: flattened name, ``shipping_address_street``.
        path: the field's path in the message, ``("shipping_address", "street")``.
        type: its type, staged and stored.
        info: msgspec's description of the field's type, without Optional and Meta.
        options: what the contract chose for it.
        nullable: whether the message may carry null.
        comment: the attribute's documentation.
    """

    name: str
    path: tuple[str, ...]
    type: ColumnType
    info: mi.Type
    options: ColumnOptions
    nullable: bool = False
    comment: str = ""

    @property
    def source(self) -> str:
        """SQL that makes this column from the staged message."""
        return self.type.select(".".join([STAGED, *map(quote_identifier, self.path)]))


def columns_of(struct: type[msgspec.Struct]) -> list[Column]:
    """The columns of a Struct's table, nested Structs flattened, in the order of the fields.

    Raises:
        ContractError: a type that has no column, or two fields with one column name; the
            error names the field.
    """
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    columns = list(_flatten(info, (), (struct,)))
    seen: dict[str, tuple[str, ...]] = {}
    for column in columns:
        if other := seen.get(column.name):
            raise ContractError(
                f"{struct.__name__}: fields {'.'.join(other)} and {'.'.join(column.path)}"
                f" would both be column {column.name!r}; rename one"
            )
        seen[column.name] = column.path
    return columns


def _flatten(
    info: mi.StructType, path: tuple[str, ...], stack: tuple[type, ...], within_null: bool = False
) -> Iterator[Column]:
    """Columns of a Struct; all of them may be null when the Struct itself may be absent."""
    docs = attribute_docs(info.cls)
    for field in info.fields:
        here = (*path, field.encode_name)
        inner, options, nullable = unwrap(field.type)
        if isinstance(inner, mi.StructType) and not options.type:
            if inner.cls in stack:
                raise unsupported(here, f"{inner.cls.__name__} contains itself")
            refuse_array_like(inner, here)
            if nullable:
                yield _given(here)
            yield from _flatten(inner, here, (*stack, inner.cls), within_null or nullable)
            continue
        type_ = column_type_of(field.type, here, stack)
        if within_null and not nullable and not type_.is_nested:
            type_, nullable = nullable_type(type_, here), True
        yield Column(
            name="_".join(here),
            path=here,
            type=type_,
            info=inner,
            options=options,
            nullable=nullable,
            comment=options.comment if options.comment is not None else docs.get(field.name, ""),
        )


def _given(path: tuple[str, ...]) -> Column:
    """Whether an optional Struct was there; its own columns cannot always tell."""
    name = "_".join((*path, "given"))
    bool_ = SqlType("Bool")
    type_ = ColumnType(bool_, bool_, lambda x: f"isNotNull({x})")
    comment = f"whether {'.'.join(path)} was there"
    return Column(
        name=name,
        path=path,
        type=type_,
        info=mi.BoolType(),
        options=ColumnOptions(),
        comment=comment,
    )
