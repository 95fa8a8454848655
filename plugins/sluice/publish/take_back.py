"""Giving up a load that has begun to publish: its visible rows are removed, its offsets are free.

It begins with an entry in the topic's log, after which the load cannot be published. Its staged
rows are dropped, so a publisher that is late finds none to copy. Then its running inserts are
ended, and only then its rows are removed. Each step may be repeated.
"""

import structlog

from sluice.errors import AccountingError, ReplaceUnsupported
from sluice.sql import quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load, State
from sluice.store.target_table import TargetTable

log = structlog.get_logger()


class TakeBack:
    """Takes back loads of one topic."""

    def __init__(self, clickhouse: ClickHouse, ledger: Ledger, target: TargetTable) -> None:
        self._clickhouse, self._ledger, self._target = clickhouse, ledger, target

    def run(self, load: Load, owner: str, detail: EventDetail) -> None:
        """Remove what is visible of a load, and record that it was given up.

        What materialized views have made of its rows is not removed.

        Raises:
            ReplaceUnsupported: rows of the load cannot be removed without losing others: it
                replaces the rows of other loads, or the table keeps the newest rows only.
            LoadLost: it has ended meanwhile.
            AccountingError: rows of it are still visible; repeat it.
        """
        if load.state is State.TAKING_BACK:
            detail = self._ledger.events(load.topic, load.load_id)[-1].detail
        else:
            self._check(load)
            self._ledger.record(load.load_id, load.topic, State.TAKING_BACK, owner, detail)
        self._ledger.staging.drop(load)
        named = f"startsWith(Settings['log_comment'], {quote_string(f'sluice/{load.load_id}/')})"
        if self._clickhouse.rows(f"SELECT 1 AS one FROM system.processes WHERE {named}"):
            self._clickhouse.execute(f"KILL QUERY WHERE {named} SYNC")
        # Behind replicas, the one that is asked may not have received the rows yet.
        if self._visible(load) or self._clickhouse.has_replicas:
            # A mutation is kept as text, so nothing is left to bind.
            self._clickhouse.execute(
                f"DELETE FROM {self._target.name} WHERE _topic = {quote_string(load.topic)}"
                f" AND _load_id = {quote_string(load.load_id)}",
                settings={"lightweight_deletes_sync": 2},
            )
        if rows := self._clickhouse.until(lambda: self._visible(load), lambda rows: not rows):
            raise AccountingError(
                f"{rows:,} of its rows are still in {self._target.name}: repeat the command",
                load_id=load.load_id,
            )
        self._ledger.record(load.load_id, load.topic, State.ABANDONED, owner, detail)
        log.warning("taken_back", load_id=load.load_id, table=self._target.name)

    def _check(self, load: Load) -> None:
        if load.state is State.REPLACING:
            why = "it is removing the rows that it replaces"
        elif self._target.replaces and (self._clickhouse.has_replicas or self._visible(load)):
            why = f"{self._target.name} keeps the newest row of each key, so older ones may be gone"
        elif self._target.settings and self._visible(load):
            why = "rows of a cluster's table cannot be removed exactly"
        else:
            return
        raise ReplaceUnsupported(
            f"some of its rows are visible and cannot be taken back: {why}. Remove the cause, then"
            " 'sluice release' completes the load",
            topic=load.topic,
            load_id=load.load_id,
        )

    def _visible(self, load: Load) -> int:
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS rows FROM {self._target.name}"
            " WHERE _topic = {topic:String} AND _load_id = {load:String}",
            {"topic": load.topic, "load": load.load_id},
            self._target.settings,
        )
        return int(row["rows"])
