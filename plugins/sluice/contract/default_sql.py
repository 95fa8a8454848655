"""SQL for the values that messages without a field get, as defaults of columns."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as mi

from sluice.contract.sql_type import SqlType
from sluice.contract.staged_form import json_text_form
from sluice.sql import format_value, quote_string

_WIDE = ("Int128", "UInt128", "Int256", "UInt256")
"""Integer types whose literals ClickHouse may read as floats."""


def default_sql(value: Any, stored: SqlType) -> str:
    """A value as an SQL expression that ClickHouse converts to the column's type unchanged.

    Args:
        stored: the column's type.

    Raises:
        TypeError: there is no SQL for values of its type.
    """
    column = stored.plain
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return "NULL"
    if column.name == "String" and not isinstance(value, str | bytes):
        return quote_string(_text(value))
    match value:
        case timedelta():
            return str(value // timedelta(microseconds=1))
        case datetime():
            return _moment(value, column)
        case float() | Decimal() if column.decimal_digits:
            return quote_string(f"{Decimal(repr(value)) if isinstance(value, float) else value:f}")
        case int() if column.decimal_digits or column.name in _WIDE:
            return quote_string(str(value))
        case int() if column.name.startswith("Float"):
            return repr(float(value))
        case Struct():
            values = [getattr(value, name) for name in value.__struct_fields__]
            return _elements(values, column)
        case tuple() if column.name == "Tuple":
            return _elements(value, column)
        case Mapping():
            key_type, value_type = column.types
            parts = [
                part
                for key, item in value.items()
                for part in (default_sql(key, key_type), default_sql(item, value_type))
            ]
            return f"map({', '.join(parts)})"
        case list() | tuple() | set() | frozenset():
            (item_type,) = column.types
            return f"[{', '.join(default_sql(item, item_type) for item in value)}]"
    return format_value(value)


def _elements(values: Any, column: SqlType) -> str:
    parts = [default_sql(item, type_) for item, type_ in zip(values, column.types, strict=True)]
    return f"tuple({', '.join(parts)})"


def _moment(value: datetime, column: SqlType) -> str:
    """A time; as text only where the column reads the text as UTC."""
    at = value.astimezone(UTC) if value.tzinfo else value
    text = at.isoformat(" ", "microseconds" if column.name == "DateTime64" else "seconds")
    if column.parameters[-1:] == ("'UTC'",):
        return quote_string(text)
    if column.name == "DateTime":
        return f"toDateTime({quote_string(text)}, 'UTC')"
    return f"toDateTime64({quote_string(text)}, {column.second_digits}, 'UTC')"


def _text(value: Any) -> str:
    """A value as a String column stores it: its text in JSON, or JSON itself."""
    form = json_text_form(mi.type_info(type(value))) if isinstance(value, Struct) else None
    text = msgspec.json.encode(form(value) if form else value).decode()
    return str(msgspec.json.decode(text)) if text.startswith('"') else text
