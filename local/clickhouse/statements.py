"""Reading just enough of a statement to know how to run it."""

import re

INSERT_HEAD = re.compile(
    rb"\s*(INSERT\s+INTO\s+(?:(?!\bSELECT\b|\bVALUES\b).)+?)\s+FORMAT\s+(\w+)[ \t;]*(?:\r?\n|$)",
    re.I | re.S,
)
"""An insert whose rows follow in the body: the statement, and the format of the rows."""

STREAMABLE = frozenset(
    {"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow", "JSONCompactEachRow"}
)
"""Formats without a head or a foot, whose pieces can be sent as they come."""

_FORMAT_TAIL = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)
_INSERT = re.compile(rb"\s*INSERT\b", re.I)

HEAD_LIMIT = 1 << 16
"""A statement that opens a body ends its head within this many bytes."""


def is_insert(sql: bytes) -> bool:
    """Whether a statement, or its beginning, is an INSERT."""
    return bool(_INSERT.match(sql[:64]))


def output_format(sql: bytes, default: str) -> str:
    """The format that a statement asks for at its end."""
    match = _FORMAT_TAIL.search(sql[-200:])
    return match[1].decode() if match else default


def literal(value: str) -> str:
    """A string as the engine reads it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A name as the engine reads it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
