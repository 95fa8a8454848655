"""Removal of old records of loads that nothing depends on.

Reports, quality results and data documents are partitioned by month. A month is dropped once all
of it is older than ``SLUICE_KEEP_DAYS``. Ranges, accounts, states and metrics are kept, because
``sluice verify``, the next plan and counters that must not decrease depend on them. Quarantined
messages are kept, because there may be no other copy.
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
        self._clickhouse, self._database = clickhouse, database

    def clean(self, keep_days: float, dry_run: bool = False) -> list[RemovedRows]:
        """Remove the months whose rows are all older than ``keep_days``; repeatable.

        Args:
            keep_days: age in days.
            dry_run: only count the rows.
        """
        (limit,) = self._clickhouse.rows(
            f"SELECT toYYYYMM(now64(6, 'UTC') - toIntervalSecond({round(keep_days * 86_400)}))"
            " AS month"
        )
        removed = []
        for table in OLD:
            months = self._clickhouse.rows(
                "SELECT toUInt32(p.partition) AS month, sum(p.rows) AS rows FROM system.parts AS p"
                " WHERE p.active AND p.database = {db:String} AND p.table = {table:String}"
                " GROUP BY month HAVING month < {limit:UInt32}",
                {"db": self._database, "table": table, "limit": limit["month"]},
            )
            rows = sum(row["rows"] for row in months)
            for row in months if not dry_run else ():
                self._clickhouse.execute(
                    f"ALTER TABLE {quote_identifier(self._database)}.{table}"
                    f" DROP PARTITION {row['month']}"
                )
            log.info("old_rows_removed", table=table, rows=rows, dry_run=dry_run)
            removed.append(RemovedRows(table, int(rows)))
        return removed
