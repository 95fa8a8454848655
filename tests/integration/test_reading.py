"""Reading exact ranges from the real broker."""

import time
import uuid
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Partition
from confluent_kafka.admin import AdminClient

from sluice.errors import BrokerError
from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange
from sluice.records import Skip, Topic
from sluice.settings import Connection, Settings


def new_topic(broker: Broker, partitions: int = 1, **config: str) -> Topic:
    name = f"read-{uuid.uuid4().hex[:8]}"
    broker.create_topic(name, partitions, config)
    return broker.topic(name)


def send(broker: Broker, topic: Topic, values: Sequence[bytes | None], partition: int = 0) -> None:
    producer = broker.producer()
    for number, value in enumerate(values):
        producer.produce(topic.name, value, key=str(number), partition=partition)
    producer.flush()


def read(
    broker: Broker, topic: Topic, ranges: Sequence[OffsetRange]
) -> tuple[list[tuple[int, int]], list[Skip]]:
    offsets: list[tuple[int, int]] = []
    skips: list[Skip] = []
    for messages, skipped in broker.read(topic, ranges):
        offsets += [(m.partition(), m.offset()) for m in messages]
        skips += skipped
    return offsets, skips


def test_a_range_is_read_exactly(broker: Broker) -> None:
    topic = new_topic(broker)
    send(broker, topic, [b"x"] * 100)
    assert read(broker, topic, [OffsetRange(0, 10, 20)]) == ([(0, o) for o in range(10, 20)], [])


def test_several_ranges_of_several_partitions_are_read(broker: Broker) -> None:
    topic = new_topic(broker, 3)
    for partition in range(3):
        send(broker, topic, [b"x"] * 50, partition)
    ranges = [
        OffsetRange(0, 5, 10),
        OffsetRange(0, 20, 25),
        OffsetRange(0, 49, 50),
        OffsetRange(2, 0, 50),
    ]
    offsets, skips = read(broker, topic, ranges)
    wanted = sorted((r.partition, o) for r in ranges for o in range(r.low, r.high))
    assert (sorted(offsets), skips) == (wanted, [])


def test_a_single_message_is_read(broker: Broker) -> None:
    topic = new_topic(broker)
    send(broker, topic, [b"x"])
    assert read(broker, topic, [OffsetRange(0, 0, 1)]) == ([(0, 0)], [])


def test_no_ranges_yield_no_messages(broker: Broker) -> None:
    assert read(broker, new_topic(broker), []) == ([], [])


def test_reading_waits_for_messages_that_arrive_later(broker: Broker) -> None:
    """Neither an empty poll nor an end of file before the end of the range ends the read."""
    topic = new_topic(broker)
    send(broker, topic, [b"x"] * 5)
    offsets: list[int] = []
    sent = False
    for messages, _ in broker.read(topic, [OffsetRange(0, 0, 10)]):
        offsets += [m.offset() for m in messages]
        if not sent:
            sent = True
            time.sleep(2)
            send(broker, topic, [b"y"] * 5)
    assert offsets == list(range(10))


def test_a_topic_that_ends_before_the_range_is_an_error(
    kafka: Connection, settings: Settings
) -> None:
    broker = Broker(kafka, settings.model_copy(update={"stall_seconds": 2}))
    topic = new_topic(broker)
    send(broker, topic, [b"x"] * 5)
    with pytest.raises(BrokerError) as raised:
        read(broker, topic, [OffsetRange(0, 0, 9)])
    assert (raised.value.partition, raised.value.offset) == (0, 5)


def test_a_partition_that_does_not_exist_is_an_error(broker: Broker) -> None:
    topic = new_topic(broker)
    with pytest.raises(BrokerError) as raised:
        read(broker, topic, [OffsetRange(4, 0, 1)])
    assert (raised.value.topic, raised.value.partition) == (topic.name, 4)


def test_a_topic_that_does_not_exist_is_an_error(broker: Broker) -> None:
    with pytest.raises(BrokerError) as raised:
        broker.topic("nowhere")
    assert raised.value.topic == "nowhere"


def test_an_unreachable_broker_is_an_error() -> None:
    unreachable = Broker(
        Connection(extra={"bootstrap.servers": "127.0.0.1:1", "socket.timeout.ms": 1000}),
        Settings(broker_seconds=2),
    )
    with pytest.raises(BrokerError) as raised:
        unreachable.topic("x")
    assert raised.value.topic == "x"


def wait_for_end(broker: Broker, topic: Topic, end: int) -> None:
    """Wait for a transaction's marker, which is written shortly after its commit returns."""
    deadline = time.monotonic() + 20
    while (high := broker.watermarks(topic)[0].high) != end:
        assert time.monotonic() < deadline, high
        time.sleep(0.05)


def transactional_producer(kafka: Connection) -> Producer:
    producer = Producer(dict(kafka.extra) | {"transactional.id": uuid.uuid4().hex})
    producer.init_transactions(20)
    return producer


def test_aborted_records_and_transaction_markers_are_absent(
    broker: Broker, kafka: Connection
) -> None:
    topic = new_topic(broker)
    producer = transactional_producer(kafka)
    for commit in (True, False, True):
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic.name, b"x", partition=0)
        producer.flush()
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    wait_for_end(broker, topic, 12)
    offsets, skips = read(broker, topic, [OffsetRange(0, 0, 12)])
    assert [o for _, o in offsets] == [0, 1, 2, 8, 9, 10]
    assert skips == [
        Skip(OffsetRange(0, 3, 8), "absent"),
        Skip(OffsetRange(0, 11, 12), "absent"),
    ]


def test_reading_a_range_of_only_aborted_records_ends(broker: Broker, kafka: Connection) -> None:
    topic = new_topic(broker)
    producer = transactional_producer(kafka)
    producer.begin_transaction()
    producer.produce(topic.name, b"x", partition=0)
    producer.flush()
    producer.abort_transaction(20)
    wait_for_end(broker, topic, 2)
    offsets, skips = read(broker, topic, [OffsetRange(0, 0, 2)])
    assert (offsets, skips) == ([], [Skip(OffsetRange(0, 0, 2), "absent")])


def test_an_open_transaction_is_beyond_the_high_watermark(
    broker: Broker, kafka: Connection
) -> None:
    topic = new_topic(broker)
    send(broker, topic, [b"x"] * 4)
    producer = transactional_producer(kafka)
    producer.begin_transaction()
    producer.produce(topic.name, b"y", partition=0)
    producer.flush()
    assert broker.watermarks(topic)[0].high == 4
    producer.abort_transaction(20)


def test_deleted_records_are_expired(broker: Broker, kafka: Connection) -> None:
    topic = new_topic(broker)
    send(broker, topic, [b"x"] * 30)
    admin = AdminClient(dict(kafka.extra))
    for future in admin.delete_records([Partition(topic.name, 0, 12)]).values():
        future.result(20)
    offsets, skips = read(broker, topic, [OffsetRange(0, 5, 20)])
    assert [o for _, o in offsets] == list(range(12, 20))
    assert skips == [Skip(OffsetRange(0, 5, 12), "expired")]
    assert read(broker, topic, [OffsetRange(0, 0, 12)]) == (
        [],
        [Skip(OffsetRange(0, 0, 12), "expired")],
    )


def test_records_deleted_while_reading_are_expired(broker: Broker, kafka: Connection) -> None:
    topic = new_topic(broker, 1, **{"segment.bytes": "1048576"})
    send(broker, topic, [b"x" * 10_000] * 30_000)
    admin = AdminClient(dict(kafka.extra))
    offsets: list[int] = []
    skips: list[Skip] = []
    for messages, skipped in broker.read(topic, [OffsetRange(0, 0, 30_000)]):
        if not offsets:
            for future in admin.delete_records([Partition(topic.name, 0, 29_000)]).values():
                future.result(20)
        offsets += [m.offset() for m in messages]
        skips += skipped
    assert offsets[-1] == 29_999
    assert len(offsets) + sum(skip.range.count for skip in skips) == 30_000
    assert {skip.kind for skip in skips} <= {"expired", "absent"}


def test_a_message_larger_than_the_fetch_size_is_read(broker: Broker) -> None:
    topic = new_topic(broker, 1, **{"max.message.bytes": "16777216"})
    producer = broker.producer(**{"message.max.bytes": 16_000_000})
    producer.produce(topic.name, b"x" * 12_000_000, partition=0)
    producer.produce(topic.name, b"y", partition=0)
    producer.flush()
    assert read(broker, topic, [OffsetRange(0, 0, 2)]) == ([(0, 0), (0, 1)], [])


def test_offsets_are_mirrored_to_the_consumer_group(broker: Broker) -> None:
    topic = new_topic(broker, 2)
    send(broker, topic, [b"x"] * 10)
    broker.mirror(topic.name, "mirror-test", {0: 7})
    assert broker.mirrored(topic, "mirror-test") == {0: 7, 1: -1001}
