"""A client of one Kafka cluster: watermarks, exact ranges, mirrored offsets, producers."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import tenacity
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
from sluice.kafka.first_times import FirstTimes
from sluice.kafka.range_reader import RangeReader
from sluice.ranges import OffsetRange
from sluice.records import Record, Skip, Topic, Watermarks
from sluice.settings import Connection, Settings

Headers = list[tuple[str, str | bytes | None]]


class Broker:
    """A client of one Kafka cluster.

    Args:
        connection: an Airflow connection whose ``extra`` is librdkafka's configuration. It is
            passed on unchanged, except for the options that reading exact ranges requires.
        settings: message size and timeouts.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._config: dict[str, Any] = dict(connection.extra)
        if connection.host and "bootstrap.servers" not in self._config:
            port = f":{connection.port}" if connection.port else ""
            self._config["bootstrap.servers"] = f"{connection.host}{port}"
        self._settings, self._seconds = settings, settings.broker_seconds
        self._isolation = self._config.get("isolation.level", "read_committed")
        shared = {k: v for k, v in self._config.items() if k not in _CONSUMER_ONLY}
        self._shared = shared | {"log_level": 3}
        self._admin_client: AdminClient | None = None

    @property
    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            self._admin_client = AdminClient(self._shared)
        return self._admin_client

    def _retrying(self, seconds: float, retried: Callable[[BaseException], bool]) -> Any:
        """Repeats a call every ``seconds`` while it raises a retried error and time remains."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(retried),
            stop=tenacity.stop_after_delay(self._seconds),
            wait=tenacity.wait_fixed(seconds),
            reraise=True,
        )

    def topic(self, name: str) -> Topic:
        """A topic's id and partitions.

        Raises:
            BrokerError: no broker responds, or the topic does not exist.
        """
        try:
            future = self._admin.describe_topics(
                TopicCollection([name]), request_timeout=self._seconds
            )[name]
            described = future.result(self._seconds + 5)
        except (KafkaException, TimeoutError) as error:
            raise BrokerError(_describe(error), topic=name) from error
        return Topic(
            name, str(described.topic_id), tuple(sorted(p.id for p in described.partitions))
        )

    def watermarks(self, topic: Topic) -> dict[int, Watermarks]:
        """Watermarks by partition; under read_committed the high one is the last stable offset.

        Raises:
            BrokerError: the leader of a partition does not respond; carries the partition.
        """
        lows = self._offsets(topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        highs = self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {p: Watermarks(lows[p], highs[p]) for p in topic.partitions}

    def offsets_at(self, topic: Topic, at: datetime) -> dict[int, int]:
        """The offset of the first message at or after a time, by partition; the end if none is.

        Raises:
            BrokerError: the leader of a partition does not respond; carries the partition.
        """
        milliseconds = int(at.timestamp() * 1000)
        spec = OffsetSpec.for_timestamp(milliseconds)
        firsts = self._offsets(topic, spec)
        ends = self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {p: ends[p] if offset < 0 else offset for p, offset in firsts.items()}

    def _offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
        """Offsets by partition; retried while this client's list of leaders is out of date."""

        def stale(error: BaseException) -> bool:
            cause = error.__cause__
            if not (isinstance(cause, KafkaException) and cause.args[0].code() in _STALE):
                return False
            self._admin_client = None  # a new client requests the leaders again
            return True

        offsets: dict[int, int] = self._retrying(0.2, stale)(self._list_offsets, topic, spec)
        return offsets

    def _list_offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
        level = (
            IsolationLevel.READ_UNCOMMITTED
            if self._isolation == "read_uncommitted"
            else IsolationLevel.READ_COMMITTED
        )
        request = {TopicPartition(topic.name, p): spec for p in topic.partitions}
        offsets: dict[int, int] = {}
        futures = self._admin.list_offsets(
            request, isolation_level=level, request_timeout=self._seconds
        )
        for partition, future in futures.items():
            try:
                offsets[partition.partition] = future.result(self._seconds + 5).offset
            except (KafkaException, TimeoutError) as error:
                raise BrokerError(
                    _describe(error), topic=topic.name, partition=partition.partition
                ) from error
        return offsets

    def read(
        self, topic: Topic, ranges: Sequence[OffsetRange]
    ) -> Iterator[tuple[list[Record], list[Skip]]]:
        """Read exactly these ranges; see :class:`~sluice.kafka.range_reader.RangeReader`."""
        consumer = Consumer(self._reader_config())
        try:
            stall_seconds = self._settings.stall_seconds
            yield from RangeReader(self.watermarks, consumer, topic, ranges, stall_seconds)
        finally:
            consumer.close()

    def _reader_config(self) -> dict[str, Any]:
        return (
            _CONSUMER_DEFAULTS
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

    def times_at(
        self, topic: Topic, starts: Mapping[int, int], marks: Mapping[int, Watermarks]
    ) -> dict[int, datetime]:
        """The time of the first message at or after an offset, by partition.

        Partitions without such a message, or whose first messages have no usable timestamp, are
        left out; see :func:`~sluice.records.timestamp_ms`. One consumer reads all partitions.

        Raises:
            BrokerError: the broker does not respond.
        """
        waiting = {p: start for p, start in starts.items() if start < marks[p].high}
        config = self._reader_config() | {
            "queued.min.messages": 1,
            "fetch.message.max.bytes": 16 << 10,
        }
        consumer = Consumer(config)
        try:
            return FirstTimes(consumer, topic, waiting, self._settings.stall_seconds).read()
        finally:
            consumer.close()

    def mirror(self, topic: str, group: str, offsets: Mapping[int, int]) -> None:
        """Commit the published offsets for a consumer group, so that lag tools display them.

        Raises:
            BrokerError: the group coordinator refused them.
        """
        consumer = Consumer(self._config | {"group.id": group, "enable.auto.commit": False})
        try:
            consumer.commit(
                offsets=[TopicPartition(topic, p, offset) for p, offset in offsets.items()],
                asynchronous=False,
            )
        except KafkaException as error:
            raise BrokerError(f"group {group!r}: {_describe(error)}", topic=topic) from error
        finally:
            consumer.close()

    def mirrored(self, topic: Topic, group: str) -> dict[int, int]:
        """Offsets that the group has committed, by partition; -1001 where it has none.

        Raises:
            BrokerError: the group coordinator does not respond.
        """
        consumer = Consumer(self._config | {"group.id": group, "enable.auto.commit": False})
        try:
            partitions = [TopicPartition(topic.name, p) for p in topic.partitions]
            return {tp.partition: tp.offset for tp in consumer.committed(partitions, self._seconds)}
        except KafkaException as error:
            raise BrokerError(f"group {group!r}: {_describe(error)}", topic=topic.name) from error
        finally:
            consumer.close()

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until the broker has it; False if it exists already.

        Raises:
            BrokerError: the broker refused, or the topic did not appear in time.
        """
        new = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        try:
            self._admin.create_topics([new], request_timeout=self._seconds)[name].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise BrokerError(_describe(error), topic=name) from error
        # The controller responds first; the brokers have the topic a moment later.
        unknown = self._retrying(0.05, lambda error: isinstance(error, BrokerError))
        unknown(lambda: self.watermarks(self.topic(name)))
        return True

    def send(
        self,
        topic: str,
        messages: Iterable[tuple[bytes, bytes | None, Headers]],
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Send messages (key, value, headers), and wait until the broker has acknowledged all.

        Raises:
            BrokerError: the broker did not take one of them; no more are sent then.
        """
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error:
                errors.append(error)

        producer = self.producer()
        for number, (key, value, headers) in enumerate(messages, 1):
            while True:
                try:
                    producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
                progress(1000)
            if errors:
                break
        producer.flush()
        if errors:
            raise BrokerError(
                f"{len(errors):,} messages were not taken, the first one because:"
                f" {errors[0].str()}",
                topic=topic,
            )

    def producer(self, **config: Any) -> Producer:
        """An idempotent producer: it keeps the order of messages and never duplicates one."""
        return Producer(self._shared | {"enable.idempotence": True, "linger.ms": 20, **config})


_STALE = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
"""Errors that a client with an outdated list of leaders receives."""

_CONSUMER_ONLY = frozenset(
    {"group.id", "enable.auto.commit", "auto.offset.reset", "isolation.level", "session.timeout.ms"}
)
"""Options of a connection that are not passed to admin clients and producers."""

_CONSUMER_DEFAULTS: dict[str, Any] = {
    "queued.min.messages": 50_000,
    "queued.max.messages.kbytes": 48 * 1024,
    "fetch.message.max.bytes": 4 << 20,
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 5,
    "check.crcs": True,
}
"""Defaults for bulk reading with bounded memory; a connection may override them."""


def _describe(error: BaseException) -> str:
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return str(error.args[0].str())
    return str(error) or type(error).__name__
