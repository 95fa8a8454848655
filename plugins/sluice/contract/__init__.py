"""Contracts: the message, versions and table of each topic, and the DDL and docs made from them.

This facade must stay light: the DAG processor imports it whenever it parses the DAG files.
"""

from sluice.contract.definition import Contract, M
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
