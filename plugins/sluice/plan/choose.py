"""Deciding which offsets a load reads. Pure: what is known goes in, ranges come out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from sluice.contract import Contract
from sluice.errors import OffsetsExpired, PlanError, TopicRecreated
from sluice.ranges import EVER, OffsetRange, intersect, limit, merge, subtract, total
from sluice.records import Topic, Watermarks, kept
from sluice.store.request import Request


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a load of a request would read now, and what it leaves alone, in offsets.

    Attributes:
        ranges: what it would read.
        replaced: how many of these are loaded already, and would be loaded anew.
        there: in the window, and loaded already.
        elsewhere: in the window, and being loaded by another.
        gone: in the window, not loaded, and not in the topic any more.
        ahead: in the window, and beyond the topic's end.
        unsearched: after a range of time, and not looked through for late messages of it.
    """

    ranges: list[OffsetRange]
    replaced: int = 0
    there: int = 0
    elsewhere: int = 0
    gone: int = 0
    ahead: int = 0
    unsearched: int = 0

    @property
    def offsets(self) -> int:
        """How many offsets it would read."""
        return total(self.ranges)

    @property
    def left_alone(self) -> dict[str, int]:
        """What else there is to tell of a window, by name; only what there is any of."""
        names = ("replaced", "there", "elsewhere", "gone", "ahead", "unsearched")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger knows of a topic.

    Attributes:
        topic_id: the id that the topic had at the last load; empty before the first.
        origins: where each partition began when it was first planned; nothing before it
            was ever to be loaded.
        loaded: ranges of published loads.
        reserved: ranges of live loads.
    """

    topic_id: str = ""
    origins: Mapping[int, int] = {}
    loaded: Sequence[OffsetRange] = ()
    reserved: Sequence[OffsetRange] = ()


def choose(
    contract: Contract,
    topic: Topic,
    watermarks: Mapping[int, Watermarks],
    known: Known,
    request: Request,
    within: Sequence[OffsetRange] | None = None,
) -> Survey:
    """What is to be read: everything that no load has loaded or reserved, or of a window.

    That includes holes that a failed load left behind. What retention removed since the
    first plan is an error or, when the contract says ``record``, part of the plan; what was
    gone before it is of no concern.

    Args:
        within: the window that the request's offsets or times stand for.

    Raises:
        TopicRecreated: the ledger and the topic cannot be about the same log.
        OffsetsExpired: offsets were removed before they were loaded.
        PlanError: the request names a partition that does not exist.
    """
    check_same_topic(contract, topic, watermarks, known)
    asked = asked_partitions(topic, request.partitions)
    whole = [OffsetRange(p, 0, EVER) for p in asked]
    window = whole if within is None else intersect(within, whole)
    taken = [*known.loaded, *known.reserved]
    expired = subtract(_expired(asked, watermarks, known), taken)
    expired = intersect(expired, window)
    if expired and contract.on_expired == "fail":
        gone = ", ".join(map(str, expired))
        raise OffsetsExpired(
            f"topic {topic.name!r}: {total(expired):,} offsets were removed by retention before"
            f" they were loaded: {gone}. To record them as gone and go on, set"
            " on_expired='record' in the contract"
        )
    present = intersect(kept(watermarks), window)
    left_alone = known.reserved if request.existing == "replace" else taken
    ranges = merge([*expired, *subtract(present, left_alone)])
    if request.max_messages:
        ranges = limit(ranges, request.max_messages)
    if within is None:
        return Survey(ranges=ranges)
    replaced = total(intersect(ranges, known.loaded))
    before = [OffsetRange(p, 0, watermarks[p].low) for p in asked]
    beyond = [
        OffsetRange(r.partition, max(r.low, watermarks[r.partition].high), r.high)
        for r in window
        if r.high < EVER
    ]
    return Survey(
        ranges=ranges,
        replaced=replaced,
        there=total(intersect(known.loaded, window)) - replaced,
        elsewhere=total(intersect(known.reserved, window)),
        gone=total(subtract(intersect(before, window), taken)),
        ahead=total(beyond),
    )


def _expired(
    asked: Collection[int], watermarks: Mapping[int, Watermarks], known: Known
) -> list[OffsetRange]:
    """What retention has removed since the topic was first planned."""
    return [
        OffsetRange(p, known.origins[p], watermarks[p].low) for p in asked if p in known.origins
    ]


def origins(plans: Sequence[Mapping[str, Any]], partitions: Collection[int]) -> dict[int, int]:
    """Where each partition began when it was first planned.

    Args:
        plans: what planners recorded, the oldest first; each has the ``watermarks`` it saw.
        partitions: the topic's partitions now. One that the first plan did not see was added
            later, and began at 0.
    """
    found: dict[int, int] = {}
    for plan in plans:
        for partition, (low, _) in plan["watermarks"].items():
            found.setdefault(int(partition), low)
    if plans:
        first = {int(partition) for partition in plans[0]["watermarks"]}
        found |= dict.fromkeys(set(partitions) - first, 0)
    return found


def check_same_topic(
    contract: Contract, topic: Topic, watermarks: Mapping[int, Watermarks], known: Known
) -> None:
    """Refuse to mix two logs of one name.

    Raises:
        TopicRecreated: the topic's id has changed, or a partition ends before what is loaded.
    """
    advice = (
        f" Its offsets begin anew, and would be mistaken for those in table"
        f" {contract.table.name!r}. Rename that table to keep its rows, or drop it, and forget the"
        " topic in the ledger: docs/backfill.md says how"
    )
    if known.topic_id and topic.id != known.topic_id:
        raise TopicRecreated(
            f"topic {topic.name!r} was recreated since the last load: its id was"
            f" {known.topic_id} and is {topic.id}.{advice}"
        )
    ends: dict[int, int] = {}
    for r in known.loaded:
        ends[r.partition] = max(r.high, ends.get(r.partition, 0))
    for partition, end in sorted(ends.items()):
        mark = watermarks.get(partition)
        if mark is None or mark.high < end:
            now = f"ends at {mark.high}" if mark else "is gone"
            raise TopicRecreated(
                f"topic {topic.name!r}, partition {partition} {now}, but offsets up to {end} are"
                f" loaded: the topic was recreated or truncated.{advice}"
            )


def asked_partitions(topic: Topic, partitions: Collection[int]) -> list[int]:
    """The partitions that a person names, or all.

    Raises:
        PlanError: the topic does not have one of them.
    """
    if unknown := set(partitions) - set(topic.partitions):
        raise PlanError(
            f"topic {topic.name!r} has no partition {', '.join(map(str, sorted(unknown)))};"
            f" it has {topic.partitions[0]} to {topic.partitions[-1]}"
        )
    return sorted(partitions or topic.partitions)
