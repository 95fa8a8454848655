"""The times of the first messages of many partitions, read by one consumer."""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Consumer, KafkaError, TopicPartition

from sluice.errors import BrokerError
from sluice.records import Record, Topic, timestamp_ms

MOST_MESSAGES = 100
"""Messages of a partition that are looked at for one with a usable timestamp."""


class FirstTimes:
    """Reads the first message with a usable timestamp from each of some partitions.

    Args:
        starts: partition → the offset from which to read.
        stall_seconds: how long no partition may make progress.
    """

    def __init__(
        self, consumer: Consumer, topic: Topic, starts: Mapping[int, int], stall_seconds: float
    ) -> None:
        self._consumer, self._topic, self._stall = consumer, topic, stall_seconds
        self._starts, self._waiting = starts, set(starts)
        self._seen = Counter[int]()
        self._times: dict[int, datetime] = {}

    def read(self) -> dict[int, datetime]:
        """Partition → time, of those that have such a message.

        Raises:
            BrokerError: the broker does not respond.
        """
        if not self._waiting:
            return {}
        name = self._topic.name
        self._consumer.assign([TopicPartition(name, p, start) for p, start in self._starts.items()])
        last = time.monotonic()
        while self._waiting:
            messages = self._consumer.consume(500, 0.5)
            for message in messages:
                self._take(cast(Record, message), message.error())
            if messages:
                last = time.monotonic()
            elif time.monotonic() - last > self._stall:
                raise BrokerError(
                    f"no message for {self._stall:g} seconds",
                    topic=name,
                    partition=min(self._waiting),
                )
        return self._times

    def _take(self, message: Record, error: KafkaError | None) -> None:
        partition = message.partition()
        if error is not None:
            # At the end there is no message, and retention may have removed it since.
            if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                self._waiting.discard(partition)
            elif error.fatal():
                raise BrokerError(error.str(), topic=self._topic.name, partition=partition)
            return
        if partition not in self._waiting:
            return
        self._seen[partition] += 1
        if at := timestamp_ms(message):
            self._times[partition] = datetime.fromtimestamp(at / 1000, UTC)
        if at or self._seen[partition] >= MOST_MESSAGES:
            self._waiting.discard(partition)
            self._consumer.pause([TopicPartition(self._topic.name, partition)])
