"""What msgspec cannot check and ClickHouse does not refuse: values that a column cannot hold.

Measured on engine 26.9: an integer beyond its column wraps round without a word, surplus
decimal places are cut off, and times outside the documented range are kept by this release
and changed by others. All three would load a value that nobody sent, so each is checked
after decoding. Only fields that need it are visited; a contract whose integers are bounded
by ``Meta(ge=..., le=...)`` pays nothing for them.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract.type_map import form_of, unwrap

Guard = Callable[[Any], tuple[str, str] | None]
"""Gives the offending path below the value and what is wrong with it, or None."""

_BITS = re.compile(r"(U?)Int(8|16|32|64|128|256)")
_DECIMAL = re.compile(r"Decimal\((\d+),\s*(\d+)\)")
_DATETIME = re.compile(r"DateTime(64)?(?:\((\d))?")

_EXTENDED = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 12, 31, 23, 59, 59, 999999, UTC))
_NANOSECONDS = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2262, 4, 11, 23, 47, 16, 0, UTC))
_SECONDS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2106, 2, 7, 6, 28, 15, 999999, UTC))
_DAYS = {
    "Date32": (date(1900, 1, 1), date(2299, 12, 31)),
    "Date": (date(1970, 1, 1), date(2149, 6, 6)),
}
"""Ranges from ClickHouse's documentation of DateTime64, DateTime, Date32 and Date."""


def guard_of(struct: type[msgspec.Struct]) -> Guard | None:
    """A check of all fields of a decoded message; None when no field needs one."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct_guard(info)


def _struct_guard(info: mi.StructType) -> Guard | None:
    parts = [
        (field.name, field.encode_name, check)
        for field in info.fields
        if (check := _field_guard(field.type, field.encode_name))
    ]
    if not parts:
        return None

    def guard(value: Any) -> tuple[str, str] | None:
        for name, shown, check in parts:
            if problem := check(getattr(value, name)):
                path, text = problem
                return f"{shown}{'' if path.startswith('[') or not path else '.'}{path}", text
        return None

    return guard


def _field_guard(type_: mi.Type, name: str) -> Guard | None:
    inner, _, nullable = unwrap(type_)
    guard = _value_guard(inner, type_, name)
    if guard is None or not nullable:
        return guard
    return lambda value: None if value is None else guard(value)


def _value_guard(inner: mi.Type, type_: mi.Type, name: str) -> Guard | None:
    match inner:
        case mi.StructType():
            return _struct_guard(inner)
        case mi.IntType():
            return _int_guard(inner, form_of(type_, (name,)).type)
        case mi.DecimalType():
            return _decimal_guard(form_of(type_, (name,)).type)
        case mi.DateTimeType():
            return _datetime_guard(form_of(type_, (name,)).type)
        case mi.DateType():
            return _date_guard(form_of(type_, (name,)).type)
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            return _each(_field_guard(item, name), enumerate)
        case mi.TupleType(item_types=items):
            return _tuple_guard([_field_guard(item, name) for item in items])
        case mi.DictType(key_type=key, value_type=value):
            return _dict_guard(_field_guard(key, name), _field_guard(value, name))
    return None


def _each(guard: Guard | None, pairs: Callable[[Any], Any]) -> Guard | None:
    if guard is None:
        return None

    def check(values: Any) -> tuple[str, str] | None:
        for at, value in pairs(values):
            if problem := guard(value):
                path, text = problem
                dot = "" if path.startswith("[") or not path else "."
                return f"[{at}]{dot}{path}", text
        return None

    return check


def _tuple_guard(guards: list[Guard | None]) -> Guard | None:
    if not any(guards):
        return None

    def check(values: Any) -> tuple[str, str] | None:
        for at, (guard, value) in enumerate(zip(guards, values, strict=True)):
            if guard and (problem := guard(value)):
                return f"[{at}]{problem[0]}", problem[1]
        return None

    return check


def _dict_guard(key: Guard | None, value: Guard | None) -> Guard | None:
    by_value = _each(value, dict.items)
    by_key = _each(key, lambda values: ((k, k) for k in values))
    if by_key is None or by_value is None:
        return by_key or by_value
    return lambda values: by_key(values) or by_value(values)


def _int_guard(info: mi.IntType, column: str) -> Guard | None:
    match = _BITS.search(column)
    if match is None:
        return None
    unsigned, bits = bool(match[1]), int(match[2])
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    least = info.ge if info.ge is not None else info.gt
    most = info.le if info.le is not None else info.lt
    if least is not None and least >= low and most is not None and most <= high:
        return None
    text = f"does not fit {match[0]} ({low} to {high})"
    return lambda value: None if low <= value <= high else ("", f"{_shown(value)} {text}")


def _decimal_guard(column: str) -> Guard | None:
    match = _DECIMAL.search(column)
    if match is None:
        return None
    digits, places = int(match[1]), int(match[2])

    def check(value: Decimal) -> tuple[str, str] | None:
        if not value.is_finite():
            return "", f"{value} is not a finite number"
        if value and value.adjusted() >= digits - places:
            return "", f"{_shown(value)} does not fit Decimal({digits}, {places})"
        written = value.as_tuple()
        surplus = -int(written.exponent) - places
        if surplus > 0 and any(written.digits[-surplus:]):
            return "", f"{_shown(value)} has more than {places} decimal places"
        return None

    return check


def _datetime_guard(column: str) -> Guard | None:
    match = _DATETIME.search(column)
    if match is None:
        return None
    low, high = _EXTENDED if match[1] else _SECONDS
    if match[1] and match[2] and int(match[2]) > 8:
        low, high = _NANOSECONDS
    naive = (low.replace(tzinfo=None), high.replace(tzinfo=None))
    text = f"is outside {low:%Y-%m-%d} to {high:%Y-%m-%d}, which is what {column} can hold"

    first, last = low.year, high.year

    def check(value: datetime) -> tuple[str, str] | None:
        if first < value.year < last:
            return None
        inside = low <= value <= high if value.tzinfo else naive[0] <= value <= naive[1]
        return None if inside else ("", f"{value.isoformat()} {text}")

    return check


def _date_guard(column: str) -> Guard | None:
    name = "Date32" if "Date32" in column else "Date"
    low, high = _DAYS[name]
    text = f"is outside {low} to {high}, which is what {name} can hold"
    return lambda value: None if low <= value <= high else ("", f"{value} {text}")


def _shown(value: object) -> str:
    """A value for a message, cut when it is long."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
