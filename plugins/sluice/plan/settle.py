"""Ending what runs that are over have left: a load is rolled forward, or abandoned."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from sluice.errors import EngineError, SluiceError
from sluice.publish.publisher import Publisher
from sluice.sql import quoted
from sluice.store import ledger as states
from sluice.store.clickhouse import UNKNOWN_TABLE, ClickHouse
from sluice.store.ledger import Ledger, Load

log = structlog.get_logger()

IsOver = Callable[[str], bool | None]
"""Whether the run that owns a load is over; None when there is no telling."""


class Settler:
    """Settles loads of one topic on behalf of one run.

    Args:
        owner: the run that settles; its own loads are left alone.
        is_over: tells of other owners whether they are over.
        lease_minutes: silence after which a load counts as left, when there is no telling.
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
        """End what runs that are over have left: roll forward or abandon."""
        for load in self.ledger.loads_of(self.topic, live=True):
            if load.owner == self.owner or self._waits(load) or not self._over(load):
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
        """Drop tables that nothing needs: of ended loads, and those that no load came to own.

        A process that ends between two statements leaves one. A table that the ledger does not
        know may be of a planner that is about to reserve, so it is given the time of a lease;
        should it go all the same, that load's tasks fail as those of an abandoned one do.
        """
        tables = self.ledger.work_tables()
        known = self.ledger.states([row["load_id"] for row in tables])
        for row in tables:
            state = known.get(row["load_id"])
            ended = state in (states.PUBLISHED, states.ABANDONED, states.WITHDRAWN)
            if ended or (state is None and row["age"] > self._lease.total_seconds()):
                log.warning("table_swept", table=row["name"], state=state or "unknown")
                name = f"{quoted(self.ledger.database)}.{quoted(row['name'])}"
                self.clickhouse.execute(f"DROP TABLE IF EXISTS {name}")

    def _over(self, load: Load) -> bool:
        over = self.is_over(load.owner)
        if over is None:
            silent = datetime.now(UTC) - self.ledger.last_sign(load)
            return silent > self._lease
        return over

    def _waits(self, load: Load) -> bool:
        """Whether a person may still release it; only what was read to its end can be."""
        if load.state != states.HELD or datetime.now(UTC) - load.last_at > self._hold:
            return False
        return self.ledger.chunks(load.load_id).keys() == self.ledger.winners(load.load_id).keys()

    def abandon(self, load: Load, detail: Mapping[str, Any] = {}) -> bool:
        """Free the offsets of a load; its late tasks fail on the missing table.

        Returns:
            Whether it is abandoned; False when it has begun to publish, or has ended.

        Dropping the staging table decides it: a load that has begun to publish has renamed
        the table, and is not abandoned.
        """
        try:
            self.clickhouse.execute(f"DROP TABLE {self.ledger.staging_table(load.load_id)}")
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:
                raise
            again = self.ledger.load(load.load_id)
            if self.publisher.is_publishing(load.load_id) or (again and not again.live):
                return False
        self.ledger.record(load.load_id, load.topic, states.ABANDONED, self.owner, detail)
        log.warning("abandoned", load_id=load.load_id, owner=load.owner, state=load.state)
        return True
