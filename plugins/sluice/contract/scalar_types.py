"""The column types of single values: which type stages them, and how they are converted."""

from collections.abc import Callable

from msgspec import inspect as mi

from sluice.contract.checks import ValueCheck
from sluice.contract.parts import ColumnOptions
from sluice.contract.sql_type import SqlType, smallest_integer
from sluice.contract.type_rules import Python, Rule
from sluice.contract.value_checks import holds_member
from sluice.errors import ContractError

Scalar = tuple[SqlType, SqlType, Callable[[str], str] | None, ValueCheck | None]
"""The stored type, the staged type, the conversion and the check of a value."""


def unsupported(path: tuple[str, ...], reason: str) -> ContractError:
    """The error for a field that cannot have its column."""
    return ContractError(f"the field has no ClickHouse column: {reason}", field=".".join(path))


def no_column_type(info: mi.Type, path: tuple[str, ...]) -> ContractError:
    """The error for a type that is not in the type table."""
    match info:
        case mi.UnionType():
            return unsupported(path, "it is a union of several types; use one field per type")
        case mi.AnyType() | mi.RawType():
            return unsupported(path, "its type is unknown; make it as specific as the data allows")
        case mi.EnumType() | mi.LiteralType():
            return unsupported(path, "its values are neither all strings nor all integers")
    name = type(info).__name__.removesuffix("Type")
    return unsupported(path, f"{name} is not in the type table")


def smallest_type(info: mi.Type, path: tuple[str, ...]) -> SqlType:
    """The smallest integer type that holds the field's bounds.

    Raises:
        ContractError: it is not an integer, lacks a bound, or its bounds are too wide.
    """
    if not isinstance(info, mi.IntType):
        raise unsupported(path, "column(smallest=True) requires an integer")
    low = info.ge if info.ge is not None else info.gt
    high = info.le if info.le is not None else info.lt
    if low is None or high is None:
        raise unsupported(path, "column(smallest=True) requires both bounds: Meta(ge=…, le=…)")
    smallest = smallest_integer(low, high, (8, 16, 32, 64))
    if smallest is None:
        raise unsupported(path, f"no integer type holds {low} to {high}")
    return smallest


def pair_scalar(
    info: mi.Type,
    kind: Python,
    rule: Rule,
    column: SqlType,
    options: ColumnOptions,
    path: tuple[str, ...],
) -> Scalar:
    """How a single value is staged, converted and checked in a given column type.

    Args:
        column: the column type, without LowCardinality and Nullable.

    Raises:
        ContractError: a member or an option of the field does not fit the column.
    """
    is_time = kind in ("datetime", "time") and column.second_digits is not None
    if options.truncate and (not is_time or column.name == "Time"):
        raise unsupported(
            path,
            "column(truncate=True) requires a datetime in DateTime or DateTime64, or a time"
            " in Time64",
        )
    if isinstance(info, mi.TimeType) and info.tz and column.name != "String":
        raise unsupported(path, f"{column} does not hold the zone of a time; use Meta(tz=False)")
    _check_members(info, column, path)
    check = rule.check(info, column, options.truncate) if rule.check else None
    staged, convert = column.in_utc, None
    if kind == "bytes":
        staged, convert = SqlType("String"), _decoder(column)
    elif kind == "timedelta":
        staged, convert = SqlType("String"), _microseconds
    return column, staged, convert, check


def _check_members(info: mi.Type, column: SqlType, path: tuple[str, ...]) -> None:
    """Refuse an Enum or Literal with a member that the column cannot hold."""
    match info:
        case mi.EnumType(cls=cls):
            members = [member.value for member in cls]
        case mi.LiteralType(values=values):
            members = list(values)
        case _:
            return
    for member in members:
        if not holds_member(column, member):
            raise unsupported(path, f"{column} does not hold the member {member!r}")


def _decoder(column: SqlType) -> Callable[[str], str]:
    """SQL for bytes, which msgspec encodes as base64."""
    if column.fixed_length:
        return lambda x: f"toFixedString(base64Decode({x}), {column.fixed_length})"
    return lambda x: f"base64Decode({x})"


def _microseconds(duration: str) -> str:
    """Int64 microseconds from a timedelta, which msgspec encodes as [-]P[nD][T[s.ffffff]S]."""
    days = f"toInt64OrZero(extract({duration}, '([0-9]+)D'))"
    seconds = f"toDecimal64OrZero(extract({duration}, '([0-9.]+)S'), 6)"
    sign = f"if(startsWith({duration}, '-'), -1, 1)"
    return f"{sign} * ({days} * 86400000000 + toInt64({seconds} * 1000000))"
