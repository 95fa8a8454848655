"""What a topic carries, and the table that it becomes: types, versions, DDL, documentation.

This facade is light: the DAG processor imports it each time it parses the DAG files.
"""

from sluice.contract.contract import Contract, M
from sluice.contract.discovery import discover, find
from sluice.contract.parts import (
    Breaker,
    ColumnOptions,
    Rule,
    Severity,
    Table,
    Version,
    column,
)

__all__ = [
    "Breaker",
    "ColumnOptions",
    "Contract",
    "M",
    "Rule",
    "Severity",
    "Table",
    "Version",
    "column",
    "discover",
    "find",
]
