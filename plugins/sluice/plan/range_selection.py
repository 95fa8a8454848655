"""Deciding which offsets a load reads.

Pure: what is known of the topic goes in, ranges come out.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from sluice.contract import Contract
from sluice.errors import OffsetsExpired, TopicRecreated, UnknownPartition
from sluice.ranges import EVER, OffsetRange, intersect, limit, merge, subtract, total
from sluice.records import Topic, Watermarks, retained_ranges
from sluice.store.request import Request


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a load of a request would read now, and what it leaves alone, in offsets.

    Attributes:
        ranges: what it would read.
        replaced: how many of these are loaded already, and would be replaced.
        there: in the window, and loaded already.
        elsewhere: in the window or, without one, new; and reserved by another load.
        gone: in the window, not loaded, and no longer in the topic.
        ahead: in the window, and beyond the topic's end.
        unsearched: after a range of time, and not searched for late messages of it.
        postponed: new, and left to the next load, since the contract limits the size of a load.
    """

    ranges: list[OffsetRange]
    replaced: int = 0
    there: int = 0
    elsewhere: int = 0
    gone: int = 0
    ahead: int = 0
    unsearched: int = 0
    postponed: int = 0

    @property
    def offsets(self) -> int:
        """How many offsets it would read."""
        return total(self.ranges)

    @property
    def left_alone(self) -> dict[str, int]:
        """The other counts by name; only those above 0."""
        names = ("replaced", "there", "elsewhere", "gone", "ahead", "unsearched", "postponed")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class TopicHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger records of a topic.

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


def choose_ranges(
    contract: Contract,
    topic: Topic,
    watermarks: Mapping[int, Watermarks],
    history: TopicHistory,
    request: Request,
    within: Sequence[OffsetRange] | None = None,
) -> Selection:
    """The offsets to read: all that no load has loaded or reserved, or those of a window.

    That includes gaps that a failed load left behind. What retention removed since the first plan
    is an error or, when the contract says ``record``, part of the plan; what was gone before the
    first plan is not considered.

    Args:
        within: the window that the request's offsets or times resolve to.

    Raises:
        TopicRecreated: the ledger and the topic cannot be about the same log.
        OffsetsExpired: offsets were removed before they were loaded.
        UnknownPartition: the request names a partition that does not exist.
    """
    check_same_topic(contract, topic, watermarks, history)
    partitions = select_partitions(topic, request.partitions)
    whole = [OffsetRange(p, 0, EVER) for p in partitions]
    window = whole if within is None else intersect(within, whole)
    taken = [*history.loaded, *history.reserved]
    expired = subtract(_expired(partitions, watermarks, history), taken)
    expired = intersect(expired, window)
    if expired and contract.on_expired == "fail":
        raise OffsetsExpired(
            f"{total(expired):,} offsets were removed by retention before they were loaded:"
            f" {', '.join(map(str, expired))}. To record them as absent and continue, set"
            " on_expired='record' in the contract",
            topic=topic.name,
            partition=expired[0].partition,
            offset=expired[0].low,
        )
    present = intersect(retained_ranges(watermarks), window)
    left_alone = history.reserved if request.existing == "replace" else taken
    ranges = merge([*expired, *subtract(present, left_alone)])
    if request.max_messages:
        ranges = limit(ranges, request.max_messages)
    if within is None:
        postponed = 0
        if not request.max_messages and request.existing != "replace":
            found, ranges = ranges, limit(ranges, contract.max_offsets)
            postponed = total(found) - total(ranges)
        elsewhere = total(intersect(history.reserved, present))
        return Selection(ranges=ranges, elsewhere=elsewhere, postponed=postponed)
    replaced = total(intersect(ranges, history.loaded))
    before = [OffsetRange(p, 0, watermarks[p].low) for p in partitions]
    beyond = [
        OffsetRange(r.partition, max(r.low, watermarks[r.partition].high), r.high)
        for r in window
        if r.high < EVER
    ]
    return Selection(
        ranges=ranges,
        replaced=replaced,
        there=total(intersect(history.loaded, window)) - replaced,
        elsewhere=total(intersect(history.reserved, window)),
        gone=total(subtract(intersect(before, window), taken)),
        ahead=total(beyond),
    )


def _expired(
    partitions: Collection[int], watermarks: Mapping[int, Watermarks], history: TopicHistory
) -> list[OffsetRange]:
    """What retention has removed since the topic was first planned."""
    return [
        OffsetRange(p, history.origins[p], watermarks[p].low)
        for p in partitions
        if p in history.origins
    ]


def check_same_topic(
    contract: Contract, topic: Topic, watermarks: Mapping[int, Watermarks], history: TopicHistory
) -> None:
    """Refuse to mix two logs of one name.

    Raises:
        TopicRecreated: the topic's id has changed, or a partition ends before what is loaded.
    """
    advice = (
        " Its offsets start again, and would be mistaken for those in table"
        f" {contract.table.name!r}. Rename that table to keep its rows, or drop it, and run"
        f" 'sluice forget {topic.name}'"
    )
    if history.topic_id and topic.id != history.topic_id:
        raise TopicRecreated(
            f"it was recreated since the last load: its id was {history.topic_id} and is"
            f" {topic.id}.{advice}",
            topic=topic.name,
        )
    ends: dict[int, int] = {}
    for r in history.loaded:
        ends[r.partition] = max(r.high, ends.get(r.partition, 0))
    for partition, end in sorted(ends.items()):
        mark = watermarks.get(partition)
        if mark is None or mark.high < end:
            now = f"ends at {mark.high}" if mark else "is gone"
            raise TopicRecreated(
                f"the partition {now}, but offsets up to {end} are loaded: the topic was recreated"
                f" or truncated.{advice}",
                topic=topic.name,
                partition=partition,
            )


def select_partitions(topic: Topic, partitions: Collection[int]) -> list[int]:
    """The partitions that a request names, or all.

    Raises:
        UnknownPartition: the topic does not have one of them.
    """
    if unknown := sorted(set(partitions) - set(topic.partitions)):
        raise UnknownPartition(
            f"the topic has no such partition; it has {topic.partitions[0]} to"
            f" {topic.partitions[-1]}",
            topic=topic.name,
            partition=unknown[0],
        )
    return sorted(partitions or topic.partitions)
