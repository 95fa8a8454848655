"""The staging tables: one per topic and type of staged message, with a partition for each load.

A partition is named by the number of the entry that reserved its load in the topic's log. Ending a
load drops its partition, so a step that comes late finds no rows. What a late drain still writes
there is dropped by the next plan: a number that the log has passed, and that no live load has, is
the number of an ended load.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import structlog

from sluice.contract.ddl import ClickHouseSchemaMapper, staging_comment
from sluice.errors import EngineError
from sluice.sql import quote_identifier, quote_string, topic_in_name
from sluice.store.clickhouse import UNKNOWN_TABLE, ClickHouse, needs_rows
from sluice.store.load_state import Load
from sluice.store.topic_state import TopicState

log = structlog.get_logger()


class StagedRows(NamedTuple):
    """Where the staged rows of one load are.

    Attributes:
        table: the qualified and quoted name of the table.
        condition: SQL that selects the rows of the load, of all its attempts.
        may_lack: whether a server may have received a part of them only: a replica.
    """

    table: str
    condition: str
    may_lack: bool = False

    def complete(self, attempts: Iterable[str], rows: int) -> "StagedRows":
        """The same rows for a statement that fails where the attempts have fewer than ``rows``:
        a replica that lags behind cannot answer for them.
        """
        if not self.may_lack or not rows:
            return self
        needed = needs_rows(rows, self.of(attempts))
        return self._replace(condition=f"{self.condition} AND {needed}")

    def of(self, attempts: Iterable[str]) -> str:
        """``FROM … WHERE …`` for the rows of some attempts, where nothing can be bound."""
        listed = ", ".join(map(quote_string, attempts))
        return f"FROM {self.table} WHERE {self.condition} AND _attempt IN ({listed})"

    @property
    def accepted(self) -> str:
        """``FROM … WHERE …`` for the rows of some attempts: the query parameter ``attempts``."""
        return (
            f"FROM {self.table} WHERE {self.condition} AND _attempt IN {{attempts:Array(String)}}"
        )


class Leftover(NamedTuple):
    """A partition of a load that has ended."""

    table: str
    partition: int


class Staging:
    """The staging tables in one Sluice database."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._database = clickhouse, database

    def create(self, topic: str, mapper: ClickHouseSchemaMapper) -> None:
        """Create the table of a topic and of a mapper's message, unless it exists."""
        name = self._qualified(table_name(topic, mapper.shape))
        self._clickhouse.create(mapper.create_staging(name, staging_comment(topic)))

    def rows(self, load: Load) -> StagedRows:
        """Where the rows of a load are."""
        return StagedRows(
            self._qualified(table_name(load.topic, load.plan.shape)),
            f"_load = {load.number}",
            self._clickhouse.has_replicas,
        )

    def audited_rows(self, load: Load) -> StagedRows:
        """Where the rows are that its audit has counted; see :meth:`StagedRows.complete`."""
        return self.rows(load).complete(load.attempts.values(), load.loaded)

    def drop(self, load: Load) -> None:
        """Drop all rows of a load."""
        self._drop(self.rows(load).table, load.number)

    def leftovers(self, state: TopicState) -> list[Leftover]:
        """The partitions of a topic's loads that have ended, according to the topic's log."""
        found = self._clickhouse.rows(
            "SELECT DISTINCT p.table AS name, toUInt64(p.partition) AS number"
            " FROM system.parts AS p WHERE p.active AND p.database = {db:String} AND p.table IN"
            "  (SELECT name FROM system.tables WHERE database = {db:String}"
            "   AND comment = {comment:String})"
            " ORDER BY name, number",
            {"db": self._database, "comment": staging_comment(state.topic)},
        )
        live = {load.number for load in state.live.values()}
        return [
            Leftover(row["name"], row["number"])
            for row in found
            if row["number"] <= state.entry and row["number"] not in live
        ]

    def sweep(self, state: TopicState) -> None:
        """Drop the partitions of a topic's loads that have ended.

        A process that ended between two statements, or a drain that was late, has left them.
        """
        for name, number in self.leftovers(state):
            log.warning("staged_rows_swept", table=name, entry=number)
            self._drop(self._qualified(name), number)

    def _drop(self, table: str, number: int) -> None:
        try:
            self._clickhouse.execute(f"ALTER TABLE {table} DROP PARTITION {number}")
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:  # nothing was ever staged
                raise

    def _qualified(self, name: str) -> str:
        return f"{quote_identifier(self._database)}.{quote_identifier(name)}"


def table_name(topic: str, shape: str) -> str:
    """Name of the staging table of a topic and a digest of the staged message's type."""
    digest = hashlib.sha256(topic.encode()).hexdigest()[:8]
    return f"staging_{topic_in_name(topic)}_{digest}_{shape}"
