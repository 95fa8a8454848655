"""The one module that talks to Kafka: watermarks, exact ranges, mirrored offsets, samples."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, cast

import msgspec
import structlog
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from sluice.errors import BrokerError
from sluice.ranges import OffsetRange
from sluice.settings import Connection, Settings

log = structlog.get_logger()

REQUEST_SECONDS = 30.0
"""How long an answer from the broker is waited for."""

POLL_MESSAGES = 250
"""Messages taken at a time: few, so that they are decoded while the processor's cache has them."""

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


class Topic(msgspec.Struct, frozen=True):
    """A topic as the broker tells it. ``id`` changes when a topic is recreated."""

    name: str
    id: str
    partitions: tuple[int, ...]


class Watermarks(msgspec.Struct, frozen=True):
    """First offset that is kept, and the offset after the last that a reader may see."""

    low: int
    high: int


class Skip(msgspec.Struct, frozen=True):
    """Offsets that carry no message, and why."""

    range: OffsetRange
    kind: SkipKind


class Broker:
    """One Kafka cluster.

    Args:
        connection: an Airflow connection whose ``extra`` is librdkafka's configuration,
            passed on untouched but for what reading exact ranges needs.
        settings: message size and patience.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._config: dict[str, Any] = dict(connection.extra)
        if connection.host and "bootstrap.servers" not in self._config:
            port = f":{connection.port}" if connection.port else ""
            self._config["bootstrap.servers"] = f"{connection.host}{port}"
        self._settings = settings
        self._isolation = self._config.get("isolation.level", "read_committed")
        shared = {k: v for k, v in self._config.items() if k not in _CONSUMER_ONLY}
        self._shared = shared | {"log_level": 3}
        self._admin_client: AdminClient | None = None

    @property
    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            self._admin_client = AdminClient(self._shared)
        return self._admin_client

    def topic(self, name: str) -> Topic:
        """What the broker says of a topic.

        Raises:
            BrokerError: no broker answers, or it knows no such topic.
        """
        try:
            future = self._admin.describe_topics(
                TopicCollection([name]), request_timeout=REQUEST_SECONDS
            )[name]
            described = future.result(REQUEST_SECONDS + 5)
        except (KafkaException, TimeoutError) as error:
            raise BrokerError(f"topic {name!r}: {_words(error)}") from error
        return Topic(
            name, str(described.topic_id), tuple(sorted(p.id for p in described.partitions))
        )

    def watermarks(self, topic: Topic) -> dict[int, Watermarks]:
        """Watermarks by partition; the high one is the last stable offset for read_committed.

        Raises:
            BrokerError: naming the partition whose leader does not answer.
        """
        lows = self._offsets(topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        highs = self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {p: Watermarks(lows[p], highs[p]) for p in topic.partitions}

    def _offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
        level = (
            IsolationLevel.READ_UNCOMMITTED
            if self._isolation == "read_uncommitted"
            else IsolationLevel.READ_COMMITTED
        )
        wanted = {TopicPartition(topic.name, p): spec for p in topic.partitions}
        found: dict[int, int] = {}
        futures = self._admin.list_offsets(
            wanted, isolation_level=level, request_timeout=REQUEST_SECONDS
        )
        for partition, future in futures.items():
            try:
                found[partition.partition] = future.result(REQUEST_SECONDS + 5).offset
            except (KafkaException, TimeoutError) as error:
                raise BrokerError(
                    f"topic {topic.name!r}, partition {partition.partition}: {_words(error)}"
                ) from error
        return found

    def read(
        self, topic: Topic, ranges: Sequence[OffsetRange]
    ) -> Iterator[tuple[list[Record], list[Skip]]]:
        """Read exactly these ranges; see :class:`RangeReader`."""
        config = (
            _READING
            | self._config
            | {
                "group.id": f"sluice-reader-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": self._isolation,
                "receive.message.max.bytes": max(128 << 20, 2 * self._settings.max_message_bytes),
                "log_level": 3,
            }
        )
        consumer = Consumer(config)
        try:
            yield from RangeReader(self, consumer, topic, ranges, self._settings.stall_seconds)
        finally:
            consumer.close()

    def mirror(self, topic: str, group: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets for a group, so that lag tools show what is published.

        Raises:
            BrokerError: the group refused them.
        """
        consumer = Consumer(self._config | {"group.id": group, "enable.auto.commit": False})
        try:
            consumer.commit(
                offsets=[TopicPartition(topic, p, offset) for p, offset in offsets.items()],
                asynchronous=False,
            )
        except KafkaException as error:
            raise BrokerError(f"group {group!r}, topic {topic!r}: {_words(error)}") from error
        finally:
            consumer.close()

    def mirrored(self, topic: Topic, group: str) -> dict[int, int]:
        """Offsets that the group has committed, by partition; -1001 where it has none."""
        consumer = Consumer(self._config | {"group.id": group, "enable.auto.commit": False})
        try:
            asked = [TopicPartition(topic.name, p) for p in topic.partitions]
            return {tp.partition: tp.offset for tp in consumer.committed(asked, REQUEST_SECONDS)}
        except KafkaException as error:
            raise BrokerError(f"group {group!r}: {_words(error)}") from error
        finally:
            consumer.close()

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic; False when it is there already.

        Raises:
            BrokerError: the broker refused.
        """
        new = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        try:
            self._admin.create_topics([new], request_timeout=REQUEST_SECONDS)[name].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise BrokerError(f"topic {name!r}: {_words(error)}") from error
        return True

    def producer(self, **config: Any) -> Producer:
        """A producer that keeps the order and never doubles."""
        return Producer(self._shared | {"enable.idempotence": True, "linger.ms": 20, **config})


_CONSUMER_ONLY = frozenset(
    {"group.id", "enable.auto.commit", "auto.offset.reset", "isolation.level", "session.timeout.ms"}
)

_READING: dict[str, Any] = {
    "queued.min.messages": 50_000,
    "queued.max.messages.kbytes": 48 * 1024,
    "fetch.message.max.bytes": 4 << 20,
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 5,
    "check.crcs": True,
}
"""Defaults for reading in bulk with bounded memory; a connection may override them."""


class RangeReader:
    """Reads exactly the offsets of some ranges, and says which of them carry no message.

    Iterating gives pairs of messages and skips. After the last pair every offset of every
    range was in one of them. A range ends when an offset at or beyond its end was seen, or
    the partition's end-of-file event there; an empty poll means nothing.

    Raises (while iterating):
        BrokerError: nothing came for ``stall_seconds`` though something must; names the
            partitions and the next offset of each.
    """

    def __init__(
        self,
        broker: Broker,
        consumer: Consumer,
        topic: Topic,
        ranges: Sequence[OffsetRange],
        stall_seconds: float,
    ) -> None:
        self._broker, self._consumer, self._topic = broker, consumer, topic
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
        earliest = {p: w.low for p, w in self._broker.watermarks(self._topic).items()}
        if missing := self._waiting.keys() - earliest.keys():
            raise BrokerError(
                f"topic {self._topic.name!r} has no partition"
                f" {', '.join(map(str, sorted(missing)))}"
            )
        starts = []
        for partition in list(self._waiting):
            self._open(partition, earliest[partition])
            if partition in self._current:
                start = self._next[partition]
                starts.append(TopicPartition(self._topic.name, partition, start))
        self._consumer.assign(starts)
        heard = time.monotonic()
        while self._current:
            polled = self._consumer.consume(POLL_MESSAGES, timeout=0.5)
            messages = self._take(polled)
            if messages or self._skips:
                heard = time.monotonic()
                skips, self._skips = self._skips, []
                yield messages, skips
            elif time.monotonic() - heard > self._stall_seconds:
                raise BrokerError(self._stalled())
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
        """The current range is done: go on to the partition's next one, or let go of it."""
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
                f"topic {self._topic.name!r}, partition {partition},"
                f" offset {self._next.get(partition)}: {error.str()}"
            )
        else:
            self._last_problem = error.str()

    def _restart_after_expiry(self, partition: int) -> None:
        """The next offset is gone: retention removed it between planning and reading."""
        if partition not in self._current:
            return
        marks = self._broker.watermarks(self._topic)[partition]
        if not self._next[partition] < marks.low:
            raise BrokerError(
                f"topic {self._topic.name!r}, partition {partition}: offset"
                f" {self._next[partition]} is not in the log, which holds"
                f" [{marks.low}, {marks.high}); was the topic recreated or truncated?"
            )
        self._skip_to(partition, marks.low, "expired")
        if self._next[partition] >= self._current[partition].high:
            self._close(partition)
        else:
            tp = TopicPartition(self._topic.name, partition, self._next[partition])
            self._consumer.incremental_unassign([tp])
            self._consumer.incremental_assign([tp])

    def _stalled(self) -> str:
        open_ranges = ", ".join(
            f"partition {p} at offset {self._next[p]} of [{r.low}, {r.high})"
            for p, r in sorted(self._current.items())
        )
        heard = f" Last heard: {self._last_problem}." if self._last_problem else ""
        return (
            f"topic {self._topic.name!r}: nothing came for {self._stall_seconds:.0f} s."
            f" Waiting for {open_ranges}.{heard}"
        )


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


def _words(error: BaseException) -> str:
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return str(error.args[0].str())
    return str(error) or type(error).__name__
