"""The type table: which ClickHouse type each msgspec type is staged and stored as.

A message is staged whole, as one ``Tuple`` column that reads the JSON written by msgspec, and is
flattened when it is published. Each entry therefore has three parts: the staged type, the stored
type, and the SQL that converts one to the other.
"""

from collections.abc import Callable, Iterator

import msgspec
from msgspec import inspect as mi

from sluice.contract.parts import ColumnOptions
from sluice.contract.sql_type import SqlType, smallest_integer
from sluice.errors import ContractError
from sluice.sql import quote_string


class ColumnType(msgspec.Struct, frozen=True):
    """How values of one msgspec type are staged and stored.

    Attributes:
        stored: the column's type.
        staged: the type that reads the value as msgspec encodes it.
        convert: returns the SQL that converts a staged expression to the stored value; None if
            no conversion is needed.
    """

    stored: SqlType
    staged: SqlType
    convert: Callable[[str], str] | None = None

    @classmethod
    def same(cls, stored: str) -> "ColumnType":
        """A type that needs no conversion: it is staged as it is stored."""
        return cls(SqlType.parse(stored), SqlType.parse(stored))

    @property
    def is_nested(self) -> bool:
        """Whether the stored type is an Array, Map or Tuple."""
        return self.stored.name in ("Array", "Map", "Tuple")

    def select(self, expression: str) -> str:
        """SQL that converts a staged expression to the stored value."""
        return self.convert(expression) if self.convert else expression


def staged_type(struct: type[msgspec.Struct]) -> SqlType:
    """The named tuple type of the staged column that reads a whole message."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info, (), ()).staged


def unwrap(type_: mi.Type) -> tuple[mi.Type, ColumnOptions, bool]:
    """A type without Meta and Optional, its column options, and whether it may be null."""
    options, nullable = ColumnOptions(), False
    while True:
        if isinstance(type_, mi.Metadata):
            options = (type_.extra or {}).get("column", options)
            type_ = type_.type
        elif isinstance(type_, mi.UnionType) and type_.includes_none:
            rest = tuple(t for t in type_.types if not isinstance(t, mi.NoneType))
            type_, nullable = (rest[0] if len(rest) == 1 else mi.UnionType(rest)), True
        else:
            return type_, options, nullable


def walk_structs(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A class and all Structs nested in it, each once."""
    seen: list[type[msgspec.Struct]] = []
    waiting: list[mi.Type] = [mi.type_info(struct)]
    while waiting:
        inner, _, _ = unwrap(waiting.pop(0))
        match inner:
            case mi.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.append(cls)
                waiting += [field.type for field in fields]
            case mi.ListType(item_type=item) | mi.VarTupleType(item_type=item):
                waiting.append(item)
            case mi.DictType(value_type=value):
                waiting.append(value)
            case mi.UnionType(types=types) | mi.TupleType(item_types=types):
                waiting += types
    yield from seen


def unsupported(path: tuple[str, ...], reason: str) -> ContractError:
    """The error for a field that cannot have a column."""
    return ContractError(f"the field has no ClickHouse column: {reason}", field=".".join(path))


def refuse_array_like(info: mi.StructType, path: tuple[str, ...]) -> None:
    """Refuse a Struct that msgspec encodes as an array.

    Raises:
        ContractError: it does; ``field`` is the path.
    """
    if info.array_like:
        raise unsupported(path, f"{info.cls.__name__} is array_like; use a tuple instead")


_SCALARS: dict[type[mi.Type], ColumnType] = {
    mi.StrType: ColumnType.same("String"),
    mi.IntType: ColumnType.same("Int64"),
    mi.FloatType: ColumnType.same("Float64"),
    mi.BoolType: ColumnType.same("Bool"),
    mi.DateTimeType: ColumnType.same("DateTime64(3, 'UTC')"),
    mi.DateType: ColumnType.same("Date32"),
    mi.TimeType: ColumnType.same("Time64(6)"),
    mi.UUIDType: ColumnType.same("UUID"),
    mi.DecimalType: ColumnType.same("Decimal(38, 9)"),
}


def _microseconds(duration: str) -> str:
    """Int64 microseconds from a timedelta, which msgspec encodes as [-]P[nD][T[s.ffffff]S]."""
    days = f"toInt64OrZero(extract({duration}, '([0-9]+)D'))"
    seconds = f"toDecimal64OrZero(extract({duration}, '([0-9.]+)S'), 6)"
    sign = f"if(startsWith({duration}, '-'), -1, 1)"
    return f"{sign} * ({days} * 86400000000 + toInt64({seconds} * 1000000))"


_BYTES = ColumnType(SqlType("String"), SqlType("String"), lambda x: f"base64Decode({x})")
_DURATION = ColumnType(SqlType("Int64"), SqlType("String"), _microseconds)


def column_type_of(
    type_: mi.Type, path: tuple[str, ...], stack: tuple[type, ...] = ()
) -> ColumnType:
    """How values of a type are staged and stored.

    Args:
        path: path of the field, for errors.
        stack: the enclosing Structs, to detect one that contains itself.

    Raises:
        ContractError: the type table has no type for it; ``field`` is the path.
    """
    inner, options, nullable = unwrap(type_)
    column = _plain_type(inner, path, stack)
    if options.smallest:
        column = _smallest(inner, path)
    if options.type:
        chosen = SqlType.parse(options.type)
        staged = column.staged if column.convert else chosen.dense
        column = ColumnType(chosen, staged, column.convert)
    if options.low_cardinality and column.stored.name != "LowCardinality":
        stored = SqlType("LowCardinality", (column.stored,))
        column = ColumnType(stored, column.staged, column.convert)
    return nullable_type(column, path) if nullable else column


def _smallest(info: mi.Type, path: tuple[str, ...]) -> ColumnType:
    """The smallest integer type that holds the field's bounds."""
    if not isinstance(info, mi.IntType):
        raise unsupported(path, "column(smallest=True) requires an integer")
    low = info.ge if info.ge is not None else info.gt
    high = info.le if info.le is not None else info.lt
    if low is None or high is None:
        raise unsupported(path, "column(smallest=True) requires both bounds: Meta(ge=…, le=…)")
    smallest = smallest_integer(low, high, (8, 16, 32, 64))
    if smallest is None:
        raise unsupported(path, f"no integer type holds {low} to {high}")
    return ColumnType(smallest, smallest)


def nullable_type(type_: ColumnType, path: tuple[str, ...]) -> ColumnType:
    """The nullable form of a type.

    Raises:
        ContractError: ClickHouse has no nullable form of it; ``field`` is the path.
    """
    if type_.stored.name in ("Array", "Map"):
        raise unsupported(path, f"{type_.stored.name} cannot be null; use an empty default")
    stored, staged = type_.stored.nullable, SqlType("Nullable", (type_.staged,))
    convert = type_.convert
    if convert is None:
        return ColumnType(stored, staged)
    return ColumnType(
        stored, staged, lambda x: f"if(isNull({x}), NULL, {convert(f'assumeNotNull({x})')})"
    )


def _plain_type(info: mi.Type, path: tuple[str, ...], stack: tuple[type, ...]) -> ColumnType:
    if scalar := _SCALARS.get(type(info)):
        return scalar
    match info:
        case mi.BytesType() | mi.ByteArrayType() | mi.MemoryViewType():
            return _BYTES
        case mi.TimeDeltaType():
            return _DURATION
        case mi.EnumType(cls=cls):
            return _choice([member.value for member in cls], path)
        case mi.LiteralType(values=values):
            return _choice(list(values), path)
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            return _array(column_type_of(item, (*path, "[]"), stack))
        case mi.TupleType(item_types=items):
            return _tuple(
                [], [column_type_of(t, (*path, str(i)), stack) for i, t in enumerate(items)]
            )
        case mi.DictType(key_type=key, value_type=value):
            keys = column_type_of(key, (*path, "key"), stack)
            return _map(keys, column_type_of(value, (*path, "{}"), stack), path)
        case mi.StructType():
            return _struct(info, path, stack)
        case mi.UnionType(types=types) if all(isinstance(t, mi.StructType) for t in types):
            # ClickHouse keeps the object as its JSON text, whose tag identifies the Struct.
            return ColumnType.same("String")
        case mi.UnionType():
            raise unsupported(path, "it is a union of several types; use one field per type")
        case mi.AnyType() | mi.RawType():
            raise unsupported(path, "its type is unknown; make it as specific as the data allows")
    raise unsupported(path, f"{type(info).__name__.removesuffix('Type')} is not in the type table")


def _choice(values: list[object], path: tuple[str, ...]) -> ColumnType:
    """The type of an enum or literal: strings rather than Enum8, so that a new member does not
    require a change of the table.
    """
    if all(isinstance(v, str) for v in values):
        return ColumnType(SqlType.parse("LowCardinality(String)"), SqlType("String"))
    if all(isinstance(v, int) for v in values):
        return ColumnType.same("Int64")
    raise unsupported(path, "its values are neither all strings nor all integers")


def _array(item: ColumnType) -> ColumnType:
    convert = item.convert
    return ColumnType(
        SqlType("Array", (item.stored,)),
        SqlType("Array", (item.staged,)),
        (lambda x: f"arrayMap(x -> {convert('x')}, {x})") if convert else None,
    )


def _map(key: ColumnType, value: ColumnType, path: tuple[str, ...]) -> ColumnType:
    if key.convert:
        raise unsupported(path, "the keys of a map must be strings, numbers, dates or UUIDs")
    convert = value.convert
    return ColumnType(
        SqlType("Map", (key.stored, value.stored)),
        SqlType("Map", (key.staged, value.staged)),
        (lambda x: f"mapApply((k, v) -> (k, {convert('v')}), {x})") if convert else None,
    )


def _tuple(names: list[str], parts: list[ColumnType]) -> ColumnType:
    """A tuple of several types.

    Args:
        names: names of the elements; empty for an unnamed tuple.
    """
    stored = SqlType("Tuple", tuple(part.stored for part in parts), tuple(names))
    staged = SqlType("Tuple", tuple(part.staged for part in parts), tuple(names))
    if not any(part.convert for part in parts):
        return ColumnType(stored, staged)

    def convert(x: str) -> str:
        keys = [quote_string(name) for name in names] or [str(n + 1) for n in range(len(parts))]
        items = [
            part.select(f"tupleElement({x}, {key})") for key, part in zip(keys, parts, strict=True)
        ]
        return f"CAST(tuple({', '.join(items)}), {quote_string(str(stored))})"

    return ColumnType(stored, staged, convert)


def _struct(info: mi.StructType, path: tuple[str, ...], stack: tuple[type, ...]) -> ColumnType:
    if info.cls in stack:
        raise unsupported(path, f"{info.cls.__name__} contains itself")
    refuse_array_like(info, path)
    if not info.fields:
        raise unsupported(path, f"{info.cls.__name__} has no fields")
    inner = (*stack, info.cls)
    return _tuple(
        [f.encode_name for f in info.fields],
        [column_type_of(f.type, (*path, f.encode_name), inner) for f in info.fields],
    )
