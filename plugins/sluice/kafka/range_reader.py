"""Reading exactly the offsets of some ranges from a consumer, which the broker opens and closes."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from sluice.errors import BrokerError
from sluice.ranges import OffsetRange
from sluice.records import Record, Skip, SkipKind, Topic, Watermarks

POLL_MESSAGES = 250
"""Messages read at a time: few, so that they are decoded while the processor's cache has them."""

POLL_SECONDS = 0.05
"""How long to wait for so many: a partition's last messages are not delayed."""

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


class RangeReader:
    """Reads exactly the offsets of some ranges, and reports which of them carry no message.

    Iterating gives pairs of messages and skips. After the last pair every offset of every
    range was in one of them. A range ends when an offset at or beyond its end was seen, or
    the partition's end-of-file event there; an empty poll means nothing.

    Raises (while iterating):
        BrokerError: no message arrived for ``stall_seconds`` though one must; has the first
            partition that waits and its next offset.
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
                "the topic has no such partition", topic=self._topic.name, partition=min(missing)
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
        """Begin the partition's next range that is not wholly expired, if there is one."""
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
        """The current range is done: begin the partition's next one, or release the partition."""
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
                self._event(record, error)
                continue
            partition, offset = record.partition(), record.offset()
            # A message beyond a range's end closes it, and may belong to the next one.
            while partition in current and offset >= following[partition]:
                self._skip_to(partition, offset, "absent")
                if offset < current[partition].high:
                    taken.append(record)
                    following[partition] = offset + 1
                if following[partition] < current[partition].high:
                    break
                self._close(partition)
        return taken

    def _event(self, message: Record, error: KafkaError) -> None:
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
        """The next offset is gone: retention removed it between planning and reading."""
        if partition not in self._current:
            return
        marks = self._watermarks(self._topic)[partition]
        if not self._next[partition] < marks.low:
            raise BrokerError(
                f"the offset is not in the log, which holds [{marks.low}, {marks.high}); was the"
                " topic recreated or truncated?",
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
        problem = f" Last problem: {self._last_problem}." if self._last_problem else ""
        first = min(self._current)
        return BrokerError(
            f"no message arrived for {self._stall_seconds:.0f} s. Waiting for {waiting}.{problem}",
            topic=self._topic.name,
            partition=first,
            offset=self._next[first],
        )
