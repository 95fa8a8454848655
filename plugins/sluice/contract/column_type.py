"""How values are staged, converted, stored and checked, and how parts make up the whole."""

from collections.abc import Callable

import msgspec

from sluice.contract.checks import ValueCheck, each_element, each_entry, each_item, unless_null
from sluice.contract.scalar_types import unsupported
from sluice.contract.sql_type import SqlType
from sluice.contract.staged_form import Form, dict_form, list_form, null_form, set_form, tuple_form
from sluice.sql import quote_string

Path = tuple[str, ...]


class ColumnType(msgspec.Struct, frozen=True):
    """How values of one msgspec type are staged, stored and checked.

    Attributes:
        stored: the column's type.
        staged: the type that reads the value as msgspec encodes it.
        convert: returns the SQL that converts a staged expression to the stored value; None if
            no conversion is needed.
        check: refuses the decoded values that the column cannot hold; None if it holds all.
        form: turns a decoded value into what is encoded and staged; None if it is staged as it is.
    """

    stored: SqlType
    staged: SqlType
    convert: Callable[[str], str] | None = None
    check: ValueCheck | None = None
    form: Form | None = None

    @property
    def is_nested(self) -> bool:
        """Whether the stored type is an Array, Map or Tuple."""
        return self.stored.name in ("Array", "Map", "Tuple")

    def select(self, expression: str) -> str:
        """SQL that converts a staged expression to the stored value."""
        return self.convert(expression) if self.convert else expression


def with_stored(column: ColumnType, stored: SqlType) -> ColumnType:
    """The same, under another type of the column."""
    return msgspec.structs.replace(column, stored=stored)


def nullable_type(type_: ColumnType, path: Path) -> ColumnType:
    """The nullable form of a type.

    Raises:
        ContractError: ClickHouse has no nullable form of it; ``field`` is the path.
    """
    if type_.stored.name in ("Array", "Map"):
        raise unsupported(path, f"{type_.stored.name} cannot be null; use an empty default")
    stored, staged = type_.stored.nullable, SqlType("Nullable", (type_.staged,))
    check, form, convert = unless_null(type_.check), null_form(type_.form), type_.convert
    if convert is None:
        return ColumnType(stored, staged, None, check, form)

    def convert_nullable(x: str) -> str:
        return f"if(isNull({x}), NULL, {convert(f'assumeNotNull({x})')})"

    return ColumnType(stored, staged, convert_nullable, check, form)


def array_type(item: ColumnType, is_set: bool) -> ColumnType:
    """The array of a collection.

    Args:
        item: the type of its items.
        is_set: whether it is a set, which has no order of its own.
    """
    convert = item.convert
    return ColumnType(
        SqlType("Array", (item.stored,)),
        SqlType("Array", (item.staged,)),
        (lambda x: f"arrayMap(x -> {convert('x')}, {x})") if convert else None,
        each_item(item.check, enumerate),
        set_form(item.form) if is_set else list_form(item.form),
    )


def map_type(key: ColumnType, value: ColumnType, path: Path) -> ColumnType:
    """The map of a dict.

    Raises:
        ContractError: a map cannot have such keys; ``field`` is the path.
    """
    if key.convert or key.is_nested or key.stored.plain.name == "Bool":
        raise unsupported(path, "the keys of a map must be strings, numbers, dates or UUIDs")
    if key.stored.dense.name == "Nullable":
        raise unsupported(path, "the keys of a map cannot be null")
    convert = value.convert
    return ColumnType(
        SqlType("Map", (key.stored, value.stored)),
        SqlType("Map", (key.staged, value.staged)),
        (lambda x: f"mapApply((k, v) -> (k, {convert('v')}), {x})") if convert else None,
        each_entry(key.check, value.check),
        dict_form(value.form),
    )


def fixed_tuple_type(names: tuple[str, ...], parts: list[ColumnType]) -> ColumnType:
    """The tuple of a Python tuple.

    Args:
        names: names of the stored elements; empty for an unnamed tuple.
    """
    check = each_element([part.check for part in parts])
    return tuple_type((), names, parts, check, tuple_form([part.form for part in parts]))


def tuple_type(
    staged_as: tuple[str, ...],
    stored_as: tuple[str, ...],
    parts: list[ColumnType],
    check: ValueCheck | None,
    form: Form | None,
) -> ColumnType:
    """A tuple whose elements are staged and stored under some names, or none."""
    stored = SqlType("Tuple", tuple(part.stored for part in parts), stored_as)
    staged = SqlType("Tuple", tuple(part.staged for part in parts), staged_as)
    # ClickHouse matches named elements by their names, so other names need a conversion.
    if staged_as == stored_as and not any(part.convert for part in parts):
        return ColumnType(stored, staged, None, check, form)

    def convert(x: str) -> str:
        keys = [quote_string(name) for name in staged_as]
        keys = keys or [str(n + 1) for n in range(len(parts))]
        items = [
            part.select(f"tupleElement({x}, {key})") for key, part in zip(keys, parts, strict=True)
        ]
        return f"CAST(tuple({', '.join(items)}), {quote_string(str(stored))})"

    return ColumnType(stored, staged, convert, check, form)
