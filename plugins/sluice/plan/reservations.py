"""The offsets that other, unfinished loads hold: since when, and how a person frees them."""

from datetime import datetime

import msgspec

from sluice.ranges import total
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load, State


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """The offsets that one unfinished load holds.

    Attributes:
        owner: the DAG run or process that runs the load.
        since: when the load was planned.
        active_at: when it last recorded anything.
        ranges: the first ranges that it holds, as text.
    """

    load_id: str
    owner: str
    state: State
    offsets: int
    since: datetime
    active_at: datetime
    ranges: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.offsets:,} offsets are held by load {self.load_id} since {self.since:%F %T} UTC"
            f" ({', '.join(self.ranges)}). It is {self.state}, last active {self.active_at:%F %T}"
            f" UTC, and belongs to {self.owner}. {self._way_out}"
        )

    @property
    def _way_out(self) -> str:
        if self.state is State.HELD:
            return (
                f"It waits for a decision: sluice release {self.load_id} --why … publishes it, and"
                f" sluice discard {self.load_id} --why … frees its offsets."
            )
        if self.state is State.TAKING_BACK:
            return (
                "Its visible rows are being removed; the next plan of the topic completes that, and"
                f" so does: sluice discard {self.load_id} --why …"
            )
        if self.state.is_publishing:
            return (
                "It has begun to publish. Once its run is over, the next plan of the topic"
                f" completes it, and so does: sluice release {self.load_id} --why …"
            )
        return (
            "The next plan frees the offsets once that run is over. If it was deleted, free them:"
            f" sluice discard {self.load_id} --run-is-over --why …"
        )


MOST_RANGES = 3
"""Ranges that a reservation lists."""


def find_reservations(ledger: Ledger, topic: str, besides: Load | None = None) -> list[Reservation]:
    """The offsets that unfinished loads of a topic hold, the oldest load first; reads only.

    Args:
        besides: a load; only what others held when it was planned, and still hold, is returned.
    """
    loads = ledger.loads_of(topic, live=True)
    if besides:
        loads = [
            load
            for load in loads
            if load.load_id != besides.load_id and load.planned_at <= besides.planned_at
        ]
    return [
        Reservation(
            load_id=load.load_id,
            owner=load.owner,
            state=load.state,
            offsets=total(load.ranges),
            since=load.planned_at,
            active_at=ledger.last_activity(load),
            ranges=(
                *map(str, load.ranges[:MOST_RANGES]),
                *(["…"] if len(load.ranges) > MOST_RANGES else []),
            ),
        )
        for load in reversed(loads)
        if load.ranges
    ]
