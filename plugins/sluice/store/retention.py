"""Removal of old records of loads that nothing depends on.

Reports, quality results and data documents are removed after ``SLUICE_KEEP_DAYS``. Ranges,
accounts, states and metrics are kept, because ``sluice verify``, the next plan and counters that
must not decrease depend on them. Quarantined messages are kept, because there may be no other copy.
"""

import msgspec
import structlog

from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse

log = structlog.get_logger()

OLD = ("reports", "quality_results", "data_docs")
"""Tables whose old rows are removed."""


class RemovedRows(msgspec.Struct, frozen=True):
    """How many rows were removed from one table."""

    table: str
    rows: int


class Retention:
    """Removes old rows from one Sluice database."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quote_identifier(database)

    def clean(self, keep_days: float, dry_run: bool = False) -> list[RemovedRows]:
        """Remove rows that are older than ``keep_days``; repeatable.

        Args:
            keep_days: age in days.
            dry_run: only count the rows.
        """
        removed = []
        old = f"at < now64(6) - toIntervalSecond({round(keep_days * 86_400)})"
        for table in OLD:
            name = f"{self._db}.{table}"
            (row,) = self._clickhouse.rows(f"SELECT count() AS n FROM {name} WHERE {old}")
            if row["n"] and not dry_run:
                self._clickhouse.execute(f"DELETE FROM {name} WHERE {old}")
            log.info("old_rows_removed", table=table, rows=row["n"], dry_run=dry_run)
            removed.append(RemovedRows(table, int(row["n"])))
        return removed
