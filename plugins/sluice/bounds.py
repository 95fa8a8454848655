"""Offsets or times, as a person writes them, to ranges."""

from collections.abc import Collection
from datetime import UTC, datetime

from sluice.errors import PlanError
from sluice.kafka import Broker
from sluice.planning import EVER, asked_partitions
from sluice.range_reader import Topic
from sluice.ranges import OffsetRange


def bounds(
    broker: Broker,
    topic: Topic,
    low: str | None,
    high: str | None,
    partitions: Collection[int] = (),
) -> list[OffsetRange] | None:
    """A range a partition; None when nothing narrows it.

    A whole number is an offset, anything else an ISO 8601 time (UTC when it has no zone), which
    stands for the first message at or after it.

    Raises:
        PlanError: it is neither, or there is no such partition.
        BrokerError: the broker does not answer.
    """
    if low is None and high is None and not partitions:
        return None
    asked = asked_partitions(topic, partitions)
    lows, highs = _resolve(broker, topic, low, 0), _resolve(broker, topic, high, EVER)
    return [OffsetRange(p, lows[p], highs[p]) for p in asked]


def _resolve(broker: Broker, topic: Topic, text: str | None, default: int) -> dict[int, int]:
    if text is None:
        return dict.fromkeys(topic.partitions, default)
    if text.isascii() and text.isdigit():
        return dict.fromkeys(topic.partitions, int(text))
    return broker.offsets_at(topic, parse_time(text))


Window = tuple[datetime | None, datetime | None]
"""A range of time, from its start to before its end; None where it is open."""


def window_of(low: str, high: str) -> Window | None:
    """The times that a person wrote; None when one of them is an offset, or both are empty.

    Raises:
        PlanError: one is no time, or the range ends before it begins.
    """
    if not (low or high) or any(text.isascii() and text.isdigit() for text in (low, high)):
        return None
    times = [parse_time(text) if text else None for text in (low, high)]
    if times[0] and times[1] and times[0] >= times[1]:
        raise PlanError(f"the range of time begins at {low} and must end later, not at {high}")
    return times[0], times[1]


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; UTC when it names no zone.

    Raises:
        PlanError: it is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PlanError(
            f"{text!r} is neither an offset nor a time such as 2026-01-31 or 2026-01-31T14:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
