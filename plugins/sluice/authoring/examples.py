"""Random messages that fit their types, for contracts without a ``sample`` function."""

from collections.abc import Hashable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, TypeVar, cast
from uuid import UUID

from msgspec import Struct
from msgspec import inspect as mi

from sluice.authoring.example_columns import fit_column
from sluice.authoring.example_text import TRIES, Maker, impossible, text_maker
from sluice.contract import ColumnOptions, Contract, M
from sluice.contract.inspection import unwrap
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import column_type_of

S = TypeVar("S", bound=Struct)

_NULL_SHARE = 0.2
"""Share of nulls among the values of a nullable field."""

_SPAN = 1000
"""Width of the range of a number without bounds."""


def example_message(contract: Contract[M], random: Random) -> M:
    """A message of the current version: what the contract's ``sample`` makes, or random values.

    Raises:
        ContractError: no values can be generated for a field; the contract needs a sample.
    """
    return contract.sample(random) if contract.sample else random_message(contract.message, random)


def random_message(struct: type[S], random: Random) -> S:
    """A message of random values that its Struct and its table accept.

    Bounds, lengths and patterns are kept. Times are within the last hour. Every field has a
    value; nullable fields are sometimes null. The same seed gives the same values, but for times.

    Raises:
        ContractError: no values can be generated for the type or the pattern of ``field``.
    """
    return cast(S, _struct_maker(struct)(random))


@cache
def _struct_maker(struct: type[Struct]) -> Maker:
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info, (), ())


def _struct(info: mi.StructType, path: tuple[str, ...], stack: tuple[type, ...]) -> Maker:
    if info.cls in stack:
        raise impossible(path, f"{info.cls.__name__} contains itself")
    inside = (*stack, info.cls)
    makers = [
        (field.name, _maker(field.type, (*path, field.encode_name), inside))
        for field in info.fields
    ]
    return lambda random: info.cls(**{name: make(random) for name, make in makers})


def _maker(type_: mi.Type, path: tuple[str, ...], stack: tuple[type, ...]) -> Maker:
    inner, options, nullable = unwrap(type_)
    make = fit_column(_value_maker(inner, type_, options, path, stack), inner, type_, path)
    if not nullable:
        return make
    return lambda random: None if random.random() < _NULL_SHARE else make(random)


def _value_maker(
    info: mi.Type,
    type_: mi.Type,
    options: ColumnOptions,
    path: tuple[str, ...],
    stack: tuple[type, ...],
) -> Maker:
    match info:
        case mi.StructType():
            return _struct(info, path, stack)
        case mi.StrType():
            return text_maker(
                info, column_type_of(type_, path).stored.plain, options.low_cardinality, path
            )
        case mi.IntType():
            return _integer(info, column_type_of(type_, path).stored.plain, path)
        case mi.FloatType():
            return _real(info, path)
        case mi.DecimalType():
            return _decimal(column_type_of(type_, path).stored.plain)
        case mi.EnumType(cls=cls):
            return _one_of(list(cls))
        case mi.LiteralType(values=values):
            return _one_of(values)
        case mi.UnionType(types=types):
            makers = [_maker(t, path, stack) for t in types]
            return lambda random: random.choice(makers)(random)
        case mi.TupleType(item_types=items):
            makers = [_maker(t, (*path, str(n)), stack) for n, t in enumerate(items)]
            return lambda random: tuple(make(random) for make in makers)
        case mi.ListType() | mi.VarTupleType() | mi.SetType() | mi.FrozenSetType():
            return _collection(info, path, stack)
        case mi.DictType():
            return _dict(info, path, stack)
        case mi.BytesType() | mi.ByteArrayType() | mi.MemoryViewType():
            return _bytes(info)
        case mi.DateTimeType(tz=tz):
            return lambda random: _moment(random, tz is not False)
        case mi.TimeType(tz=tz):
            return lambda random: _moment(random, tz is True).timetz()
    if make := _SIMPLE.get(type(info)):
        return make
    name = type(info).__name__.removesuffix("Type")
    raise impossible(path, f"{name} is not in the type table")


def _moment(random: Random, with_zone: bool = True) -> datetime:
    """A time within the last hour, in milliseconds, the precision of the default column."""
    moment = datetime.now(UTC) - timedelta(seconds=random.uniform(0, 3600))
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment if with_zone else moment.replace(tzinfo=None)


_SIMPLE: dict[type[mi.Type], Maker] = {
    mi.BoolType: lambda random: random.random() < 0.5,
    mi.DateType: lambda random: _moment(random).date(),
    mi.TimeDeltaType: lambda random: timedelta(milliseconds=random.randrange(3_600_000)),
    mi.UUIDType: lambda random: UUID(int=random.getrandbits(128), version=4),
}


def _one_of(values: Iterable[Any]) -> Maker:
    choices = list(values)
    return lambda random: random.choice(choices)


def _integer(info: mi.IntType, column: SqlType, path: tuple[str, ...]) -> Maker:
    low = info.ge if info.ge is not None else None if info.gt is None else info.gt + 1
    high = info.le if info.le is not None else None if info.lt is None else info.lt - 1
    if low is None:
        low = 0 if high is None or high >= 0 else high - _SPAN
    if high is None:
        high = low + _SPAN
    if limits := column.integer_range:
        low, high = max(low, limits[0]), min(high, limits[1])
    step = info.multiple_of or 1
    first, last = -(-low // step), high // step
    if first > last:
        raise impossible(path, "no integer fits its bounds and its column")
    return lambda random: random.randint(first, last) * step


def _real(info: mi.FloatType, path: tuple[str, ...]) -> Maker:
    low = info.ge if info.ge is not None else info.gt
    high = info.le if info.le is not None else info.lt
    if low is None:
        low = 0.0 if high is None or high > 0 else high - _SPAN
    if high is None:
        high = low + _SPAN
    least, most, step = low, high, info.multiple_of

    def fits(value: float) -> bool:
        return (least < value or (info.gt is None and value == least)) and (
            value < most or (info.lt is None and value == most)
        )

    def make(random: Random) -> float:
        for _ in range(TRIES):
            value = random.uniform(least, most)
            if step:
                value = round(value / step) * step
            elif fits(round(value, 2)):
                value = round(value, 2)
            if fits(value):
                return value
        raise impossible(path, "no generated number fits its bounds")

    return make


def _decimal(column: SqlType) -> Maker:
    digits, places = column.decimal_digits or (38, 9)
    fraction = min(places, 2)
    # At most four digits before the point: an amount, not a random number of 29 digits.
    most = 10 ** (min(digits - places, 4) + fraction)
    return lambda random: Decimal(random.randrange(most)).scaleb(-fraction)


def _bytes(info: mi.BytesType | mi.ByteArrayType | mi.MemoryViewType) -> Maker:
    least = info.min_length or 0
    most = info.max_length if info.max_length is not None else least + 16
    kind = {mi.BytesType: bytes, mi.ByteArrayType: bytearray}.get(type(info), memoryview)
    return lambda random: kind(random.randbytes(random.randint(least, most)))


def _collection(
    info: mi.ListType | mi.VarTupleType | mi.SetType | mi.FrozenSetType,
    path: tuple[str, ...],
    stack: tuple[type, ...],
) -> Maker:
    make, (least, most) = _maker(info.item_type, (*path, "[]"), stack), _lengths(info)
    match info:
        case mi.ListType():
            return lambda random: [make(random) for _ in range(random.randint(least, most))]
        case mi.VarTupleType():
            return lambda random: tuple(make(random) for _ in range(random.randint(least, most)))
    kind = set if isinstance(info, mi.SetType) else frozenset
    return lambda random: kind(_distinct(make, random, least, most, path))


def _dict(info: mi.DictType, path: tuple[str, ...], stack: tuple[type, ...]) -> Maker:
    key = _maker(info.key_type, (*path, "key"), stack)
    value = _maker(info.value_type, (*path, "{}"), stack)
    least, most = _lengths(info)
    return lambda random: {k: value(random) for k in _distinct(key, random, least, most, path)}


def _lengths(info: Any) -> tuple[int, int]:
    least = info.min_length or 0
    return least, least + 3 if info.max_length is None else min(info.max_length, least + 3)


def _distinct(
    make: Maker, random: Random, least: int, most: int, path: tuple[str, ...]
) -> Iterable[Hashable]:
    """``least`` to ``most`` distinct values, in the order of their generation."""
    values: dict[Hashable, None] = {}
    wanted = random.randint(least, most)
    for _ in range(TRIES):
        if len(values) == wanted:
            break
        values[make(random)] = None
    if len(values) < least:
        raise impossible(path, f"there are fewer than {least} distinct values")
    return values
