"""Reads exactly the offsets of given ranges from a consumer; the caller opens and closes it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from sluice.errors import BrokerError
from sluice.ranges import OffsetRange
from sluice.records import Record, Skip, SkipKind, Topic, Watermarks

POLL_MESSAGES = 250
"""Messages per poll: few, so that they are still in the processor's cache when they are decoded."""

POLL_SECONDS = 0.05
"""How long a poll waits for that many; short, so that a partition's last messages are not late."""

_HOPELESS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""Errors that do not go away while waiting."""


class RangeReader:
    """Reads exactly the offsets of given ranges, and reports which of them carry no message.

    Iteration yields pairs of messages and skips; together they cover every offset of every range.
    A range is complete when a message or the partition's end-of-file event at or beyond its end has
    been read. An empty poll does not complete a range.

    Args:
        watermarks: returns a topic's watermarks by partition.
        consumer: an unassigned consumer with end-of-file events, whose offset reset is an error.
        topic: the topic to read.
        ranges: the ranges to read.
        stall_seconds: how long to wait for the next message.

    Raises (during iteration):
        BrokerError: the topic lacks a partition, the broker refused, or no message or event
            arrived for ``stall_seconds``; carries the topic, the partition and its next offset.
    """

    def __init__(
        self,
        watermarks: Callable[[Topic], dict[int, Watermarks]],
        consumer: Consumer,
        topic: Topic,
        ranges: Sequence[OffsetRange],
        stall_seconds: float,
    ) -> None:
        self._watermarks, self._consumer, self._topic = watermarks, consumer, topic
        self._stall_seconds = stall_seconds
        self._waiting: dict[int, list[OffsetRange]] = {}
        for r in sorted(ranges, reverse=True):
            if r.count:
                self._waiting.setdefault(r.partition, []).append(r)
        self._current: dict[int, OffsetRange] = {}
        self._next: dict[int, int] = {}
        self._skips: list[Skip] = []
        self._last_problem = ""

    def __iter__(self) -> Iterator[tuple[list[Record], list[Skip]]]:
        if not self._waiting:
            return
        earliest = {p: w.low for p, w in self._watermarks(self._topic).items()}
        if missing := self._waiting.keys() - earliest.keys():
            raise BrokerError(
                "the partition does not exist", topic=self._topic.name, partition=min(missing)
            )
        starts = []
        for partition in list(self._waiting):
            self._open(partition, earliest[partition])
            if partition in self._current:
                start = self._next[partition]
                starts.append(TopicPartition(self._topic.name, partition, start))
        self._consumer.assign(starts)
        active = time.monotonic()
        while self._current:
            polled = self._consumer.consume(POLL_MESSAGES, timeout=POLL_SECONDS)
            messages = self._take(polled)
            if messages or self._skips:
                active = time.monotonic()
                skips, self._skips = self._skips, []
                yield messages, skips
            elif time.monotonic() - active > self._stall_seconds:
                raise self._stalled()
        if self._skips:
            yield [], self._skips

    def _open(self, partition: int, earliest: int = 0) -> None:
        """Start the partition's next range that has not expired completely, if there is one."""
        while waiting := self._waiting[partition]:
            self._current[partition] = waiting.pop()
            self._next[partition] = self._current[partition].low
            self._skip_to(partition, earliest, "expired")
            if self._next[partition] < self._current[partition].high:
                return
        self._current.pop(partition, None)

    def _skip_to(self, partition: int, offset: int, kind: SkipKind) -> None:
        low, high = self._next[partition], min(offset, self._current[partition].high)
        if high > low:
            self._skips.append(Skip(OffsetRange(partition, low, high), kind))
            self._next[partition] = high

    def _close(self, partition: int) -> None:
        """End the current range: start the partition's next one, or release the partition."""
        del self._current[partition]
        self._open(partition)
        if partition in self._current:
            start = self._next[partition]
            self._consumer.seek(TopicPartition(self._topic.name, partition, start))
        else:
            self._consumer.incremental_unassign([TopicPartition(self._topic.name, partition)])

    def _take(self, polled: list[Message]) -> list[Record]:
        taken: list[Record] = []
        current, following = self._current, self._next
        for message in polled:
            record = cast(Record, message)
            if (error := message.error()) is not None:
                self._handle_event(record, error)
                continue
            partition, offset = record.partition(), record.offset()
            # A message beyond the end of a range completes it, and may belong to the next one.
            while partition in current and offset >= following[partition]:
                self._skip_to(partition, offset, "absent")
                if offset < current[partition].high:
                    taken.append(record)
                    following[partition] = offset + 1
                if following[partition] < current[partition].high:
                    break
                self._close(partition)
        return taken

    def _handle_event(self, message: Record, error: KafkaError) -> None:
        code, partition = error.code(), message.partition()
        if code == KafkaError._PARTITION_EOF:
            if partition in self._current:
                end = message.offset()
                if end >= self._current[partition].high:
                    self._skip_to(partition, end, "absent")
                    self._close(partition)
                else:
                    self._last_problem = f"partition {partition} ends at offset {end}"
        elif code == KafkaError._AUTO_OFFSET_RESET:
            self._restart_after_expiry(partition)
        elif error.fatal() or code in _HOPELESS:
            raise BrokerError(
                error.str(),
                topic=self._topic.name,
                partition=partition,
                offset=self._next.get(partition),
            )
        else:
            self._last_problem = error.str()

    def _restart_after_expiry(self, partition: int) -> None:
        """Continue after the next offset was not found: retention may have removed it since the
        plan.

        Raises:
            BrokerError: the offset is missing for another reason.
        """
        if partition not in self._current:
            return
        marks = self._watermarks(self._topic)[partition]
        if not self._next[partition] < marks.low:
            raise BrokerError(
                f"the broker does not have the offset; the partition holds [{marks.low},"
                f" {marks.high}). The topic may have been recreated or truncated",
                topic=self._topic.name,
                partition=partition,
                offset=self._next[partition],
            )
        self._skip_to(partition, marks.low, "expired")
        if self._next[partition] >= self._current[partition].high:
            self._close(partition)
        else:
            tp = TopicPartition(self._topic.name, partition, self._next[partition])
            self._consumer.incremental_unassign([tp])
            self._consumer.incremental_assign([tp])

    def _stalled(self) -> BrokerError:
        waiting = ", ".join(
            f"partition {p} at offset {self._next[p]} of [{r.low}, {r.high})"
            for p, r in sorted(self._current.items())
        )
        problem = f" Last error: {self._last_problem}." if self._last_problem else ""
        first = min(self._current)
        return BrokerError(
            f"no message arrived for {self._stall_seconds:.0f} s. Waiting for {waiting}.{problem}",
            topic=self._topic.name,
            partition=first,
            offset=self._next[first],
        )
