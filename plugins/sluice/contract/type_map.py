"""The one type table of the system: from msgspec's types to ClickHouse's.

A message is staged whole, as one ``Tuple`` column read from the JSON that msgspec wrote,
and flattened when it is published. Each type therefore has three forms here: the type it
is staged as, the type of its column, and the SQL that makes the one from the other.
"""

from collections.abc import Callable, Iterator

import msgspec
from msgspec import inspect as mi

from sluice.contract.parts import ColumnOptions
from sluice.errors import ContractError
from sluice.sql import literal, quoted


class Form(msgspec.Struct, frozen=True):
    """One type, staged and stored.

    Attributes:
        type: the stored type.
        staged: the type that reads what msgspec encodes.
        convert: SQL making the stored value from the staged expression; None when they agree.
    """

    type: str
    staged: str
    convert: Callable[[str], str] | None = None

    def select(self, expression: str) -> str:
        """SQL that makes the stored value from a staged expression."""
        return self.convert(expression) if self.convert else expression


def staged_type(struct: type[msgspec.Struct]) -> str:
    """Type of the staged column that reads a whole message."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info, (), ()).staged


def unwrap(type_: mi.Type) -> tuple[mi.Type, ColumnOptions, bool]:
    """A type without Meta and Optional, the column options found on it, and whether it is null."""
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


def refused(path: tuple[str, ...], why: str) -> ContractError:
    """The error for a field that has no column."""
    return ContractError(f"field {'.'.join(path)!r} has no ClickHouse column: {why}")


def check_plain(info: mi.StructType, path: tuple[str, ...]) -> None:
    """Refuse a Struct that msgspec writes as an array."""
    if info.array_like:
        raise refused(path, f"{info.cls.__name__} is array_like; write it as a tuple")


_SCALARS: dict[type[mi.Type], Form] = {
    mi.StrType: Form("String", "String"),
    mi.IntType: Form("Int64", "Int64"),
    mi.FloatType: Form("Float64", "Float64"),
    mi.BoolType: Form("Bool", "Bool"),
    mi.DateTimeType: Form("DateTime64(3, 'UTC')", "DateTime64(3, 'UTC')"),
    mi.DateType: Form("Date32", "Date32"),
    mi.TimeType: Form("Time64(6)", "Time64(6)"),
    mi.UUIDType: Form("UUID", "UUID"),
    mi.DecimalType: Form("Decimal(38, 9)", "Decimal(38, 9)"),
}


def _microseconds(duration: str) -> str:
    """msgspec writes a timedelta as [-]P[nD][T[s.ffffff]S]; stored as Int64 microseconds."""
    days = f"toInt64OrZero(extract({duration}, '([0-9]+)D'))"
    seconds = f"toDecimal64OrZero(extract({duration}, '([0-9.]+)S'), 6)"
    sign = f"if(startsWith({duration}, '-'), -1, 1)"
    return f"{sign} * ({days} * 86400000000 + toInt64({seconds} * 1000000))"


_BYTES = Form("String", "String", lambda x: f"base64Decode({x})")
_DURATION = Form("Int64", "String", _microseconds)


def form_of(type_: mi.Type, path: tuple[str, ...], stack: tuple[type, ...] = ()) -> Form:
    """Staged and stored form of one type.

    Raises:
        ContractError: there is none; names the field by ``path``.
    """
    inner, options, nullable = unwrap(type_)
    form = _plain_form(inner, path, stack)
    if options.smallest:
        form = _smallest(inner, path)
    if options.type:
        staged = form.staged if form.convert else _plain(options.type)
        form = Form(options.type, staged, form.convert)
    if options.low_cardinality and not form.type.startswith("LowCardinality("):
        form = Form(f"LowCardinality({form.type})", form.staged, form.convert)
    return nullable_form(form, path) if nullable else form


def _smallest(info: mi.Type, path: tuple[str, ...]) -> Form:
    """The smallest integer type that holds the bounds."""
    if not isinstance(info, mi.IntType):
        raise refused(path, "column(smallest=True) is for integers")
    low = info.ge if info.ge is not None else info.gt
    high = info.le if info.le is not None else info.lt
    if low is None or high is None:
        raise refused(path, "column(smallest=True) needs both bounds: Meta(ge=…, le=…)")
    for bits in (8, 16, 32, 64):
        if low >= 0 and high < 2**bits:
            return Form(f"UInt{bits}", f"UInt{bits}")
        if low >= -(2 ** (bits - 1)) and high < 2 ** (bits - 1):
            return Form(f"Int{bits}", f"Int{bits}")
    raise refused(path, f"{low} to {high} fits no integer column")


def _plain(type_: str) -> str:
    """A type without its LowCardinality, which only costs time in a staging table."""
    return type_[len("LowCardinality(") : -1] if type_.startswith("LowCardinality(") else type_


def nullable_form(form: Form, path: tuple[str, ...]) -> Form:
    """The same type where it may be null.

    Raises:
        ContractError: ClickHouse has no such type.
    """
    if form.type.startswith(("Array", "Map")):
        raise refused(path, f"{form.type.split('(')[0]} cannot be null; use an empty default")
    stored = f"Nullable({_plain(form.type)})"
    if form.type.startswith("LowCardinality("):
        stored = f"LowCardinality({stored})"
    staged, convert = f"Nullable({form.staged})", form.convert
    if convert is None:
        return Form(stored, staged)
    return Form(
        stored, staged, lambda x: f"if(isNull({x}), NULL, {convert(f'assumeNotNull({x})')})"
    )


def _plain_form(info: mi.Type, path: tuple[str, ...], stack: tuple[type, ...]) -> Form:
    if form := _SCALARS.get(type(info)):
        return form
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
            return _array(form_of(item, (*path, "[]"), stack))
        case mi.TupleType(item_types=items):
            forms = [form_of(t, (*path, str(i)), stack) for i, t in enumerate(items)]
            return _tuple([("", form) for form in forms])
        case mi.DictType(key_type=key, value_type=value):
            return _map(form_of(key, (*path, "key"), stack), form_of(value, (*path, "{}"), stack))
        case mi.StructType():
            return _struct(info, path, stack)
        case mi.UnionType(types=types) if all(isinstance(t, mi.StructType) for t in types):
            # Which of them it is shows in the tag; the engine keeps the object as its JSON text.
            return Form("String", "String")
        case mi.UnionType():
            raise refused(path, "a union of several types; give each its own field")
        case mi.AnyType() | mi.RawType():
            raise refused(path, "its type is not known; be as specific as the data allows")
    raise refused(path, f"{type(info).__name__.removesuffix('Type')} is not in the type table")


def _choice(values: list[object], path: tuple[str, ...]) -> Form:
    """Strings rather than Enum8: a new member then needs no change of the table."""
    if all(isinstance(v, str) for v in values):
        return Form("LowCardinality(String)", "String")
    if all(isinstance(v, int) for v in values):
        return Form("Int64", "Int64")
    raise refused(path, "its values are neither all strings nor all integers")


def _array(item: Form) -> Form:
    convert = item.convert
    return Form(
        f"Array({item.type})",
        f"Array({item.staged})",
        (lambda x: f"arrayMap(x -> {convert('x')}, {x})") if convert else None,
    )


def _map(key: Form, value: Form) -> Form:
    if key.convert:
        raise ContractError("a map's keys must be strings, numbers, dates or UUIDs")
    convert = value.convert
    return Form(
        f"Map({key.type}, {value.type})",
        f"Map({key.staged}, {value.staged})",
        (lambda x: f"mapApply((k, v) -> (k, {convert('v')}), {x})") if convert else None,
    )


def _tuple(parts: list[tuple[str, Form]]) -> Form:
    """Several forms side by side; a part's name is empty in a tuple without names."""
    stored = ", ".join(f"{quoted(name)} {f.type}" if name else f.type for name, f in parts)
    staged = ", ".join(f"{quoted(name)} {f.staged}" if name else f.staged for name, f in parts)
    convert = None
    if any(form.convert for _, form in parts):

        def convert(x: str) -> str:
            items = [
                form.select(f"tupleElement({x}, {literal(name) if name else i})")
                for i, (name, form) in enumerate(parts, 1)
            ]
            return f"CAST(tuple({', '.join(items)}), {literal(f'Tuple({stored})')})"

    return Form(f"Tuple({stored})", f"Tuple({staged})", convert)


def _struct(info: mi.StructType, path: tuple[str, ...], stack: tuple[type, ...]) -> Form:
    if info.cls in stack:
        raise refused(path, f"{info.cls.__name__} contains itself")
    check_plain(info, path)
    if not info.fields:
        raise refused(path, f"{info.cls.__name__} has no fields")
    inner = (*stack, info.cls)
    return _tuple(
        [(f.encode_name, form_of(f.type, (*path, f.encode_name), inner)) for f in info.fields]
    )


def structs_of(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A class and all Structs within it, each once."""
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
