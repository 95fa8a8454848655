"""Random messages that fit their types, for contracts that bring no sample of their own."""

import re
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, TypeVar, cast
from uuid import UUID

from msgspec import Struct
from msgspec import inspect as mi

from sluice.authoring.patterns import NotSimple, maker_of
from sluice.contract import ColumnOptions
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import column_type_of, unwrap
from sluice.errors import ContractError

S = TypeVar("S", bound=Struct)
Maker = Callable[[Random], Any]

_NULL_SHARE = 0.2
"""How often a value that may be null is null."""

_SPAN = 1000
"""Width of numbers that have no bounds of their own."""

_TRIES = 5000
"""Attempts at a value that fits, where it cannot be made to."""


def random_message(struct: type[S], random: Random) -> S:
    """A message of random values that its Struct and its table accept.

    Bounds, lengths and simple patterns are kept; times are within the last hour; every field
    is given but those that may be null, which are null now and then.

    Raises:
        ContractError: a type without values of its own, or a pattern that is not simple;
            names the field.
    """
    return cast(S, _struct_maker(struct)(random))


@cache
def _struct_maker(struct: type[Struct]) -> Maker:
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info, (), ())


def _struct(info: mi.StructType, path: tuple[str, ...], stack: tuple[type, ...]) -> Maker:
    if info.cls in stack:
        raise _impossible(path, f"{info.cls.__name__} contains itself")
    inside = (*stack, info.cls)
    makers = [
        (field.name, _maker(field.type, (*path, field.encode_name), inside))
        for field in info.fields
    ]
    return lambda random: info.cls(**{name: make(random) for name, make in makers})


def _maker(type_: mi.Type, path: tuple[str, ...], stack: tuple[type, ...]) -> Maker:
    inner, options, nullable = unwrap(type_)
    make = _value_maker(inner, type_, options, path, stack)
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
            return _text(
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
    if found := _SIMPLE.get(type(info)):
        return found
    name = type(info).__name__.removesuffix("Type")
    raise _impossible(path, f"{name} is not in the type table")


def _moment(random: Random, with_zone: bool = True) -> datetime:
    """A time of the last hour, to the millisecond, which is what a column keeps."""
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
        raise _impossible(path, "no integer fits its bounds and its column")
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
        for _ in range(_TRIES):
            value = random.uniform(least, most)
            if step:
                value = round(value / step) * step
            elif fits(round(value, 2)):
                value = round(value, 2)
            if fits(value):
                return value
        raise _impossible(path, "no number was found that fits its bounds")

    return make


def _decimal(column: SqlType) -> Maker:
    digits, places = column.decimal_digits or (38, 9)
    shown = min(places, 2)
    # Four digits before the point at most: an amount, rather than a random number of 29 digits.
    most = 10 ** (min(digits - places, 4) + shown)
    return lambda random: Decimal(random.randrange(most)).scaleb(-shown)


def _text(info: mi.StrType, column: SqlType, few: bool, path: tuple[str, ...]) -> Maker:
    least, most = info.min_length or 0, info.max_length
    if (fixed := column.fixed_length) is not None:
        most = fixed if most is None else min(fixed, most)
    if info.pattern is not None:
        return _matching(info.pattern, least, most, path)
    named = next((part for part in reversed(path) if re.search(r"\w", part)), "value")
    name = re.sub(r"\W+", "-", named, flags=re.ASCII)

    def make(random: Random) -> str:
        ending = str(random.randrange(5)) if few else f"{random.getrandbits(48):012x}"
        text = f"{name}-{ending}".ljust(least, "x")
        # The end of it tells one from another, so that is what stays.
        return text if most is None or len(text) <= most else text[len(text) - most :]

    return make


def _matching(pattern: str, least: int, most: int | None, path: tuple[str, ...]) -> Maker:
    try:
        accepts = re.compile(pattern).search
        make = maker_of(pattern, max(8, least))
    except (NotSimple, ValueError) as error:
        raise _impossible(path, f"no text can be made for pattern {pattern!r} ({error})") from error

    def made(random: Random) -> str:
        for _ in range(_TRIES):
            text = make(random)
            if least <= len(text) <= (len(text) if most is None else most) and accepts(text):
                return text
        raise _impossible(path, f"no text of the right length was found for pattern {pattern!r}")

    return made


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
    return lambda random: kind(_different(make, random, least, most, path))


def _dict(info: mi.DictType, path: tuple[str, ...], stack: tuple[type, ...]) -> Maker:
    key = _maker(info.key_type, (*path, "key"), stack)
    value = _maker(info.value_type, (*path, "{}"), stack)
    least, most = _lengths(info)
    return lambda random: {k: value(random) for k in _different(key, random, least, most, path)}


def _lengths(info: Any) -> tuple[int, int]:
    least = info.min_length or 0
    return least, least + 3 if info.max_length is None else min(info.max_length, least + 3)


def _different(
    make: Maker, random: Random, least: int, most: int, path: tuple[str, ...]
) -> Iterable[Hashable]:
    """At least ``least`` values, no two the same, in the order in which they were made."""
    found: dict[Hashable, None] = {}
    wanted = random.randint(least, most)
    for _ in range(_TRIES):
        if len(found) == wanted:
            break
        found[make(random)] = None
    if len(found) < least:
        raise _impossible(path, f"no {least} different values were found")
    return found


def _impossible(path: tuple[str, ...], why: str) -> ContractError:
    return ContractError(
        f"field {'.'.join(path)!r}: {why}; give the contract a `sample` that makes messages"
    )
