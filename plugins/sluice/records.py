"""What is read from a topic: records, offsets without one, and where a topic begins and ends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from sluice.ranges import OffsetRange

SkipKind = Literal["absent", "expired", "tombstone"]


class Record(Protocol):
    """A message that came from a partition: confluent-kafka's Message, without its Nones."""

    def partition(self) -> int:
        """The partition it came from."""

    def offset(self) -> int:
        """Its offset there."""

    def timestamp(self) -> tuple[int, int]:
        """Kind of timestamp, and milliseconds since 1970; -1 when it has none."""

    def key(self) -> bytes | None:
        """The key, or None."""

    def value(self) -> bytes | None:
        """The value, or None for a tombstone."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The headers, or None."""


def timestamp_ms(record: Record) -> int:
    """A message's timestamp in milliseconds since 1970; 0 when it has none."""
    return max(record.timestamp()[1], 0)


class Topic(msgspec.Struct, frozen=True):
    """A topic as the broker tells it. ``id`` changes when a topic is recreated."""

    name: str
    id: str
    partitions: tuple[int, ...]


class Watermarks(msgspec.Struct, frozen=True):
    """First offset that is kept, and the offset after the last that a reader may see."""

    low: int
    high: int


class Source(Protocol):
    """Where the messages of a load come from."""

    def read(
        self, topic: Topic, ranges: Sequence[OffsetRange]
    ) -> Iterator[tuple[list[Record], list["Skip"]]]:
        """Read exactly these ranges; see :class:`RangeReader`."""


def retained_ranges(marks: Mapping[int, Watermarks]) -> list[OffsetRange]:
    """What a topic has between its watermarks, a range a partition."""
    return [OffsetRange(p, mark.low, mark.high) for p, mark in marks.items()]


class Skip(msgspec.Struct, frozen=True):
    """Offsets that carry no message, and why."""

    range: OffsetRange
    kind: SkipKind


Progress = Callable[[int], None]
"""Called with the number of offsets that were just dealt with."""
