"""Checks that each value fits its column, where neither msgspec nor ClickHouse checks it.

Measured on ClickHouse 26.9: an integer outside its column's range wraps around silently, surplus
decimal places are cut off, and times outside the documented range are kept by this release but
changed by others. Each of these would load a value that no producer sent, so values are checked
after decoding, against the parsed column type. Only fields that need a check are visited; integers
that are bounded by ``Meta(ge=..., le=...)`` need none.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as mi

from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import column_type_of, unwrap


class Violation(NamedTuple):
    """A value that its column cannot hold.

    Attributes:
        path: its path within the checked value, ``[2].price``; empty for the checked value itself.
        text: what is wrong with it.
    """

    path: str
    text: str

    def below(self, parent: str) -> "Violation":
        """The same violation, with its path starting one level higher."""
        dot = "" if self.path.startswith("[") or not self.path else "."
        return Violation(f"{parent}{dot}{self.path}", self.text)


LimitCheck = Callable[[Any], Violation | None]
"""Returns the first violation in a value, or None."""


def build_limit_check(struct: type[msgspec.Struct]) -> LimitCheck | None:
    """A check of all fields of a decoded message; None if no field needs one."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct_check(info)


def _struct_check(info: mi.StructType) -> LimitCheck | None:
    fields = [
        (field.name, field.encode_name, check)
        for field in info.fields
        if (check := _field_check(field.type, field.encode_name))
    ]
    if not fields:
        return None

    def check_struct(value: Any) -> Violation | None:
        for name, encoded, check in fields:
            if violation := check(getattr(value, name)):
                return violation.below(encoded)
        return None

    return check_struct


def _field_check(type_: mi.Type, name: str) -> LimitCheck | None:
    inner, _, nullable = unwrap(type_)
    check = _value_check(inner, type_, name)
    if check is None or not nullable:
        return check
    return lambda value: None if value is None else check(value)


def _value_check(inner: mi.Type, type_: mi.Type, name: str) -> LimitCheck | None:
    match inner:
        case mi.StructType():
            return _struct_check(inner)
        case mi.IntType():
            return _integer_check(inner, _column(type_, name))
        case mi.DecimalType():
            return _decimal_check(_column(type_, name))
        case mi.DateTimeType():
            return _time_check(_column(type_, name))
        case mi.DateType():
            return _date_check(_column(type_, name))
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            return _each(_field_check(item, name), enumerate)
        case mi.TupleType(item_types=items):
            return _tuple_check([_field_check(item, name) for item in items])
        case mi.DictType(key_type=key, value_type=value):
            return _dict_check(_field_check(key, name), _field_check(value, name))
    return None


def _column(type_: mi.Type, name: str) -> SqlType:
    return column_type_of(type_, (name,)).stored.plain


def _each(
    check: LimitCheck | None, pairs: Callable[[Any], Iterable[tuple[Any, Any]]]
) -> LimitCheck | None:
    if check is None:
        return None

    def check_each(values: Any) -> Violation | None:
        for index, value in pairs(values):
            if violation := check(value):
                return violation.below(f"[{index}]")
        return None

    return check_each


def _tuple_check(checks: list[LimitCheck | None]) -> LimitCheck | None:
    if not any(checks):
        return None

    def check_tuple(values: Any) -> Violation | None:
        for index, (check, value) in enumerate(zip(checks, values, strict=True)):
            if check and (violation := check(value)):
                return violation.below(f"[{index}]")
        return None

    return check_tuple


def _dict_check(key: LimitCheck | None, value: LimitCheck | None) -> LimitCheck | None:
    by_value = _each(value, dict.items)
    by_key = _each(key, lambda values: ((k, k) for k in values))
    if by_key is None or by_value is None:
        return by_key or by_value
    return lambda values: by_key(values) or by_value(values)


def _integer_check(info: mi.IntType, column: SqlType) -> LimitCheck | None:
    if (limits := column.integer_range) is None:
        return None
    low, high = limits
    least = info.ge if info.ge is not None else info.gt
    most = info.le if info.le is not None else info.lt
    if least is not None and least >= low and most is not None and most <= high:
        return None
    text = f"does not fit {column} ({low} to {high})"
    return lambda value: None if low <= value <= high else Violation("", f"{_short(value)} {text}")


def _decimal_check(column: SqlType) -> LimitCheck | None:
    if (limits := column.decimal_digits) is None:
        return None
    digits, places = limits

    def check_decimal(value: Decimal) -> Violation | None:
        if not value.is_finite():
            return Violation("", f"{value} is not a finite number")
        if value and value.adjusted() >= digits - places:
            return Violation("", f"{_short(value)} does not fit {column}")
        parts = value.as_tuple()
        surplus = -int(parts.exponent) - places
        if surplus > 0 and any(parts.digits[-surplus:]):
            return Violation("", f"{_short(value)} has more than {places} decimal places")
        return None

    return check_decimal


def _time_check(column: SqlType) -> LimitCheck | None:
    if (limits := column.time_range) is None:
        return None
    low, high = limits
    naive_low, naive_high = low.replace(tzinfo=None), high.replace(tzinfo=None)
    text = f"is outside {low:%Y-%m-%d} to {high:%Y-%m-%d}, the range of {column}"
    first, last = low.year, high.year

    def check_time(value: datetime) -> Violation | None:
        if first < value.year < last:
            return None
        inside = low <= value <= high if value.tzinfo else naive_low <= value <= naive_high
        return None if inside else Violation("", f"{value.isoformat()} {text}")

    return check_time


def _date_check(column: SqlType) -> LimitCheck | None:
    if (limits := column.date_range) is None:
        return None
    low, high = limits
    text = f"is outside {low} to {high}, the range of {column}"

    def check_date(value: date) -> Violation | None:
        return None if low <= value <= high else Violation("", f"{value} {text}")

    return check_date


def _short(value: object) -> str:
    """A value as text for a refusal, shortened if it is long."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
