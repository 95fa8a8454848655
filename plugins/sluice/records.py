"""Types of what is read from a topic: topics, watermarks, records, and skipped offsets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from sluice.ranges import OffsetRange

SkipKind = Literal["absent", "expired", "tombstone"]


class Record(Protocol):
    """A message of a partition: confluent-kafka's Message, with the types of a consumed one."""

    def partition(self) -> int:
        """Its partition."""

    def offset(self) -> int:
        """Its offset in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Type of the timestamp, and milliseconds since 1970; -1 if it has none."""

    def key(self) -> bytes | None:
        """The key, or None."""

    def value(self) -> bytes | None:
        """The value; None for a tombstone."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The headers, or None."""


def timestamp_ms(record: Record) -> int:
    """A message's timestamp in milliseconds since 1970; 0 if it has none."""
    return max(record.timestamp()[1], 0)


class Topic(msgspec.Struct, frozen=True):
    """A topic as the broker describes it. ``id`` changes when the topic is recreated."""

    name: str
    id: str
    partitions: tuple[int, ...]


class Watermarks(msgspec.Struct, frozen=True):
    """The first offset that a partition retains, and the offset after its last readable one."""

    low: int
    high: int


class Source(Protocol):
    """Where the messages of a load are read from: the broker or the quarantine."""

    def read(
        self, topic: Topic, ranges: Sequence[OffsetRange]
    ) -> Iterator[tuple[list[Record], list["Skip"]]]:
        """Read exactly these ranges; see :class:`RangeReader`."""


def retained_ranges(marks: Mapping[int, Watermarks]) -> list[OffsetRange]:
    """The offsets between a topic's watermarks, one range per partition."""
    return [OffsetRange(p, mark.low, mark.high) for p, mark in marks.items()]


class Skip(msgspec.Struct, frozen=True):
    """Offsets that carry no message to load, and why.

    Attributes:
        kind: ``tombstone``: a message with a null value; ``absent``: the broker has no message
            there (transaction markers, aborted or compacted messages); ``expired``: retention
            removed it before it was read.
    """

    range: OffsetRange
    kind: SkipKind


Progress = Callable[[int], None]
"""Called with the number of offsets that have just been processed."""
