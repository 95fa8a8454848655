"""Topics that are recreated, that expire, or that do not start at offset 0."""

from random import Random

import msgspec
import pytest

from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.errors import OffsetsExpired, TopicRecreated
from sluice.forget import forget_topic
from sluice.loader import Loader
from sluice.settings import Connection
from sluice.store.quarantine import Quarantine, RefusedMessage
from sluice.store.request import RefusalFilter
from tests.conftest import MakeLoader, load
from tests.loads import delete_topic, delete_up_to, filled, sums, target, verdict


def test_a_recreated_topic_is_refused(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100)
    load(loader)
    delete_topic(kafka, contract.topic)
    again = filled(make_loader, contract, 200)
    with pytest.raises(TopicRecreated) as raised:
        again.plan()
    assert (raised.value.topic, raised.value.load_id) == (contract.topic, "")
    assert target(again)["loads"] == 1


@pytest.mark.parametrize("policy", ["fail", "record"])
def test_expired_offsets_fail_the_plan_or_are_recorded(
    make_loader: MakeLoader, contract: Contract, kafka: Connection, policy: str
) -> None:
    contract = msgspec.structs.replace(contract, on_expired=policy)
    loader = filled(make_loader, contract, 100, partitions=1)
    load(loader)
    produce(contract, loader.broker, make_samples(contract, 100, Random(9)))
    delete_up_to(kafka, contract.topic, 150)
    later = make_loader(contract)
    if policy == "fail":
        with pytest.raises(OffsetsExpired) as raised:
            later.plan()
        assert (raised.value.partition, raised.value.offset) == (0, 100)
    else:
        load_id = load(later)
        account = sums(later, load_id)
        assert (account["planned"], account["absent"], account["difference"]) == (100, 50, 0)
        report = later.report(load_id)
        assert report.expired == 50
        assert "50 offsets were removed by retention" in report.advice[0]


def test_a_topic_that_does_not_start_at_offset_0_has_no_absent_offsets(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100, partitions=1)
    delete_up_to(kafka, contract.topic, 40)
    account = sums(loader, load(loader))
    assert (account["planned"], account["absent"], account["difference"]) == (60, 0, 0)


def test_a_topic_recreated_between_plan_and_drain_is_not_read(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100)
    plan = loader.plan()
    delete_topic(kafka, contract.topic)
    filled(make_loader, contract, 200)
    with pytest.raises(TopicRecreated) as raised:
        loader.drain(plan.load_id, 0)
    assert (raised.value.topic, raised.value.load_id) == (contract.topic, plan.load_id)


def test_a_recreated_topic_is_loaded_after_its_records_are_removed(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    """As docs/backfill.md says, under *Starting from nothing*."""
    loader = filled(make_loader, contract, 100, broken_share=0.1)
    load(loader)
    delete_topic(kafka, contract.topic)
    filled(make_loader, contract, 150, broken_share=0.1)
    loader.clickhouse.execute("RENAME TABLE orders TO orders_before")
    forget_topic(loader)
    again = make_loader(contract)
    load_id = load(again)
    assert sums(again, load_id)["planned"] == 150
    assert verdict(again).findings == []
    assert {m.load_id for m in _quarantined(again)} == {load_id}


def _quarantined(loader: Loader) -> list[RefusedMessage]:
    store = Quarantine(loader.clickhouse, loader.ledger.database)
    return list(store.messages(RefusalFilter(topic=loader.contract.topic)))
