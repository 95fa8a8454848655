"""The version column of a replacing table: which columns decide what the newest row of a key is."""

import re
from collections.abc import Iterable

from sluice.contract.columns import Column
from sluice.contract.parts import Table
from sluice.errors import ContractError

_TYPES = frozenset(
    {"Float32", "Float64", "Bool", "Date", "Date32", "DateTime", "DateTime64", "Time", "Time64"}
)
"""Types, besides integers, that ClickHouse accepts for a version column."""


def check_version_column(table: Table, columns: Iterable[Column]) -> None:
    """Refuse a replacing table that would not keep the newest row of each key.

    Args:
        columns: the columns of the message.

    Raises:
        ContractError: ``field`` names the column.
    """
    by_name, version = {column.name: column for column in columns}, table.replaces
    if version == "_offset":
        raise ContractError(
            f"table {table.name!r} cannot keep the row with the highest _offset: offsets of"
            " different partitions cannot be compared, and keys change their partition when"
            " partitions are added; use a time or a counter of the message as the version"
            " column, or ReplacingMergeTree(_timestamp)",
            field=version,
        )
    column = by_name.get(version)
    if column is None and version != "_timestamp":
        raise ContractError(
            f"the version column of table {table.name!r} must be a column of the message, or"
            " _timestamp",
            field=version,
        )
    if column and not _orders_versions(column):
        raise ContractError(
            f"the version column of table {table.name!r} must be a number, a date or a time, and"
            f" never null, but its type is {column.type.stored}",
            field=".".join(column.path),
        )
    if separating := sorted(_columns_in(table.partition_by, by_name) - set(table.order_by)):
        raise ContractError(
            f"rows of table {table.name!r} replace each other only within a partition of the"
            " table, so its partition_by may only use columns of its order key",
            field=separating[0],
        )


def _orders_versions(column: Column) -> bool:
    stored = column.type.stored
    return stored.integer_range is not None or stored.name in _TYPES


def _columns_in(expression: str, known: Iterable[str]) -> set[str]:
    """The columns that an SQL expression uses; those of a lineage column begin with ``_``."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'", "", expression)
    names = set(re.findall(r"\b[A-Za-z_]\w*\b(?!\s*\()", text))
    return {name for name in names if name.startswith("_")} | (names & set(known))
