"""A topic with a thousand partitions."""

from random import Random

import msgspec
import pytest
from confluent_kafka import Consumer

from sluice.authoring.examples import example_message
from sluice.contract import Contract
from sluice.kafka import broker as broker_module
from tests.conftest import MakeLoader
from tests.loads import sums

PARTITIONS = 1000


def test_a_topic_with_a_thousand_partitions_is_planned_and_reported_with_few_clients(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, PARTITIONS)
    producer, random = loader.broker.producer(), Random(1)
    for partition in range(PARTITIONS):
        value = msgspec.json.encode(example_message(contract, random))
        producer.produce(contract.topic, value, partition=partition)
    producer.flush()
    made: list[Consumer] = []

    def consumer(config: dict[str, object]) -> Consumer:
        made.append(Consumer(config))
        return made[-1]

    monkeypatch.setattr(broker_module, "Consumer", consumer)
    plan = loader.plan()
    loader.report(plan.load_id)
    assert plan.offsets == PARTITIONS
    assert len(made) == 1
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["loaded"] == PARTITIONS
