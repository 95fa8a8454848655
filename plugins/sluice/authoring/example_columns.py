"""Random values that fit a column whose type holds only some values of a field's type."""

import struct
from datetime import datetime, time
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

from msgspec import inspect as mi

from sluice.authoring.example_text import TRIES, Maker, impossible
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import column_type_of

_SCALARS = (
    mi.StrType,
    mi.IntType,
    mi.FloatType,
    mi.DecimalType,
    mi.BytesType,
    mi.ByteArrayType,
    mi.MemoryViewType,
    mi.DateTimeType,
    mi.DateType,
    mi.TimeType,
)


def fit_column(make: Maker, info: mi.Type, type_: mi.Type, path: tuple[str, ...]) -> Maker:
    """A maker of values that the column holds.

    Args:
        make: makes values of the type, within the field's bounds.
        info: the type without Meta and Optional.
        type_: the type as declared, with the options of its column.

    The maker raises ContractError when it finds no value.
    """
    if not isinstance(info, _SCALARS):
        return make
    column_type = column_type_of(type_, path)
    check, column = column_type.check, column_type.stored.plain
    patterned = isinstance(info, mi.StrType) and info.pattern is not None
    if isinstance(info, mi.StrType) and not patterned:
        make = _text(make, column)
    if check is None:
        return make

    def make_fitting(random: Random) -> Any:
        for _ in range(TRIES):
            value = make(random)
            if not patterned:
                value = _adapted(value, column)
            if check(value) is None:
                return value
        raise impossible(path, f"no generated value fits {column}")

    return make_fitting


def _text(make: Maker, column: SqlType) -> Maker:
    """A maker of strings that are not only strings in their column."""
    match column.name:
        case "IPv4":
            return lambda random: str(IPv4Address(random.getrandbits(32)))
        case "IPv6":
            return lambda random: str(IPv6Address(random.getrandbits(128)))
    if names := column.enum_names:
        return lambda random: random.choice(names)
    return make


def _adapted(value: Any, column: SqlType) -> Any:
    """The value in the precision or the length of the column."""
    if (length := column.fixed_length) is not None:
        if isinstance(value, str):
            return value[:length].ljust(length, "x")
        return type(value)(bytes(value)[:length].ljust(length, b"x"))
    if isinstance(value, datetime | time) and (digits := column.second_digits) is not None:
        unit = 10 ** max(6 - digits, 0)
        return value.replace(microsecond=value.microsecond // unit * unit)
    if isinstance(value, float) and column.name == "Float32":
        return struct.unpack("f", struct.pack("f", value))[0]
    if isinstance(value, float) and column.decimal_digits:
        return round(value, min(column.decimal_digits[1], 2))
    return value
