"""The one module that talks to Kafka: watermarks, exact ranges, mirrored offsets, samples."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
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
from sluice.kafka.range_reader import RangeReader
from sluice.ranges import OffsetRange
from sluice.records import Record, Skip, Topic, Watermarks
from sluice.settings import Connection, Settings

REQUEST_SECONDS = 30.0
"""How long an answer from the broker is waited for."""


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

    def offsets_at(self, topic: Topic, at: datetime) -> dict[int, int]:
        """By partition the offset of the first message at or after a time, else the end.

        Raises:
            BrokerError: naming the partition whose leader does not answer.
        """
        milliseconds = int(at.timestamp() * 1000)
        spec = OffsetSpec.for_timestamp(milliseconds)
        found = self._offsets(topic, spec)
        ends = self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {p: ends[p] if offset < 0 else offset for p, offset in found.items()}

    def _offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
        """Offsets by partition; asked again when what this client knows of leaders is stale."""
        give_up = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return self._list_offsets(topic, spec)
            except BrokerError as error:
                said = error.__cause__
                stale = isinstance(said, KafkaException) and said.args[0].code() in _STALE
                if not stale or time.monotonic() > give_up:
                    raise
            self._admin_client = None
            time.sleep(0.2)

    def _list_offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
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
        """Read exactly these ranges; see :class:`~sluice.kafka.range_reader.RangeReader`."""
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
            patience = self._settings.stall_seconds
            yield from RangeReader(self.watermarks, consumer, topic, ranges, patience)
        finally:
            consumer.close()

    def times_at(
        self, topic: Topic, starts: Mapping[int, int], marks: Mapping[int, Watermarks]
    ) -> dict[int, datetime]:
        """By partition the time of the first message at or after an offset, where there is one.

        Raises:
            BrokerError: the broker does not answer.
        """
        found: dict[int, datetime] = {}
        for partition, start in starts.items():
            ahead = OffsetRange(partition, start, marks[partition].high)
            for records, _ in self.read(topic, [ahead] if ahead.count else []):
                stamps = [r.timestamp()[1] for r in records if r.timestamp()[1] > 0]
                if stamps:
                    found[partition] = datetime.fromtimestamp(stamps[0] / 1000, UTC)
                if records:
                    break
        return found

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
        """Create a topic and wait until the broker knows it; False when it is there already.

        Raises:
            BrokerError: the broker refused, or does not know it after a while.
        """
        new = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        try:
            self._admin.create_topics([new], request_timeout=REQUEST_SECONDS)[name].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise BrokerError(f"topic {name!r}: {_words(error)}") from error
        # The answer comes from the controller; the broker learns of the topic a moment later.
        give_up = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                self.watermarks(self.topic(name))
                return True
            except BrokerError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def producer(self, **config: Any) -> Producer:
        """A producer that keeps the order and never doubles."""
        return Producer(self._shared | {"enable.idempotence": True, "linger.ms": 20, **config})


_STALE = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
"""Answers to a client that has not heard yet that a partition's leader has changed or restarted."""

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


def _words(error: BaseException) -> str:
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return str(error.args[0].str())
    return str(error) or type(error).__name__
