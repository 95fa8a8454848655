"""The type table: what becomes of each Python type in each column type.

A pair is *exact* (the column holds every value), *limited* (a check refuses the messages whose
value the column cannot hold) or *refused* when the contract is built. :data:`RULES` lists the first
two kinds; every other pair is refused. ``docs/types.md`` is generated from this table, and the
property tests draw their pairs from it.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import inspect as mi

from sluice.contract import value_checks
from sluice.contract.checks import ValueCheck
from sluice.contract.sql_type import SqlType

Python = Literal[
    "str",
    "int",
    "float",
    "bool",
    "bytes",
    "datetime",
    "date",
    "time",
    "timedelta",
    "UUID",
    "Decimal",
    "names",
    "numbers",
    "list",
    "tuple",
    "dict",
    "Struct",
    "union",
]
"""A row of the table. *names* and *numbers* are Enum and Literal of strings and of integers."""

CheckFactory = Callable[[mi.Type, SqlType, bool], ValueCheck | None]


class Rule(msgspec.Struct, frozen=True):
    """What becomes of one Python type in one family of column types.

    Attributes:
        default: the column type of a field without ``column(type)``; empty if it is another one.
        limit: which values fit, as a clause; empty if all do.
        check: builds the check that refuses the values that do not fit.
    """

    default: str = ""
    limit: str = ""
    check: CheckFactory | None = None


_RANGE = "within the range of the column"
_PRECISE = f"{_RANGE}, and no finer than the column (or with `truncate=True`)"
_BYTES = "exactly as many bytes as the column holds"
_AS_TEXT = "stored as its text in JSON"

RULES: dict[Python, dict[str, Rule]] = {
    "str": {
        "String": Rule("String"),
        "FixedString": Rule("", _BYTES, value_checks.check_fixed_text),
        "IPv4": Rule("", "an IPv4 address", value_checks.check_ipv4),
        "IPv6": Rule("", "an IPv6 address in any notation, no zone", value_checks.check_ipv6),
        "Enum": Rule("", "one of the column's names", value_checks.check_enum),
    },
    "int": {
        "Int": Rule("Int64", _RANGE, value_checks.check_integer),
        "Float64": Rule("", "exactly a Float64", value_checks.check_integer_in_float),
        "Float32": Rule("", "exactly a Float32", value_checks.check_integer_in_float),
        "Decimal": Rule("", "not more digits", value_checks.check_integer_in_decimal),
    },
    "float": {
        "Float64": Rule("Float64"),
        "Float32": Rule("", "exactly a Float32", value_checks.check_float32),
        "Decimal": Rule(
            "", "not more digits or decimal places", value_checks.check_float_in_decimal
        ),
    },
    "bool": {"Bool": Rule("Bool"), "Int": Rule()},
    "bytes": {
        "String": Rule("String"),
        "FixedString": Rule("", _BYTES, value_checks.check_fixed_bytes),
    },
    "datetime": {
        "DateTime64": Rule("DateTime64(6, 'UTC')", _PRECISE, value_checks.check_datetime),
        "DateTime": Rule("", _PRECISE, value_checks.check_datetime),
        "String": Rule(),
    },
    "date": {
        "Date32": Rule("Date32", _RANGE, value_checks.check_date),
        "Date": Rule("", _RANGE, value_checks.check_date),
        "String": Rule(),
    },
    "time": {
        "Time64": Rule("Time64(6)", "without a zone, no finer", value_checks.check_time),
        "Time": Rule("", "without a zone, whole seconds", value_checks.check_time),
        "String": Rule(),
    },
    "timedelta": {
        "Int64": Rule("Int64", "up to 2^63 - 1 microseconds", value_checks.check_duration)
    },
    "UUID": {"UUID": Rule("UUID"), "String": Rule()},
    "Decimal": {
        "Decimal": Rule(
            "Decimal(38, 9)", "finite, not more digits or places", value_checks.check_decimal
        ),
        "String": Rule(),
    },
    "names": {
        "String": Rule("LowCardinality(String)"),
        "FixedString": Rule(
            "", "every member has exactly that many bytes", value_checks.check_open_enum
        ),
        "Enum": Rule("", "every member is a name of the column", value_checks.check_open_enum),
    },
    "numbers": {
        "Int": Rule(
            "Int64",
            "every member is within the range of the column",
            value_checks.check_open_enum,
        )
    },
    "list": {"Array": Rule("Array", "its items, by their own types"), "String": Rule()},
    "tuple": {"Tuple": Rule("Tuple", "its elements, by their own types"), "String": Rule()},
    "dict": {"Map": Rule("Map", "its keys and values, by their own types"), "String": Rule()},
    "Struct": {"Tuple": Rule("its columns", "its fields, by their own types"), "String": Rule()},
    "union": {"String": Rule("String")},
}
"""Python type → family of column types → rule."""

FAMILIES = (
    "String",
    "FixedString",
    "Int",
    "Float64",
    "Float32",
    "Bool",
    "Decimal",
    "Date32",
    "Date",
    "DateTime64",
    "DateTime",
    "Time64",
    "Time",
    "UUID",
    "IPv4",
    "IPv6",
    "Enum",
    "Array",
    "Tuple",
    "Map",
)
"""Every family of column types, in the order of the documentation. Int64 belongs to Int."""

REASONS: dict[tuple[Python, str], str] = {
    ("int", "DateTime64"): "a number does not say its unit or its epoch; send a text such as"
    " 2026-01-31T12:00:00Z, or store it as Int64",
    ("float", "Int"): "ClickHouse does not read a number with a fraction as an integer; declare the"
    " field int",
    ("int", "Bool"): "ClickHouse would store every number as true; declare the field bool",
    ("int", "Enum"): "an Enum column stores names; use an integer column",
    ("str", "UUID"): "declare the field uuid.UUID",
    ("str", "Int"): "a text that is not a number would be changed; declare the field int",
    ("str", "Decimal"): "declare the field Decimal",
    ("str", "Float64"): "declare the field float",
    ("str", "DateTime64"): "declare the field datetime",
    ("str", "Date32"): "declare the field date",
    ("datetime", "Date32"): "the time of day would be lost",
    ("datetime", "Int"): "store it as DateTime64, from which a query computes any number",
    ("Decimal", "Float64"): "decimal digits would change; declare the field float",
    ("numbers", "Enum"): "an Enum column stores names; use an integer column",
}
"""Why a pair is refused, where more can be said than which column types the Python type has."""

KIND_NAMES: dict[Python, str] = {kind: kind for kind in RULES} | {
    "names": "an Enum or Literal of strings",
    "numbers": "an Enum or Literal of integers",
    "list": "a list, set or tuple of one type",
    "tuple": "a tuple of fixed length",
    "union": "a union of tagged Structs",
}
"""A row of the table → how a sentence calls it."""
