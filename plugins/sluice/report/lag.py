"""How far the published offsets are behind a topic."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange, subtract
from sluice.records import retained_ranges
from sluice.store.ledger import Ledger


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """The lag of one partition.

    Attributes:
        low: first offset that the topic keeps.
        high: offset after its last.
        published: offsets that loads account for, including those that the topic no longer has.
        waiting: offsets that the topic has and no load accounts for.
        seconds: age of the first message among these; 0 when there are none, None when it has
            no timestamp.
    """

    partition: int
    low: int
    high: int
    published: int
    waiting: int
    seconds: float | None


def measure_lag(topic_name: str, broker: Broker, ledger: Ledger) -> list[Lag]:
    """The lag of each partition of a topic.

    Raises:
        BrokerError: the broker does not respond.
    """
    topic = broker.topic(topic_name)
    marks = broker.watermarks(topic)
    published = ledger.state(topic_name, fresh=False).loaded
    waiting = subtract(retained_ranges(marks), published)
    starts = {r.partition: r.low for r in reversed(waiting)}
    since, now = broker.times_at(topic, starts, marks), datetime.now(UTC)
    left_of, published_of = _by_partition(waiting), _by_partition(published)
    found = []
    for partition, mark in marks.items():
        left = left_of[partition]
        at = since.get(partition)
        found.append(
            Lag(
                partition=partition,
                low=mark.low,
                high=mark.high,
                published=published_of[partition],
                waiting=left,
                seconds=(now - at).total_seconds() if at else None if left else 0.0,
            )
        )
    return found


def _by_partition(ranges: Iterable[OffsetRange]) -> Counter[int]:
    """Partition → its number of offsets."""
    counts = Counter[int]()
    for r in ranges:
        counts[r.partition] += r.count
    return counts


def total_waiting(lags: Sequence[Lag]) -> int:
    """Offsets of all partitions that no load accounts for."""
    return sum(lag.waiting for lag in lags)
