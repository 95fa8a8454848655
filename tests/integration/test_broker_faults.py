"""The broker restarts, is away, compacts, or has more partitions than before."""

import threading
import time
from random import Random

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from local.stack import Stack
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.errors import BrokerError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.settings import Connection, Settings
from tests.conftest import MakeLoader, load
from tests.loads import filled, sums, target


def test_a_broker_that_restarts_in_mid_drain(
    stack: Stack,
    make_loader: MakeLoader,
    kafka: Connection,
    database: Connection,
    settings: Settings,
    contract: Contract,
) -> None:
    filled(make_loader, contract, 20_000)
    # A broker takes a while to come back; the reader must not have fetched everything before.
    little = {"queued.min.messages": 500, "fetch.message.max.bytes": 65536}
    patient = settings.model_copy(update={"batch_rows": 1000, "stall_seconds": 60})
    connection = msgspec.structs.replace(kafka, extra=kafka.extra | little)
    loader = Loader(contract, connection, database, patient, "test/restart", quality_rules=False)
    plan = loader.plan()
    read = threading.Event()

    def kill() -> None:
        read.wait()
        stack.services["kafka"].kill()
        stack.up("kafka")

    killer = threading.Thread(target=kill)
    killer.start()
    loader.drain(plan.load_id, 0, lambda _: read.set())
    killer.join()
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["planned"] == 20_000
    assert sums(loader, plan.load_id)["difference"] == 0


def test_a_leader_that_is_away_is_an_error_that_names_what_waits(
    stack: Stack, make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 2000, partitions=2)
    plan = loader.plan()
    hasty = make_loader(contract, loader.owner, broker_seconds=2.0, stall_seconds=2.0)
    other = make_loader(contract, broker_seconds=2.0)
    other.settler.is_over = lambda _: False
    stack.services["kafka"].kill()
    try:
        for attempt in (other.plan, lambda: hasty.drain(plan.load_id, 0)):
            with pytest.raises(BrokerError) as raised:
                attempt()
            assert raised.value.topic == contract.topic
    finally:
        stack.up("kafka")
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["difference"] == 0


def test_partitions_that_were_added_are_loaded_from_their_beginning(
    make_loader: MakeLoader, kafka: Connection, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 500, partitions=2)
    load(loader)
    admin = AdminClient({"bootstrap.servers": kafka.extra["bootstrap.servers"]})
    for future in admin.create_partitions([NewPartitions(contract.topic, 4)]).values():
        future.result()
    give_up = time.monotonic() + 30
    while len(loader.broker.topic(contract.topic).partitions) < 4:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    produce(contract, make_loader(contract).broker, make_samples(contract, 800, Random(2)))
    account = sums(loader, load(make_loader(contract)))
    assert (account["planned"], account["difference"]) == (800, 0)
    rows = loader.clickhouse.rows("SELECT DISTINCT _partition AS p FROM orders ORDER BY p")
    assert [row["p"] for row in rows] == [0, 1, 2, 3]


def test_what_compaction_took_is_absent(make_loader: MakeLoader, contract: Contract) -> None:
    loader = make_loader(contract)
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "200",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "200",
    }
    loader.broker.create_topic(contract.topic, 1, config)
    made = list(make_samples(contract, 20, Random(3), 0, 0))
    producer = loader.broker.producer()
    topic = loader.broker.topic(contract.topic)
    give_up = time.monotonic() + 60
    while True:
        for sample in made:  # the same keys again and again
            producer.produce(contract.topic, sample.value, b"one key")
        producer.flush()
        time.sleep(0.5)
        mark = loader.broker.watermarks(topic)[0]
        whole = [OffsetRange(0, mark.low, mark.high)]
        skips = [s for _, found in loader.broker.read(topic, whole) for s in found]
        if skips:
            break
        assert time.monotonic() < give_up, "the broker compacted nothing"
    account = sums(loader, load(loader))
    assert account["absent"] > 0
    assert account["difference"] == 0
    assert target(loader)["rows"] == account["loaded"]
    verifier = Verifier(contract, loader.broker, loader.clickhouse, loader.ledger)
    assert verifier.run().findings == []
    # What compaction takes after it was loaded is nobody's loss.
    assert verifier.against_broker() == []
