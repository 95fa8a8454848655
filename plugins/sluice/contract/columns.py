"""The columns of a table: the fields of a Struct, flattened, with their SQL over staged rows."""

from collections.abc import Iterator

import msgspec
from msgspec import inspect as mi

from sluice.contract.column_names import NamedField, check_column_names, staged_names
from sluice.contract.column_type import ColumnType, nullable_type
from sluice.contract.docstrings import attribute_docs
from sluice.contract.inspection import unwrap
from sluice.contract.parts import ColumnOptions
from sluice.contract.scalar_types import unsupported
from sluice.contract.sql_type import SqlType
from sluice.contract.struct_options import check_struct
from sluice.contract.type_map import column_type_of
from sluice.sql import quote_identifier

STAGED = "message"
"""Name of the staged column that holds the message."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the target table.

    Attributes:
        name: the path joined with ``_``, ``shipping_address_street``, where ``column(name=…)``
            takes the place of a field's name.
        path: the field's path in the message, ``("shipping_address", "street")``.
        staged_path: the path of the element that holds it in the staged message.
        type: the staged and the stored type.
        info: msgspec's description of the field's type, without Optional and Meta.
        options: the contract's options for the column.
        nullable: whether the value may be null.
        comment: the column comment; by default the attribute's documentation.
    """

    name: str
    path: tuple[str, ...]
    staged_path: tuple[str, ...]
    type: ColumnType
    info: mi.Type
    options: ColumnOptions
    nullable: bool = False
    comment: str = ""

    @property
    def source(self) -> str:
        """SQL that computes the column from the staged message."""
        return self.type.select(".".join([STAGED, *map(quote_identifier, self.staged_path)]))


def columns_of(struct: type[msgspec.Struct]) -> list[Column]:
    """The columns of a Struct's table in field order, with nested Structs flattened.

    Raises:
        ContractError: a field cannot have its column type, or the names of two columns clash;
            ``field`` is the path of the field.
    """
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    columns = list(_flatten(info, _Parent((), (), (), (struct,), False)))
    check_column_names(
        NamedField(column.name, column.path, column.type.stored.name == "Array")
        for column in columns
    )
    return columns


class _Parent(msgspec.Struct, frozen=True):
    """The Struct whose fields are flattened.

    Attributes:
        path, staged_path: its path in the message and in the staged message.
        prefix: the parts that the names of its columns begin with.
        stack: the enclosing Structs and itself.
        may_be_absent: whether it, or a Struct that contains it, may be null.
    """

    path: tuple[str, ...]
    staged_path: tuple[str, ...]
    prefix: tuple[str, ...]
    stack: tuple[type, ...]
    may_be_absent: bool


def _flatten(info: mi.StructType, parent: _Parent) -> Iterator[Column]:
    """Columns of a Struct; all of them are nullable if the Struct itself may be absent."""
    check_struct(info, parent.path)
    docs = attribute_docs(info.cls)
    staged = staged_names(field.encode_name for field in info.fields)
    for field, staged_name in zip(info.fields, staged, strict=True):
        path, staged_path = (*parent.path, field.encode_name), (*parent.staged_path, staged_name)
        inner, options, nullable = unwrap(field.type)
        prefix = (*parent.prefix, options.name or field.encode_name)
        if isinstance(inner, mi.StructType) and not options.type:
            if inner.cls in parent.stack:
                raise unsupported(path, f"{inner.cls.__name__} contains itself")
            if options.truncate:
                raise unsupported(path, "column(truncate=True) belongs to the time within it")
            if nullable:
                yield _presence_column(prefix, path, staged_path)
            may_be_absent = parent.may_be_absent or nullable
            stack = (*parent.stack, inner.cls)
            yield from _flatten(inner, _Parent(path, staged_path, prefix, stack, may_be_absent))
            continue
        type_ = column_type_of(field.type, path, parent.stack)
        if parent.may_be_absent and not type_.is_nested:
            if type_.stored.dense.name != "Nullable":
                type_ = nullable_type(type_, path)
            nullable = True
        yield Column(
            name="_".join(prefix),
            path=path,
            staged_path=staged_path,
            type=type_,
            info=inner,
            options=options,
            nullable=nullable,
            comment=options.comment if options.comment is not None else docs.get(field.name, ""),
        )


def _presence_column(
    prefix: tuple[str, ...], path: tuple[str, ...], staged_path: tuple[str, ...]
) -> Column:
    """Whether an optional Struct is present: its own columns may all be null either way."""
    bool_ = SqlType("Bool")
    return Column(
        name="_".join((*prefix, "given")),
        path=path,
        staged_path=staged_path,
        type=ColumnType(bool_, bool_, lambda x: f"isNotNull({x})"),
        info=mi.BoolType(),
        options=ColumnOptions(),
        comment=f"whether {'.'.join(path)} is present",
    )
