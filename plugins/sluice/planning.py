"""Deciding which offsets a load reads. Pure: what is known goes in, ranges come out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from sluice.contract import Contract
from sluice.errors import OffsetsExpired, PlanError, TopicRecreated
from sluice.range_reader import Topic, Watermarks
from sluice.ranges import OffsetRange, intersect, limit, subtract, total


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks a load for.

    Attributes:
        partitions: only these; all when empty.
        max_messages: at most so many offsets, shared between the partitions; 0 is no limit.
        low: first offset or time that is wanted, as a person writes it; empty for the beginning.
        high: offset or time to stop before; empty for the end.
    """

    partitions: tuple[int, ...] = ()
    max_messages: int = 0
    low: str = ""
    high: str = ""


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


def parse_partitions(text: str | None) -> tuple[int, ...]:
    """Partitions as a person writes them, ``0, 3``; empty means all.

    Raises:
        PlanError: it is not a list of numbers.
    """
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise PlanError(
            f"partitions must be numbers with commas between, such as 0, 3; not {text!r}"
        )
    return tuple(sorted({int(part) for part in parts}))


def new_messages(
    contract: Contract,
    topic: Topic,
    watermarks: Mapping[int, Watermarks],
    known: Known,
    request: Request,
    within: Sequence[OffsetRange] | None = None,
) -> list[OffsetRange]:
    """Everything up to now that no load has loaded or reserved.

    That includes holes that a failed load left behind. What retention removed since the
    first plan is an error or, when the contract says ``record``, part of the plan; what was
    gone before it is of no concern.

    Args:
        within: only these offsets, which the request's ``low`` and ``high`` stand for.

    Raises:
        TopicRecreated: the ledger and the topic cannot be about the same log.
        OffsetsExpired: offsets were removed before they were loaded.
        PlanError: the request names a partition that does not exist.
    """
    check_same_topic(contract, topic, watermarks, known)
    partitions = asked_partitions(topic, request.partitions)
    taken = [*known.loaded, *known.reserved]
    expired = subtract(
        [
            OffsetRange(p, known.origins[p], watermarks[p].low)
            for p in partitions
            if p in known.origins
        ],
        taken,
    )
    if within is not None:
        expired = intersect(expired, within)
    if expired and contract.on_expired == "fail":
        gone = ", ".join(map(str, expired))
        raise OffsetsExpired(
            f"topic {topic.name!r}: {total(expired):,} offsets were removed by retention before"
            f" they were loaded: {gone}. To record them as gone and go on, set"
            " on_expired='record' in the contract"
        )
    present = [OffsetRange(p, watermarks[p].low, watermarks[p].high) for p in partitions]
    ranges = [*expired, *subtract(present, taken)]
    ranges.sort()
    if within is not None:
        ranges = intersect(ranges, within)
    return limit(ranges, request.max_messages) if request.max_messages else ranges


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
        f" {contract.table.name!r}. Give the contract a new table name, or, if the old rows may"
        f" go, drop the table and the topic's rows in the ledger"
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
