"""Messages in quarantine as a source that a drain reads as it reads the broker."""

from collections.abc import Iterator, Sequence

import msgspec

from sluice.ranges import OffsetRange
from sluice.records import Record, Skip, Topic
from sluice.store.quarantine import Quarantine, RefusedMessage
from sluice.store.request import RefusalFilter


class QuarantinedRecord(msgspec.Struct, frozen=True):
    """A refused message as a record."""

    message: RefusedMessage

    def partition(self) -> int:
        """The partition it came from."""
        return self.message.partition

    def offset(self) -> int:
        """Its offset there."""
        return self.message.offset

    def timestamp(self) -> tuple[int, int]:
        """Kind of timestamp, which is not kept, and milliseconds since 1970 as Kafka has them."""
        return 0, self.message.timestamp_ms

    def key(self) -> bytes | None:
        """The key, or None."""
        return self.message.key

    def value(self) -> bytes | None:
        """The value, or None."""
        return self.message.value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The headers."""
        return list(self.message.headers)


class QuarantineSource:
    """Reads messages that are in quarantine now."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    def read(
        self, topic: Topic, ranges: Sequence[OffsetRange]
    ) -> Iterator[tuple[list[Record], list[Skip]]]:
        """The messages in some ranges, a page at a time.

        One that is no longer in quarantine is left out; the drain counts what it received.
        """
        for page in self._quarantine.pages(RefusalFilter(topic=topic.name), ranges):
            yield [QuarantinedRecord(message) for message in page], []
