"""Parses just enough of a statement to decide how to run it."""

import re

INSERT_HEAD = re.compile(
    rb"\s*(INSERT\s+INTO\s+(?:(?!\bSELECT\b|\bVALUES\b).)+?)\s+FORMAT\s+(\w+)[ \t;]*(?:\r?\n|$)",
    re.I | re.S,
)
"""An INSERT whose rows follow in the body: group 1 is the statement, group 2 the rows' format."""

STREAMABLE = frozenset(
    {"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow", "JSONCompactEachRow"}
)
"""Formats without header or footer, whose blocks can be sent as they are produced."""

_FORMAT_TAIL = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)
_INSERT = re.compile(rb"\s*INSERT\b", re.I)

HEAD_LIMIT = 1 << 16
"""If a body begins with a statement, the statement's head ends within this many bytes."""


def is_insert(sql: bytes) -> bool:
    """Return whether a statement, or the beginning of one, is an INSERT."""
    return bool(_INSERT.match(sql[:64]))


def output_format(sql: bytes, default: str) -> str:
    """Return the format of a trailing FORMAT clause, or the default."""
    match = _FORMAT_TAIL.search(sql[-200:])
    return match[1].decode() if match else default


def literal(value: str) -> str:
    """Quote a string as a literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """Quote a name as an identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
