"""Names, values and conditions in ClickHouse's SQL syntax."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from sluice.ranges import OffsetRange


def quote_identifier(name: str) -> str:
    """A quoted identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


LONGEST_TOPIC = 100
"""Characters of a topic in a name that is made from it: ClickHouse limits names."""


def topic_in_name(topic: str) -> str:
    """A topic as a part of a table's name; different topics may give the same."""
    return re.sub(r"\W", "_", topic, flags=re.A)[:LONGEST_TOPIC]


def quote_string(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def format_value(value: Any) -> str:
    """A Python value as an SQL expression for a column of its type.

    Raises:
        TypeError: there is no SQL for values of its type.
    """
    match value:
        case Enum():
            return format_value(value.value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return quote_string(value)
        case bytes():
            return f"unhex('{value.hex()}')"
        case Decimal() | UUID() | time():
            return quote_string(str(value))
        case datetime():
            at = value.astimezone(UTC) if value.tzinfo else value
            return quote_string(at.strftime("%Y-%m-%d %H:%M:%S.%f"))
        case date():
            return quote_string(value.isoformat())
        case list() | tuple() | frozenset():
            return f"[{', '.join(map(format_value, value))}]"
    raise TypeError(f"no SQL for {type(value).__name__}")


def offset_condition(
    ranges: Sequence[OffsetRange], partition: str = "_partition", offset: str = "_offset"
) -> str:
    """An SQL condition that is true for the offsets of some ranges.

    Args:
        partition, offset: SQL of the partition and the offset.
    """
    singles: dict[int, list[str]] = {}
    for r in ranges:
        if r.count == 1:
            singles.setdefault(r.partition, []).append(str(r.low))
    return (
        " OR ".join(
            [
                f"({partition} = {r.partition} AND {offset} >= {r.low} AND {offset} < {r.high})"
                for r in ranges
                if r.count != 1
            ]
            + [
                f"({partition} = {p} AND {offset} IN ({', '.join(offsets)}))"
                for p, offsets in singles.items()
            ]
        )
        or "0"
    )
