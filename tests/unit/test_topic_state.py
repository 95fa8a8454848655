"""What the entries of a topic's log mean."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sluice.ranges import OffsetRange
from sluice.store.load_state import EventDetail, PlanRecord, State
from sluice.store.topic_state import Entry, TopicState, apply, refusal

AT = datetime(2026, 1, 1, tzinfo=UTC)


def reserve(load: str, low: int, high: int, **more: Any) -> Entry:
    chunks = ((OffsetRange(0, low, high),),)
    entry = Entry(load_id=load, state=State.RESERVED, owner=f"run {load}", chunks=chunks)
    return msgspec.structs.replace(entry, **more)


def event(load: str, state: State, owner: str = "x", **detail: Any) -> Entry:
    return Entry(load_id=load, state=state, owner=owner, detail=EventDetail(**detail))


def fold(*entries: Entry) -> TopicState:
    """The state after some entries, each of which must be allowed."""
    state = TopicState(topic="t")
    for entry in entries:
        assert refusal(state, entry, seen=state.entry) == "", entry
        number = state.entry + 1
        state = apply(state, msgspec.structs.replace(entry, number=number, at=AT))
    return state


PUBLISHED = (
    reserve("a", 0, 10, plan=PlanRecord(topic_id="id-1", watermarks={0: (5, 10)})),
    event("a", State.AUDITED, attempts={0: "0-x"}),
    event("a", State.PUBLISHING),
    event("a", State.PUBLISHED),
)


def test_a_published_load_leaves_its_offsets_and_the_topics_id() -> None:
    state = fold(*PUBLISHED, reserve("b", 10, 20))
    assert state.loaded == (OffsetRange(0, 0, 10),)
    assert state.reserved == [OffsetRange(0, 10, 20)]
    assert (state.topic_id, list(state.live), state.entry) == ("id-1", ["b"], 5)


def test_an_abandoned_load_frees_its_offsets() -> None:
    state = fold(reserve("a", 0, 10), event("a", State.ABANDONED), reserve("b", 0, 10))
    assert list(state.live) == ["b"]


def test_a_partition_begins_at_the_first_plans_watermark_or_at_0_if_added_later() -> None:
    first = reserve("a", 5, 10, plan=PlanRecord(watermarks={0: (5, 10)}))
    second = reserve("b", 10, 20, plan=PlanRecord(watermarks={0: (7, 20), 1: (3, 9)}))
    assert TopicState(topic="t").origins is None
    assert fold(first, second).origins == {0: 5, 1: 0}


def test_the_audited_attempts_are_those_of_the_last_audit() -> None:
    entries = [
        reserve("a", 0, 10),
        event("a", State.AUDITED, attempts={0: "first"}),
        event("a", State.HELD, error="late"),
        event("a", State.AUDITED, attempts={0: "second"}),
        event("a", State.PUBLISHING),
    ]
    assert fold(*entries).live["a"].attempts == {0: "second"}


def test_a_replacement_that_another_publisher_continues_stays_one() -> None:
    state = fold(*PUBLISHED[:3], event("a", State.REPLACING), event("a", State.PUBLISHING))
    assert state.live["a"].state is State.REPLACING


def test_an_adopted_load_has_a_new_owner_and_its_old_state() -> None:
    state = fold(*PUBLISHED[:2], event("a", State.ADOPTED, owner="new"))
    assert (state.live["a"].owner, state.live["a"].state) == ("new", State.AUDITED)


def test_a_forgotten_topic_begins_again_and_keeps_its_numbers() -> None:
    forgotten = Entry(load_id="", state=State.FORGOTTEN, owner="x")
    assert fold(*PUBLISHED, forgotten) == TopicState(topic="t", entry=5)
    assert fold(*PUBLISHED, forgotten, reserve("b", 0, 10)).entry == 6


REPLACE: dict[str, Any] = {"plan": PlanRecord(kind="replace", replaces=("a",)), "revision": 1}


@pytest.mark.parametrize(
    ("before", "entry", "why"),
    [
        (PUBLISHED, event("a", State.PUBLISHED), "ended"),
        (PUBLISHED, event("a", State.ABANDONED), "ended"),
        ((), event("a", State.AUDITED), "ended"),
        (PUBLISHED[:1], reserve("a", 20, 30), "already"),
        (PUBLISHED[:1], reserve("b", 20, 30, owner="run a"), "its run has a load"),
        (PUBLISHED[:1], reserve("b", 9, 12), "reserved"),
        (PUBLISHED, reserve("b", 9, 12), "published"),
        (PUBLISHED[:1], event("a", State.PUBLISHING), "it is reserved"),
        (PUBLISHED[:2], event("a", State.PUBLISHED), "it is audited"),
        (PUBLISHED[:3], event("a", State.ABANDONED), "it is publishing"),
        (PUBLISHED[:3], event("a", State.HELD), "it is publishing"),
        (PUBLISHED[:3], event("a", State.AUDITED), "it is publishing"),
        ((*PUBLISHED[:3], event("a", State.REPLACING)), event("a", State.REPLACING), "replacing"),
        ((*PUBLISHED[:3], event("a", State.REPLACING)), event("a", State.TAKING_BACK), "replacing"),
        ((*PUBLISHED[:3], event("a", State.TAKING_BACK)), event("a", State.PUBLISHED), "taking"),
        ((*PUBLISHED[:3], event("a", State.TAKING_BACK)), event("a", State.AUDITED), "taking"),
        ((*PUBLISHED, reserve("b", 0, 5, **REPLACE)), reserve("c", 0, 5, **REPLACE), "reserved"),
    ],
)
def test_an_entry_that_may_not_follow_is_refused(
    before: tuple[Entry, ...], entry: Entry, why: str
) -> None:
    state = fold(*before)
    assert why in refusal(state, entry, seen=state.entry)


def test_a_replacement_is_planned_again_if_a_load_was_reserved_meanwhile() -> None:
    """That load may have published offsets which the replacement does not know of."""
    other = [reserve("b", 10, 20), event("b", State.ABANDONED)]
    state = fold(*PUBLISHED, *other)
    replacement = reserve("c", 0, 5, **REPLACE)
    assert refusal(state, replacement, seen=4) != ""
    assert refusal(state, replacement, seen=state.entry) == ""
    published = [*REPLACED[:1], *REPLACED[1:]]
    assert refusal(fold(*PUBLISHED, *published), replacement, seen=99) != ""


REPLACED = (
    reserve("b", 0, 5, **REPLACE),
    event("b", State.AUDITED),
    event("b", State.PUBLISHING),
    event("b", State.PUBLISHED),
)


def test_a_state_survives_a_checkpoint() -> None:
    state = fold(*PUBLISHED, *REPLACED, reserve("d", 30, 40), event("d", State.HELD, error="x"))
    text = msgspec.json.encode(state)
    assert msgspec.json.decode(text, type=TopicState) == state
