"""The columns of a table: the fields of a Struct, flattened, with their SQL over staged rows."""

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
        type: the staged and the stored type.
        info: msgspec's description of the field's type, without Optional and Meta.
        options: the contract's options for the column.
        nullable: whether the value may be null.
        comment: the column comment; by default the attribute's documentation.
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
        """SQL that computes the column from the staged message."""
        return self.type.select(".".join([STAGED, *map(quote_identifier, self.path)]))


def columns_of(struct: type[msgspec.Struct]) -> list[Column]:
    """The columns of a Struct's table in field order, with nested Structs flattened.

    Raises:
        ContractError: a type has no column type, or two fields have the same column name;
            ``field`` is the path of the field.
    """
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    columns = list(_flatten(info, (), (struct,)))
    seen: dict[str, tuple[str, ...]] = {}
    for column in columns:
        if other := seen.get(column.name):
            raise ContractError(
                f"column {column.name!r} of {struct.__name__} would also hold field"
                f" {'.'.join(other)!r}; rename one of them",
                field=".".join(column.path),
            )
        seen[column.name] = column.path
    return columns


def _flatten(
    info: mi.StructType, path: tuple[str, ...], stack: tuple[type, ...], within_null: bool = False
) -> Iterator[Column]:
    """Columns of a Struct; all of them are nullable if the Struct itself may be absent."""
    docs = attribute_docs(info.cls)
    for field in info.fields:
        field_path = (*path, field.encode_name)
        inner, options, nullable = unwrap(field.type)
        if isinstance(inner, mi.StructType) and not options.type:
            if inner.cls in stack:
                raise unsupported(field_path, f"{inner.cls.__name__} contains itself")
            refuse_array_like(inner, field_path)
            if nullable:
                yield _presence_column(field_path)
            yield from _flatten(inner, field_path, (*stack, inner.cls), within_null or nullable)
            continue
        type_ = column_type_of(field.type, field_path, stack)
        if within_null and not nullable and not type_.is_nested:
            type_, nullable = nullable_type(type_, field_path), True
        yield Column(
            name="_".join(field_path),
            path=field_path,
            type=type_,
            info=inner,
            options=options,
            nullable=nullable,
            comment=options.comment if options.comment is not None else docs.get(field.name, ""),
        )


def _presence_column(path: tuple[str, ...]) -> Column:
    """Whether an optional Struct is present: its own columns may all be null either way."""
    bool_ = SqlType("Bool")
    return Column(
        name="_".join((*path, "given")),
        path=path,
        type=ColumnType(bool_, bool_, lambda x: f"isNotNull({x})"),
        info=mi.BoolType(),
        options=ColumnOptions(),
        comment=f"whether {'.'.join(path)} is present",
    )
