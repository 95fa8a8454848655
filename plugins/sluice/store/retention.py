"""Removing what loads leave behind once it is old; what the ledger's truth rests on stays.

Reports, quality results and data documents go after ``SLUICE_KEEP_DAYS``. Ranges, accounts, states,
metrics and every message in quarantine stay: the audit of the whole (``sluice verify``), the next
plan and counters that must not fall need them, and a message may have no other copy.
"""

import msgspec
import structlog

from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse

log = structlog.get_logger()

OLD = ("reports", "quality_results", "data_docs")
"""Tables whose old rows may go."""


class RemovedRows(msgspec.Struct, frozen=True):
    """What went from one table."""

    table: str
    rows: int


class Retention:
    """Keeps one Sluice database small."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quote_identifier(database)

    def clean(self, keep_days: float, dry_run: bool = False) -> list[RemovedRows]:
        """Remove what is older than so many days; repeating it is harmless.

        Args:
            dry_run: only count.
        """
        removed = []
        old = f"at < now64(6) - toIntervalSecond({round(keep_days * 86_400)})"
        for table in OLD:
            name = f"{self._db}.{table}"
            (row,) = self._clickhouse.rows(f"SELECT count() AS n FROM {name} WHERE {old}")
            if row["n"] and not dry_run:
                self._clickhouse.execute(f"DELETE FROM {name} WHERE {old}")
            log.info("removed", table=table, rows=row["n"], dry_run=dry_run)
            removed.append(RemovedRows(table, int(row["n"])))
        return removed
