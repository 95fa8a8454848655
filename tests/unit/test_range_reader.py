"""Sequences of messages that a real broker returns only by chance; the consumer is a fake."""

from typing import Any

from sluice.kafka.range_reader import RangeReader
from sluice.ranges import OffsetRange
from sluice.records import Skip, Topic, Watermarks

TOPIC = Topic("t", "id", (0,))


class Message:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class Consumer:
    """Returns given lists of messages; after a seek, all messages from that offset on."""

    def __init__(self, *polls: list[int]) -> None:
        self._polls = list(polls)
        self._all = sorted({offset for poll in polls for offset in poll})

    def assign(self, partitions: Any) -> None: ...
    def incremental_unassign(self, partitions: Any) -> None: ...

    def seek(self, partition: Any) -> None:
        self._polls = [[o for o in self._all if o >= partition.offset]]

    def consume(self, number: int, timeout: float) -> list[Message]:
        return [Message(offset) for offset in self._polls.pop(0)] if self._polls else []


def watermarks(topic: Topic) -> dict[int, Watermarks]:
    return {0: Watermarks(0, 1000)}


def read(consumer: Consumer, *ranges: OffsetRange) -> tuple[list[int], list[Skip]]:
    offsets: list[int] = []
    skips: list[Skip] = []
    reader = RangeReader(watermarks, consumer, TOPIC, ranges, 1)  # type: ignore[arg-type]
    for messages, skipped in reader:
        offsets += [m.offset() for m in messages]
        skips += skipped
    return offsets, skips


def test_a_message_that_completes_a_range_may_belong_to_the_next_one() -> None:
    """Compaction removed the end of one range, the gap, and the beginning of the next range."""
    offsets, skips = read(
        Consumer([97, 98, 250, 251, 299]), OffsetRange(0, 97, 100), OffsetRange(0, 200, 300)
    )
    assert offsets == [97, 98, 250, 251, 299]
    assert skips == [
        Skip(OffsetRange(0, 99, 100), "absent"),
        Skip(OffsetRange(0, 200, 250), "absent"),
        Skip(OffsetRange(0, 252, 299), "absent"),
    ]


def test_one_message_may_complete_several_ranges() -> None:
    ranges = [OffsetRange(0, 0, 2), OffsetRange(0, 5, 7), OffsetRange(0, 10, 12)]
    offsets, skips = read(Consumer([0, 11]), *ranges)
    assert offsets == [0, 11]
    assert [skip.range for skip in skips] == [
        OffsetRange(0, 1, 2),
        OffsetRange(0, 5, 7),
        OffsetRange(0, 10, 11),
    ]


def test_messages_in_the_gap_between_ranges_are_ignored() -> None:
    offsets, skips = read(
        Consumer(list(range(8)), list(range(8, 12))), OffsetRange(0, 1, 3), OffsetRange(0, 6, 10)
    )
    assert (offsets, skips) == ([1, 2, 6, 7, 8, 9], [])
