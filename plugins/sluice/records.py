"""Types of what is read from a topic: topics, watermarks, records, and skipped offsets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import methodcaller
from typing import Literal, Protocol, runtime_checkable

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
        """Type of the timestamp, and milliseconds since 1970; -1 if it has none.

        Producers may send any number; see :func:`timestamp_ms`.
        """

    def key(self) -> bytes | None:
        """The key, or None."""

    def value(self) -> bytes | None:
        """The value; None for a tombstone."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The headers, or None; see :func:`readable_headers`."""


LAST_TIMESTAMP = 10_413_791_999_999
"""The last millisecond that DateTime64(3) holds: the end of the year 2299."""

UNREADABLE = "\ufffd"
"""The name of a header whose name is not UTF-8; the client does not return it."""


def timestamp_ms(record: Record) -> int:
    """A message's timestamp in milliseconds since 1970; 0 if it has none that can be stored.

    A timestamp that is negative, or after the year 2299 (microseconds in place of milliseconds, for
    example), cannot be stored: clients of ClickHouse fail to read it.
    """
    at = record.timestamp()[1]
    return at if 0 <= at <= LAST_TIMESTAMP else 0


def readable_headers(record: Record) -> list[tuple[str, bytes | None]] | None:
    """A message's headers, or None; a name that is not UTF-8 is :data:`UNREADABLE`.

    ``Message.headers`` is not safe to call: for such a name it returns a tuple with a null pointer,
    and reading that ends the process.
    """
    try:
        return _call_headers(record)
    except (SystemError, UnicodeDecodeError):
        return _headers_after_failure(record)


_call_headers: Callable[[Record], list[tuple[str, bytes | None]] | None] = methodcaller("headers")
"""Called this way, Python raises the error that the client leaves; a plain call ignores it."""


def _headers_after_failure(record: Record) -> list[tuple[str, bytes | None]] | None:
    """The headers with null pointers, which ``repr`` shows and nothing else may read.

    The message keeps the result, because another call would return the null pointers again.
    """
    try:
        headers = _call_headers(record)
    except (SystemError, UnicodeDecodeError):
        return None
    readable = [
        (UNREADABLE if repr(header).startswith("(<NULL>,") else header[0], header[1])
        for header in headers or ()
    ]
    if isinstance(record, _Adjustable):
        record.set_headers(readable)
    return readable


@runtime_checkable
class _Adjustable(Protocol):
    """confluent-kafka's Message, whose headers can be set."""

    def set_headers(self, value: list[tuple[str, bytes | None]]) -> None:
        """Set what ``headers`` returns."""


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
