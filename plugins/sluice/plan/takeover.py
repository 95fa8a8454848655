"""Ending loads whose runs are over: those that are publishing are completed, others abandoned."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from sluice.errors import EngineError, SluiceError
from sluice.publish.publisher import Publisher
from sluice.sql import quote_identifier
from sluice.store.clickhouse import UNKNOWN_TABLE, ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load, State

log = structlog.get_logger()

IsOver = Callable[[str], bool | None]
"""Whether the run that owns a load is over; None when that cannot be determined."""


class Settler:
    """Settles loads of one topic on behalf of one run.

    Args:
        owner: the run that settles; its own loads are left alone.
        is_over: whether another owner's run is over.
        lease_minutes: inactivity after which a load may be taken over, when ``is_over`` cannot
            determine the state of its owner.
        hold_hours: how long a load that its audit holds waits for a person to release it.
    """

    def __init__(
        self,
        topic: str,
        clickhouse: ClickHouse,
        ledger: Ledger,
        publisher: Publisher,
        owner: str,
        is_over: IsOver,
        lease_minutes: float,
        hold_hours: float = 0,
    ) -> None:
        self.topic, self.owner, self.is_over = topic, owner, is_over
        self.clickhouse, self.ledger, self.publisher = clickhouse, ledger, publisher
        self._lease = timedelta(minutes=lease_minutes)
        self._hold = timedelta(hours=hold_hours)

    def settle(self) -> None:
        """End the loads whose runs are over: complete those that are publishing, abandon others."""
        for load in self.ledger.loads_of(self.topic, live=True):
            if load.owner == self.owner or self._awaits_decision(load) or not self._is_over(load):
                continue
            if not self.publisher.is_publishing(load.load_id):
                self.abandon(load)
                continue
            log.warning("rolling_forward", load_id=load.load_id, owner=load.owner)
            try:
                self.publisher.publish(load.load_id, self.owner)
            except SluiceError as error:
                # Its offsets stay reserved, so loading what is new is safe meanwhile.
                log.error("rolling_forward_failed", load_id=load.load_id, error=str(error))
        self.sweep()

    def sweep(self) -> None:
        """Drop tables that nothing needs: of ended loads, and of loads that were never recorded.

        A process that ends between two statements leaves such a table. A table without a load may
        belong to a planner that is about to reserve, so it is kept for the time of a lease. If it
        is dropped too early all the same, that load's tasks fail as those of an abandoned one do.
        """
        tables = self.ledger.work_tables()
        states = self.ledger.states([row["load_id"] for row in tables])
        for row in tables:
            state = states.get(row["load_id"])
            expired = state is None and row["age"] > self._lease.total_seconds()
            if expired or (state and state.is_end):
                log.warning("table_swept", table=row["name"], state=state or "unknown")
                name = f"{quote_identifier(self.ledger.database)}.{quote_identifier(row['name'])}"
                self.clickhouse.execute(f"DROP TABLE IF EXISTS {name}")

    def _is_over(self, load: Load) -> bool:
        over = self.is_over(load.owner)
        if over is None:
            inactive = datetime.now(UTC) - self.ledger.last_activity(load)
            return inactive > self._lease
        return over

    def _awaits_decision(self, load: Load) -> bool:
        """Whether a person may still release it; only a load that was read to its end can be."""
        if load.state is not State.HELD or datetime.now(UTC) - load.last_at > self._hold:
            return False
        chunks = self.ledger.chunks(load.load_id)
        return chunks.keys() == self.ledger.attempts.accepted(load.load_id).keys()

    def abandon(self, load: Load, detail: EventDetail = EventDetail()) -> bool:
        """Free the offsets of a load; its late tasks fail on the missing table.

        Dropping the staging table decides: a load that has begun to publish has renamed the
        table, and is not abandoned.

        Returns:
            Whether it is abandoned; False when it has begun to publish, or has ended.
        """
        try:
            self.clickhouse.execute(f"DROP TABLE {self.ledger.staging_table(load.load_id)}")
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:
                raise
            again = self.ledger.load(load.load_id)
            if self.publisher.is_publishing(load.load_id) or (again and not again.live):
                return False
        self.ledger.record(load.load_id, load.topic, State.ABANDONED, self.owner, detail)
        log.warning("abandoned", load_id=load.load_id, owner=load.owner, state=load.state)
        return True
