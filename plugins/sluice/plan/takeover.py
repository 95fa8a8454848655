"""Ending loads whose runs are over: those that are publishing are completed, others abandoned."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from sluice.errors import LoadLost, SluiceError
from sluice.publish.publisher import Publisher
from sluice.publish.take_back import TakeBack
from sluice.sql import quote_identifier, topic_in_name
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load, State
from sluice.store.topic_state import Entry, TopicState

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
        self.take_back = TakeBack(clickhouse, ledger, publisher.target)
        self._lease = timedelta(minutes=lease_minutes)
        self._hold = timedelta(hours=hold_hours)

    def settle(self, fresh: bool = True) -> None:
        """End the loads whose runs are over: complete those that are publishing, abandon others.

        Args:
            fresh: see :meth:`Ledger.state`.
        """
        self.ledger.state(self.topic, fresh)
        for load in self.ledger.loads_of(self.topic, live=True, fresh=False):
            if load.owner == self.owner or self._awaits_decision(load) or not self._is_over(load):
                continue
            if not load.state.is_publishing and load.state is not State.TAKING_BACK:
                self.abandon(load)
                continue
            log.warning("completing", load_id=load.load_id, owner=load.owner, state=load.state)
            try:
                if load.state.is_publishing:
                    self.publisher.publish(load.load_id, self.owner)
                else:
                    self.abandon(load)
            except SluiceError as error:
                # Its offsets stay reserved, so loading what is new is safe meanwhile.
                log.error("not_completed", load_id=load.load_id, error=str(error))
        self.sweep(fresh=False)

    def sweep(self, fresh: bool = True) -> None:
        """Drop what nothing needs: staged rows of ended loads, tables of audits and comparisons.

        A process that ends between two statements leaves them. A table without a load may be in
        use, so it is kept for the time of a lease. So are those of other topics' loads, which
        their own plans drop sooner.
        """
        self.ledger.staging.sweep(self.ledger.state(self.topic, fresh))
        mine = f"{topic_in_name(self.topic)}_"
        tables = [
            row
            for row in self.ledger.work_tables()
            if row["load_id"].startswith(mine) or row["age"] > self._lease.total_seconds()
        ]
        if not tables:
            return
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
        return len(self.ledger.attempts.accepted_of(load)) == len(load.chunks)

    def adopt(self, load: Load) -> bool:
        """Continue a load of a run that is over.

        Returns:
            Whether it is this run's; False when another run was first, or it has ended.
        """
        entry = Entry(load_id=load.load_id, state=State.ADOPTED, owner=self.owner)

        def same_owner(state: TopicState) -> str:
            owner = state.live[load.load_id].owner
            return "" if owner == load.owner else f"it belongs to {owner}"

        try:
            self.ledger.log(self.topic).append(entry, allowed=same_owner)
        except LoadLost as error:
            log.info("not_adopted", load_id=load.load_id, reason=error.detail)
            return False
        log.info("load_adopted", load_id=load.load_id, owner=load.owner)
        return True

    def abandon(self, load: Load, detail: EventDetail = EventDetail()) -> bool:
        """Free the offsets of a load; its late tasks fail.

        Returns:
            Whether it is abandoned; False when it has begun to publish, or has ended.
        """
        if load.state is State.TAKING_BACK:
            self.take_back.run(load, self.owner, detail)
            return True
        try:
            self.ledger.record(load.load_id, load.topic, State.ABANDONED, self.owner, detail)
        except LoadLost:
            return False
        self.ledger.staging.drop(load)
        log.warning("abandoned", load_id=load.load_id, owner=load.owner, state=load.state)
        return True
