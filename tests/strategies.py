"""Hypothesis strategies for any Struct of the type table, within what its columns can hold."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

from sluice.contract.type_map import column_type_of, unwrap

Strategy = st.SearchStrategy[Any]


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
    found = _values(inner, str(column_type_of(type_, ("x",)).stored) if not _nested(inner) else "")
    return st.none() | found if nullable else found


def _nested(info: mi.Type) -> bool:
    return isinstance(info, mi.StructType | mi.UnionType)


def _values(info: mi.Type, column: str) -> Strategy:
    match info:
        case mi.StrType(pattern=pattern) if pattern:
            return st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
        case mi.StrType(min_length=low, max_length=high):
            # A lone surrogate is no character, and cannot be written as UTF-8.
            letters = st.characters(codec="utf-8")
            return st.text(letters, min_size=low or 0, max_size=min(high or 40, 40))
        case mi.IntType(ge=ge, gt=gt, le=le, lt=lt):
            low = ge if ge is not None else gt + 1 if gt is not None else -(2**63)
            high = le if le is not None else lt - 1 if lt is not None else 2**63 - 1
            return st.integers(low, high)
        case mi.FloatType(ge=ge, gt=gt):
            least = ge if ge is not None else gt
            return st.floats(min_value=least, allow_nan=False, allow_infinity=False)
        case mi.BoolType():
            return st.booleans()
        case mi.BytesType():
            return st.binary(max_size=40)
        case mi.DateTimeType():
            first, last = dt.datetime(1900, 1, 2), dt.datetime(2299, 12, 30)
            zones = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30))])
            naive = st.datetimes(first, last)
            return st.builds(lambda at, zone: _to_millis(at.replace(tzinfo=zone)), naive, zones)
        case mi.DateType():
            return st.dates(dt.date(1900, 1, 1), dt.date(2299, 12, 31))
        case mi.TimeType():
            return st.times()
        case mi.TimeDeltaType():
            return st.timedeltas(dt.timedelta(days=-9999), dt.timedelta(days=9999))
        case mi.UUIDType():
            return st.uuids()
        case mi.DecimalType():
            found = re.search(r"Decimal\((\d+), (\d+)\)", column)
            assert found
            digits, places = int(found[1]), int(found[2])
            most = Decimal(10) ** (digits - places) - 1
            return st.decimals(-most, most, places=places, allow_nan=False, allow_infinity=False)
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


def _to_millis(at: dt.datetime) -> dt.datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
