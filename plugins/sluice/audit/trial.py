"""What the target would refuse, asked of the staged rows before any of them is visible.

The rows are written as they would be published, into a table with the target's columns and
constraints that keeps nothing. Materialized views cannot be asked: a view that fails is found when
the load publishes, and docs/quality.md says what a person can do then.
"""

import re
from collections.abc import Collection

from sluice.audit.accounting import Balance
from sluice.contract import Contract
from sluice.contract.ddl import WORK_TABLE
from sluice.errors import EngineError, QualityHeld, ShortRead
from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load
from sluice.store.target_table import TargetTable

_SIMPLE_TTL = re.compile(r"(?i)(?!.*\b(DELETE|TO|GROUP|WHERE|SET|RECOMPRESS)\b)[^,]+")
"""A TTL that is one expression of time, after which a row is removed."""


class Trial:
    """Asks the target table of one contract. In a cluster the constraints are not visible here."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, cluster: str = ""
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._target = TargetTable(contract, clickhouse, cluster)

    def run(self, load: Load, balance: Balance) -> None:
        """Write the rows that the audit has counted to nowhere.

        Raises:
            QualityHeld: the target would refuse a row; with ClickHouse's own reason.
            EngineError: it could not be asked; the audit can be repeated.
        """
        staged = balance.staged(self._ledger.staging.rows(load))
        columns = self._target.columns(staged.table, load.plan.shape)
        if not self._asks_more(columns):
            return
        name = f"trial_{load.load_id}"
        table = f"{quote_identifier(self._ledger.database)}.{quote_identifier(name)}"
        mark = quote_string(WORK_TABLE)
        self._clickhouse.execute(
            f"CREATE OR REPLACE TABLE {table} AS {self._target.name} ENGINE = Null COMMENT {mark}"
        )
        try:
            listed = ", ".join(map(quote_identifier, columns))
            statement = (
                f"INSERT INTO {table} ({listed}) SELECT {', '.join(columns.values())}"
                f" {staged.accepted}"
            )
            parameters = self._parameters(load, balance)
            self._clickhouse.execute(statement, parameters, {"join_use_nulls": 1})
        except EngineError as error:
            if error.transient or not error.code or isinstance(error, ShortRead):
                raise
            raise QualityHeld(
                f"{self._target.name} refuses rows of the load, nothing is published:"
                f" {error.detail}",
                load_id=load.load_id,
                field=error.field,
                code=error.code,
            ) from None
        finally:
            self._clickhouse.execute(f"DROP TABLE IF EXISTS {table}")

    def expired(self, load: Load, balance: Balance) -> int:
        """Number of rows that the table's TTL would remove at once."""
        ttl = self._contract.table.ttl
        if not _SIMPLE_TTL.fullmatch(ttl):
            return 0
        staged = balance.staged(self._ledger.staging.rows(load))
        columns = self._target.columns(staged.table, load.plan.shape)
        listed = ", ".join(f"{sql} AS {quote_identifier(name)}" for name, sql in columns.items())
        sql = f"SELECT countIf(({ttl}) <= now()) AS rows FROM (SELECT {listed} {staged.accepted})"
        parameters = self._parameters(load, balance)
        (row,) = self._clickhouse.rows(sql, parameters)
        return int(row["rows"])

    def _parameters(self, load: Load, balance: Balance) -> dict[str, object]:
        attempts = list(balance.attempts.values())
        return {"topic": load.topic, "load": load.load_id, "attempts": attempts}

    def _asks_more(self, inserted: Collection[str]) -> bool:
        """Whether the table has constraints, or computes columns that a load does not insert."""
        (found,) = self._clickhouse.rows(
            "SELECT count() AS tables FROM system.tables AS t WHERE t.database = {db:String}"
            " AND t.name = {table:String} AND t.engine != 'Distributed'"
            " AND (position(t.create_table_query, ' CONSTRAINT ') > 0 OR (t.database, t.name) IN"
            "  (SELECT database, table FROM system.columns WHERE default_kind != ''"
            "   AND database = {db:String} AND table = {table:String}"
            "   AND name NOT IN {inserted:Array(String)}))",
            {
                "db": self._clickhouse.database,
                "table": self._contract.table.name,
                "inserted": list(inserted),
            },
        )
        return bool(found["tables"])
