"""Whether a text is exactly a value of a column, so that a search finds no other value's rows.

ClickHouse converts a text that a type cannot hold to another value: integers wrap around, decimals
and times lose digits, dates out of range become others. What it made of the text is compared with
the text.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from sluice.contract.sql_type import SqlType
from sluice.errors import EngineError
from sluice.store.clickhouse import ClickHouse

EXACT_FLOATS = {"precise_float_parsing": 1}
"""Setting of a query that reads a float: the nearest one, as loads read it."""


def is_value(clickhouse: ClickHouse, text: str, type_: SqlType) -> bool:
    """Whether a column type holds exactly the value that a text stands for.

    Args:
        type_: the type of the column, without LowCardinality and Nullable.
    """
    if type_.fixed_length is not None:
        return len(text.encode()) == type_.fixed_length
    if type_.enum_names is not None:
        return text in type_.enum_names
    typed = "CAST({value:String}, {type:String})"
    stored, zone = f"toString({typed})", "''"
    if type_.time_range is not None:
        stored, zone = f"toString({typed}, 'UTC')", f"timezoneOf({typed})"
    try:
        (row,) = clickhouse.rows(
            f"SELECT {stored} AS stored, {zone} AS zone",
            {"value": text, "type": str(type_)},
            EXACT_FLOATS,
        )
    except EngineError as error:
        if error.transient or not error.code:
            raise
        return False
    return is_same(text, row["stored"], type_, row["zone"])


def is_same(text: str, stored: str, type_: SqlType, zone: str = "UTC") -> bool:
    """Whether a text and what ClickHouse prints of the value that it made of it are the same.

    Args:
        stored: times are in UTC.
        zone: the zone in which a time without one is read.
    """
    try:
        if type_.integer_range or type_.decimal_digits or type_.name in ("Float32", "Float64"):
            return Decimal(text) == Decimal(stored)
        if type_.date_range:
            return date.fromisoformat(text) == date.fromisoformat(stored)
        if type_.time_range:
            return _instant(text, zone) == _instant(stored, "UTC")
        if type_.second_digits is not None:
            return _time_of_day(text) == _time_of_day(stored)
    except (ValueError, KeyError, InvalidOperation):
        return False
    return not type_.types or _tokens(text) == _tokens(stored)


_FRACTION = re.compile(r"(?<=\d)\.\d+")


def _instant(text: str, zone: str) -> Decimal:
    """Seconds since 1970 of an ISO time, or of a text that is that number."""
    if re.fullmatch(r"-?\d{5,}(\.\d+)?", text):
        return Decimal(text)
    fraction = _FRACTION.search(text)
    at = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    at = at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))
    whole = at - datetime(1970, 1, 1, tzinfo=UTC)
    return whole.days * 86_400 + whole.seconds + Decimal(fraction[0] if fraction else 0)


def _time_of_day(text: str) -> Decimal:
    """Seconds since midnight."""
    hours, minutes, seconds = (*text.split(":"), "0")[:3]
    return int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds)


_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[][(){},:]|[^\s'\[\](){},:]+")


def _tokens(text: str) -> list[str | Decimal]:
    """The parts of a nested value; numbers are compared as numbers."""
    return [_number(token) for token in _TOKEN.findall(text)]


def _number(token: str) -> str | Decimal:
    try:
        return Decimal(token)
    except InvalidOperation:
        return token
