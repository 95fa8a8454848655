"""Finds the entry of the type table for a field and its column, or why there is none."""

import re

from msgspec import inspect as mi

from sluice.contract.sql_type import SqlType
from sluice.contract.type_rules import FAMILIES, KIND_NAMES, REASONS, RULES, Python, Rule

TEXT_KINDS: tuple[Python, ...] = ("list", "tuple", "dict", "Struct", "union")
"""Python types that a String column holds as their JSON text."""

_SAME_REASON = {"DateTime": "DateTime64", "Date": "Date32", "Float32": "Float64"}


def python_kind(info: mi.Type) -> Python | None:
    """The row of the table that a type belongs to; None if there is none."""
    match info:
        case mi.EnumType(cls=cls):
            return _choice_kind([member.value for member in cls])
        case mi.LiteralType(values=values):
            return _choice_kind(list(values))
        case mi.UnionType(types=types):
            return "union" if all(isinstance(t, mi.StructType) for t in types) else None
    return _KINDS.get(type(info))


_KINDS: dict[type[mi.Type], Python] = {
    mi.StrType: "str",
    mi.IntType: "int",
    mi.FloatType: "float",
    mi.BoolType: "bool",
    mi.BytesType: "bytes",
    mi.ByteArrayType: "bytes",
    mi.MemoryViewType: "bytes",
    mi.DateTimeType: "datetime",
    mi.DateType: "date",
    mi.TimeType: "time",
    mi.TimeDeltaType: "timedelta",
    mi.UUIDType: "UUID",
    mi.DecimalType: "Decimal",
    mi.ListType: "list",
    mi.SetType: "list",
    mi.FrozenSetType: "list",
    mi.VarTupleType: "list",
    mi.TupleType: "tuple",
    mi.DictType: "dict",
    mi.StructType: "Struct",
}


def _choice_kind(values: list[object]) -> Python | None:
    if all(isinstance(value, str) for value in values):
        return "names"
    return "numbers" if all(isinstance(value, int) for value in values) else None


def column_family(column: SqlType) -> str | None:
    """The column of the table that a plain column type belongs to; None if there is none.

    Raises:
        ValueError: an argument of the type is missing or malformed.
    """
    if column.integer_range:
        return "Int"
    if digits := column.decimal_digits:
        if not 0 <= digits[1] <= digits[0] <= 76:
            raise ValueError
        return "Decimal"
    if column.enum_names:
        return "Enum"
    if (length := column.fixed_length) is not None and length < 1:
        raise ValueError
    if (places := column.second_digits) is not None and not 0 <= places <= 9:
        raise ValueError
    return column.name if re.fullmatch(r"\w+", column.name) and column.name in FAMILIES else None


def find_rule(kind: Python, column: SqlType) -> Rule:
    """The rule of a pair.

    Args:
        column: the plain column type, without LowCardinality and Nullable.

    Raises:
        ValueError: the pair is refused; the text is a sentence that says why.
    """
    try:
        family = column_family(column)
    except (ValueError, IndexError):
        raise ValueError(f"{column} is not a column type; check its arguments") from None
    if family is None:
        raise ValueError(
            f"{column} is not in the type table; write the type as ClickHouse does, such as"
            f" {_spelling(column)}"
        )
    rules = RULES[kind]
    rule = rules.get(column.name) or rules.get(family)
    if rule is None:
        raise ValueError(refusal_reason(kind, family, str(column)))
    return rule


def refusal_reason(kind: Python, family: str, column: str) -> str:
    """Why a pair is refused, and what to do, as a sentence."""
    reason = REASONS.get((kind, family)) or REASONS.get((kind, _SAME_REASON.get(family, "")))
    if not reason:
        reason = f"the column types of {KIND_NAMES[kind]} are {', '.join(RULES[kind])}"
    return f"{KIND_NAMES[kind]} cannot be stored as {column}: {reason}"


_SPELLINGS = {
    **{family.lower(): family for family in FAMILIES},
    "int": "Int32",
    "integer": "Int32",
    "bigint": "Int64",
    "smallint": "Int16",
    "tinyint": "Int8",
    "varchar": "String",
    "text": "String",
    "char": "String",
    "boolean": "Bool",
    "double": "Float64",
    "real": "Float32",
    "float": "Float32",
    "numeric": "Decimal(18, 2)",
    "decimal": "Decimal(18, 2)",
    "dec": "Decimal(18, 2)",
    "timestamp": "DateTime64(6, 'UTC')",
    "fixedstring": "FixedString(16)",
    "enum": "Enum8('a' = 1)",
    "nested": "Array(Tuple(a Int64))",
}


def _spelling(column: SqlType) -> str:
    """A type that the table has and that is spelled like this one, as an example."""
    name = re.split(r"\W", column.name)[0].lower()
    return _SPELLINGS.get(name, "Int64, Decimal(18, 2) or Array(String)")
