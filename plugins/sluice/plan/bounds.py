"""Offsets or times, as a person writes them, to ranges."""

from collections.abc import Collection

from sluice.kafka.broker import Broker
from sluice.plan.range_selection import select_partitions
from sluice.ranges import EVER, OffsetRange
from sluice.records import Topic
from sluice.store.request import EPOCH, Request, is_offset, parse_time, parse_window


def resolve_bounds(
    broker: Broker,
    topic: Topic,
    low: str | None,
    high: str | None,
    partitions: Collection[int] = (),
) -> list[OffsetRange] | None:
    """A range per partition; None when nothing narrows it.

    A whole number is an offset, anything else an ISO 8601 time (UTC when it has no zone), which
    stands for the first message at or after it.

    Raises:
        PlanError: it is neither, the range is empty, or there is no such partition.
        BrokerError: the broker does not respond.
    """
    if low is None and high is None and not partitions:
        return None
    Request(low=low or "", high=high or "").check()
    parse_window(low or "", high or "")
    chosen = select_partitions(topic, partitions)
    lows, highs = _resolve(broker, topic, low, 0), _resolve(broker, topic, high, EVER)
    return [OffsetRange(p, lows[p], highs[p]) for p in chosen]


def _resolve(broker: Broker, topic: Topic, text: str | None, default: int) -> dict[int, int]:
    if text is None:
        return dict.fromkeys(topic.partitions, default)
    if is_offset(text):
        return dict.fromkeys(topic.partitions, int(text))
    at = parse_time(text)
    # Kafka reads times before 1970 as its special offsets: -1 would be the end of the topic.
    return dict.fromkeys(topic.partitions, 0) if at <= EPOCH else broker.offsets_at(topic, at)
