"""Checks that a value fits its column, where neither msgspec nor ClickHouse checks it.

Measured on ClickHouse 26.9: an integer outside its column's range wraps around silently, surplus
decimal places and digits of a second are cut off, texts are padded or read as the number of an enum
member, and times outside the documented range are kept by this release but changed by others. Each
of these would load a value that no producer sent. The checks are compiled once per contract; a
field whose type or bounds prove that every value fits has none.
"""

import struct
from collections.abc import Callable
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from msgspec import inspect as mi

from sluice.contract.checks import ValueCheck, Violation
from sluice.contract.sql_type import SqlType


def check_integer(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """An integer in an integer column: within its range."""
    low, high = column.integer_range or (0, 0)
    if _proven(info, low, high):
        return None
    text = f"does not fit {column} ({low} to {high})"
    return lambda value: None if low <= value <= high else Violation("", f"{_short(value)} {text}")


def check_integer_in_float(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """An integer in a float column: one that the column holds exactly."""
    low, high = (-(2**24), 2**24) if column.name == "Float32" else (-(2**53), 2**53)
    if _proven(info, low, high):
        return None
    exact = _exact_float32 if column.name == "Float32" else _exact_float64
    text = f"is not exactly a {column}; the nearest one is another number"

    def check(value: int) -> Violation | None:
        fits = low <= value <= high or exact(value)
        return None if fits else Violation("", f"{_short(value)} {text}")

    return check


def check_integer_in_decimal(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """An integer in a decimal column: one with few enough digits."""
    digits, places = column.decimal_digits or (0, 0)
    most = 10 ** (digits - places) - 1
    if _proven(info, -most, most):
        return None
    text = f"does not fit {column}"
    return lambda value: (
        None if -most <= value <= most else Violation("", f"{_short(value)} {text}")
    )


def check_float32(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A float in a Float32 column: one of the numbers that 32 bits can hold."""

    def check(value: float) -> Violation | None:
        if _exact_float32(value):
            return None
        return Violation("", f"{value!r} is not exactly a Float32; use Float64 to store it")

    return check


def check_float_in_decimal(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A float in a decimal column: one whose shortest decimal text fits."""
    check = check_decimal(info, column, truncate)
    assert check is not None
    return lambda value: check(Decimal(repr(value)))


def check_decimal(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A decimal number in a decimal column: finite, with few enough digits and places."""
    digits, places = column.decimal_digits or (0, 0)

    def check(value: Decimal) -> Violation | None:
        if not value.is_finite():
            return Violation("", f"{value} is not a finite number")
        if value and value.adjusted() >= digits - places:
            return Violation("", f"{_short(value)} does not fit {column}")
        parts = value.as_tuple()
        surplus = -int(parts.exponent) - places
        if surplus > 0 and any(parts.digits[-surplus:]):
            return Violation("", f"{_short(value)} has more than {places} decimal places")
        return None

    return check


def check_datetime(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A time in DateTime or DateTime64: within its range, and no finer than the column."""
    assert column.time_range is not None
    low, high = column.time_range
    naive_low, naive_high = low.replace(tzinfo=None), high.replace(tzinfo=None)
    text = f"is outside {low:%Y-%m-%d} to {high:%Y-%m-%d}, the range of {column}"
    first, last = low.year, high.year

    def check_range(value: datetime) -> Violation | None:
        if first < value.year < last:
            return None
        inside = low <= value <= high if value.tzinfo else naive_low <= value <= naive_high
        return None if inside else Violation("", f"{value.isoformat()} {text}")

    unit = _unit(column, truncate)
    if unit == 1:
        return check_range
    finer = _finer(column)

    def check(value: datetime) -> Violation | None:
        if value.microsecond % unit:
            return Violation("", f"{value.isoformat()} {finer}")
        return check_range(value)

    return check


def check_time(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A time of day: without a zone, and no finer than the column."""
    unit, finer = _unit(column, truncate), _finer(column)

    def check(value: time) -> Violation | None:
        if value.tzinfo:
            return Violation("", f"{value.isoformat()} has a zone, which {column} does not hold")
        if value.microsecond % unit:
            return Violation("", f"{value.isoformat()} {finer}")
        return None

    return check


def check_date(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A day in Date or Date32: within its range."""
    assert column.date_range is not None
    low, high = column.date_range
    text = f"is outside {low} to {high}, the range of {column}"
    return lambda value: None if low <= value <= high else Violation("", f"{value} {text}")


def check_duration(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A duration as microseconds in Int64: up to 292,271 years."""
    text = "is longer than 2^63 - 1 microseconds, the most that Int64 holds"
    return lambda value: (
        None if -_LONGEST <= value <= _LONGEST else Violation("", f"a duration of {value} {text}")
    )


_LONGEST = timedelta(microseconds=2**63 - 1)


def check_fixed_text(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A string in FixedString: of exactly its length, because a shorter one would be padded."""
    length = column.fixed_length
    text = f"bytes long, and {column} holds exactly {length}; ClickHouse would pad it with zeros"

    def check(value: str) -> Violation | None:
        size = len(value.encode())
        return None if size == length else Violation("", f"is {size} {text}")

    return check


def check_fixed_bytes(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """Bytes in FixedString: exactly as many as the column holds."""
    length = column.fixed_length
    text = f"bytes long, and {column} holds exactly {length}; ClickHouse would pad it with zeros"
    return lambda value: None if len(value) == length else Violation("", f"is {len(value)} {text}")


def check_ipv4(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A string in IPv4: an address such as ``192.0.2.1``."""
    return _address_check(IPv4Address, "an IPv4 address")


def check_ipv6(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A string in IPv6: an address in any notation, without a zone."""
    return _address_check(IPv6Address, "an IPv6 address without a zone")


def _address_check(kind: Callable[[str], Any], name: str) -> ValueCheck:
    def check(value: str) -> Violation | None:
        try:
            if "%" not in value and kind(value):
                return None
        except ValueError:
            pass
        return Violation("", f"{_short(value)!r} is not {name}")

    return check


def check_enum(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A string in Enum8 or Enum16: one of its names; ClickHouse would read others as a number."""
    names = frozenset(column.enum_names or ())
    return lambda value: (
        None if value in names else Violation("", f"{_short(value)!r} is not a name of {column}")
    )


def check_open_enum(info: mi.Type, column: SqlType, truncate: bool) -> ValueCheck | None:
    """A member of an Enum that makes members of unknown values: one that the column holds.

    A Flag does so, and an Enum with ``_missing_``. The members of others are checked when the
    contract is built.
    """
    if not isinstance(info, mi.EnumType):
        return None
    if getattr(info.cls._missing_, "__func__", None) is Enum._missing_.__func__:  # type: ignore[attr-defined]
        return None
    return lambda member: (
        None
        if holds_member(column, member.value)
        else Violation("", f"{_short(member.value)!r} does not fit {column}")
    )


def holds_member(column: SqlType, member: Any) -> bool:
    """Whether a column holds the value of a member of an Enum or Literal."""
    if column.integer_range:
        low, high = column.integer_range
        return bool(low <= member <= high)
    if column.enum_names:
        return member in column.enum_names
    return not column.fixed_length or len(member.encode()) == column.fixed_length


def _proven(info: mi.Type, low: int, high: int) -> bool:
    """Whether the bounds of an integer field lie within a range."""
    if not isinstance(info, mi.IntType):
        return False
    least = info.ge if info.ge is not None else info.gt
    most = info.le if info.le is not None else info.lt
    return least is not None and least >= low and most is not None and most <= high


def _exact_float64(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


_SINGLE = struct.Struct("f")


def _exact_float32(value: float) -> bool:
    try:
        return bool(_SINGLE.unpack(_SINGLE.pack(value))[0] == value)
    except OverflowError:
        return False


def _unit(column: SqlType, truncate: bool) -> int:
    """The column's smallest step in microseconds; 1 if finer times are stored or truncated."""
    return 1 if truncate else 10 ** max(0, 6 - (column.second_digits or 0))


def _finer(column: SqlType) -> str:
    digits = column.second_digits or 0
    holds = f"{digits} decimal places of a second" if digits else "whole seconds"
    return (
        f"is finer than {column}, which holds {holds}; choose a finer column, or let the contract"
        " state the loss with column(truncate=True)"
    )


def _short(value: object) -> str:
    """A value as text for a refusal, shortened if it is long."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
