"""Hypothesis strategies for any Struct of the type table: every value that its columns can hold.

Nothing that a column holds is left out, edges included. What a column cannot hold is refused by
the decoder, so it is not a value of the type; and JSON has no NaN and no infinity.
"""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

from sluice.contract.inspection import unwrap
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import column_type_of

Strategy = st.SearchStrategy[Any]

ZONES = st.sampled_from(
    [
        dt.UTC,
        dt.timezone(dt.timedelta(hours=-9, minutes=-30)),
        dt.timezone(dt.timedelta(hours=14)),
        dt.timezone(dt.timedelta(hours=5, minutes=45)),
    ]
)

INT64 = SqlType("Int64").integer_range or (0, 0)
LONGEST = dt.timedelta(microseconds=INT64[1])
"""Durations are stored as Int64 microseconds."""


def messages(struct: type[msgspec.Struct]) -> Strategy:
    """Valid instances of a Struct."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info)


def _struct(info: mi.StructType) -> Strategy:
    fields = {f.name: values(f.type) for f in info.fields}
    return st.builds(info.cls, **fields)


def values(type_: mi.Type) -> Strategy:
    """Valid values of a type."""
    inner, _, nullable = unwrap(type_)
    nested = isinstance(inner, mi.StructType | mi.UnionType)
    column = SqlType("") if nested else column_type_of(type_, ("x",)).stored.plain
    strategy = _values(inner, column)
    return st.none() | strategy if nullable else strategy


def _values(info: mi.Type, column: SqlType) -> Strategy:
    match info:
        case mi.StrType(pattern=pattern) if pattern:
            return st.from_regex(re.compile(pattern), fullmatch=True)
        case mi.StrType(min_length=low, max_length=high):
            # A lone surrogate is not a character, and cannot be written as UTF-8.
            letters = st.characters(codec="utf-8")
            return st.text(letters, min_size=low or 0, max_size=min(high or 40, 40))
        case mi.IntType():
            return _integers(info, column)
        case mi.FloatType(ge=ge, gt=gt, le=le, lt=lt):
            return st.floats(
                min_value=gt if ge is None else ge,
                max_value=lt if le is None else le,
                exclude_min=gt is not None,
                exclude_max=lt is not None,
                allow_nan=False,
                allow_infinity=False,
            )
        case mi.BoolType():
            return st.booleans()
        case mi.BytesType():
            return st.binary(max_size=40)
        case mi.DateTimeType():
            return _moments(column)
        case mi.DateType():
            first, last = column.date_range or (dt.date.min, dt.date.max)
            return st.dates(first, last)
        case mi.TimeType():
            return st.times()
        case mi.TimeDeltaType():
            return st.timedeltas(-LONGEST, LONGEST)
        case mi.UUIDType():
            return st.uuids()
        case mi.DecimalType():
            return _decimals(column)
        case mi.EnumType(cls=cls):
            return st.sampled_from(cls)
        case mi.LiteralType(values=choices):
            return st.sampled_from(choices)
        case mi.ListType(item_type=item, min_length=low):
            return st.lists(values(item), min_size=low or 0, max_size=3 + (low or 0))
        case mi.VarTupleType(item_type=item):
            return st.lists(values(item), max_size=3).map(tuple)
        case mi.FrozenSetType(item_type=item):
            return st.frozensets(values(item), max_size=3)
        case mi.TupleType(item_types=items):
            return st.tuples(*map(values, items))
        case mi.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=3)
        case mi.StructType():
            return _struct(info)
        case mi.UnionType(types=types):
            return st.one_of(*map(values, types))
    raise AssertionError(f"no strategy for {info}")


def _integers(info: mi.IntType, column: SqlType) -> Strategy:
    low, high = column.integer_range or INT64
    if info.ge is not None or info.gt is not None:
        low = max(low, info.ge if info.ge is not None else (info.gt or 0) + 1)
    if info.le is not None or info.lt is not None:
        high = min(high, info.le if info.le is not None else (info.lt or 0) - 1)
    return st.integers(low, high)


def _moments(column: SqlType) -> Strategy:
    """Moments that the column holds, in several zones, to the column's last digit."""
    limits = column.time_range
    assert limits
    low, high = (limit.replace(tzinfo=None) for limit in limits)
    unit = 10 ** max(0, 6 - (column.second_digits or 0))
    naive = st.datetimes(low, high).map(
        lambda at: at.replace(microsecond=at.microsecond // unit * unit)
    )
    return st.builds(lambda at, zone: at.replace(tzinfo=dt.UTC).astimezone(zone), naive, ZONES)


def _decimals(column: SqlType) -> Strategy:
    """Numbers of all the digits that the column holds; built by digits, since arithmetic rounds."""
    limits = column.decimal_digits
    assert limits
    digits, places = limits
    most = 10**digits - 1
    return st.integers(-most, most).map(
        lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -places))
    )
