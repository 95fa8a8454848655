"""The state of one topic, computed from the entries of its log.

:func:`refusal` decides whether an entry may follow a state, and :func:`apply` computes the state
after it. Both are pure; the model of the protocol in ``tests/model`` uses the same functions.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from sluice.ranges import OffsetRange, intersect, merge
from sluice.store.load_state import EventDetail, Load, PlanRecord, State

Chunks = tuple[tuple[OffsetRange, ...], ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a topic's log: what happened to one load.

    Attributes:
        load_id: the load; empty if the entry is about the topic.
        owner: the DAG run or process that wrote it.
        detail: the detail of the event.
        plan: of a reservation, the recorded plan.
        chunks: of a reservation, the ranges of each chunk.
        revision: of a reservation, see :class:`~.load_state.Load`.
        number: its place in the log, from 1.
        at: when ClickHouse received it.
    """

    load_id: str
    state: State
    owner: str
    detail: EventDetail = EventDetail()
    plan: PlanRecord = PlanRecord()
    chunks: Chunks = ()
    revision: int = 0
    number: int = 0
    at: datetime = datetime.min


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """What the entries of a log up to one of them say.

    Attributes:
        topic: its name.
        entry: the number of that entry; 0 for an empty log.
        live: load id → load, of those that have not ended, the oldest first.
        loaded: the offsets of published loads, merged.
        revision: the highest revision of a published load.
        reserved_at: the number of the last reservation's entry.
        topic_id: the broker's id of the topic at the last published load; empty before.
        origins: where each partition began when it was first planned; None before the first plan.
        target: see :class:`PlanRecord`; that of the last reservation.
    """

    topic: str
    entry: int = 0
    live: Mapping[str, Load] = {}
    loaded: tuple[OffsetRange, ...] = ()
    revision: int = 0
    reserved_at: int = 0
    topic_id: str = ""
    origins: Mapping[int, int] | None = None
    target: str = ""

    def has_ended(self, load: Load) -> bool:
        """Whether a load has ended; False also for one that is reserved after these entries."""
        return load.number <= self.entry and load.load_id not in self.live

    @property
    def reserved(self) -> list[OffsetRange]:
        """The offsets that live loads hold."""
        return [r for load in self.live.values() for r in load.ranges]


def refusal(state: TopicState, entry: Entry, seen: int = 0) -> str:
    """Why an entry may not follow a state; empty if it may.

    Args:
        seen: of a reservation that replaces or replays, the number of the entry up to which its
            planner has read: whatever was reserved since may have been published.
    """
    if entry.state is State.FORGOTTEN:
        return ""
    if entry.state is State.RESERVED:
        return _reservation_refusal(state, entry, seen)
    load = state.live.get(entry.load_id)
    if load is None:
        return "it has ended"
    publishing = load.state.is_publishing
    match entry.state:
        case State.AUDITED | State.HELD | State.FAILED | State.ADOPTED | State.ABANDONED:
            allowed = not publishing
            if load.state is State.TAKING_BACK:
                allowed = entry.state in (State.ABANDONED, State.ADOPTED)
            elif entry.state is State.ADOPTED:
                allowed = True
        case State.PUBLISHING:
            allowed = publishing or load.state is State.AUDITED
        case State.REPLACING | State.TAKING_BACK:
            allowed = load.state is State.PUBLISHING
        case _:
            allowed = publishing
    return "" if allowed else f"it is {load.state}"


def _reservation_refusal(state: TopicState, entry: Entry, seen: int) -> str:
    mine = [r for chunk in entry.chunks for r in chunk]
    if entry.load_id in state.live:
        return "it is reserved already"
    if any(load.owner == entry.owner for load in state.live.values()):
        return "its run has a load already"
    if intersect(mine, state.reserved):
        return "another load has reserved some of its offsets"
    if entry.plan.kind == "load":
        overlaps = bool(intersect(mine, state.loaded))
        return "another load has published some of its offsets" if overlaps else ""
    if state.reserved_at > seen or state.revision >= entry.revision:
        return "another load was reserved or published meanwhile"
    return ""


def apply(state: TopicState, entry: Entry) -> TopicState:
    """The state after an entry.

    An entry about a load that has ended changes nothing: a log that was converted from an older
    release may contain some.
    """
    after = msgspec.structs.replace(state, entry=entry.number)
    if entry.state is State.FORGOTTEN:
        return TopicState(topic=state.topic, entry=entry.number)
    if entry.state is State.RESERVED:
        return _reserve(after, entry)
    load = state.live.get(entry.load_id)
    if load is None:
        return after
    live = dict(state.live)
    if entry.state.is_end:
        del live[entry.load_id]
        after = msgspec.structs.replace(after, live=live)
        return _publish(after, load) if entry.state is State.PUBLISHED else after
    live[entry.load_id] = follow(load, entry)
    return msgspec.structs.replace(after, live=live)


def follow(load: Load, entry: Entry) -> Load:
    """A load after one more of its entries."""
    if load.state.is_end:
        return load
    if entry.state is State.ADOPTED:
        return msgspec.structs.replace(load, owner=entry.owner, last_at=entry.at)
    # When another publisher continues a replacement, the state stays.
    continues = (load.state, entry.state) == (State.REPLACING, State.PUBLISHING)
    state = load.state if continues else entry.state
    after = msgspec.structs.replace(load, state=state, last_at=entry.at)
    if state is not State.AUDITED:
        return after
    audit = entry.detail
    return msgspec.structs.replace(
        after,
        attempts=dict(audit.attempts),
        loaded=audit.loaded,
        quarantined=audit.quarantined,
        absent=audit.absent,
    )


def reserved_load(topic: str, entry: Entry) -> Load:
    """The load that a reservation begins."""
    return Load(
        load_id=entry.load_id,
        topic=topic,
        number=entry.number,
        owner=entry.owner,
        state=State.RESERVED,
        plan=entry.plan,
        chunks=entry.chunks,
        revision=entry.revision,
        planned_at=entry.at,
        last_at=entry.at,
    )


def _reserve(state: TopicState, entry: Entry) -> TopicState:
    lows = {partition: low for partition, (low, _) in entry.plan.watermarks.items()}
    # A partition that the first plan did not see was added later, and began at 0.
    first = state.origins is None
    origins = lows if first else dict.fromkeys(lows, 0) | dict(state.origins or {})
    load = reserved_load(state.topic, entry)
    return msgspec.structs.replace(
        state,
        live={**state.live, entry.load_id: load},
        reserved_at=entry.number,
        target=entry.plan.target,
        origins=origins,
    )


def _publish(state: TopicState, load: Load) -> TopicState:
    loaded = state.loaded
    if load.kind != "replay":  # what a replay has read another load had published before
        loaded = tuple(merge([*loaded, *load.ranges]))
    return msgspec.structs.replace(
        state,
        loaded=loaded,
        revision=max(state.revision, load.revision),
        topic_id=load.plan.topic_id,
    )
