"""Trouble that is not about the data: it is told, and costs nothing else."""

from functools import partial
from random import Random

import pytest

from sluice.authoring.sample_messages import make_samples, produce
from sluice.cli import load_options
from sluice.contract import Contract
from sluice.errors import BrokerError, QualityHeld
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.report.model import Report
from sluice.settings import Connection
from sluice.store.request import Request
from tests.conftest import MakeLoader, load
from tests.loads import filled, target


def test_only_the_end_of_what_has_no_gap_is_mirrored(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 300, partitions=2)
    request = Request(offsets=(OffsetRange(0, 20, 40), OffsetRange(1, 0, 30)))
    load_request(loader, request)
    topic = loader.broker.topic(contract.topic)
    assert loader.broker.mirrored(topic, loader.group) == {0: -1001, 1: 30}
    load(make_loader(contract))
    high = {p: marks.high for p, marks in loader.broker.watermarks(topic).items()}
    assert loader.broker.mirrored(topic, loader.group) == high


def load_request(loader: Loader, request: Request) -> str:
    plan = loader.plan(request)
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    return plan.load_id


def test_a_group_that_cannot_be_committed_fails_no_load(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 100)

    def refused(*_: object) -> None:
        raise BrokerError("not authorized", topic=contract.topic)

    monkeypatch.setattr(loader.broker, "mirror", refused)
    load_id = load_request(loader, Request())
    assert loader.known(load_id).state == "published"
    assert target(loader)["rows"] > 0


def test_a_report_that_fails_does_not_hide_why_the_load_did(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 100)

    def held(_: str) -> None:
        raise QualityHeld("the reason")

    def no_report(_: str) -> Report:
        raise BrokerError("no report")

    monkeypatch.setattr(loader, "audit", held)
    monkeypatch.setattr(loader, "report", no_report)
    with pytest.raises(QualityHeld) as raised:
        load_options.run_load(loader, Request())
    assert raised.value.detail == "the reason"


def test_messages_that_the_broker_does_not_take_are_told(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1, {"max.message.bytes": "50"})
    with pytest.raises(BrokerError) as raised:
        produce(contract, loader.broker, make_samples(contract, 10, Random(1)))
    assert raised.value.topic == contract.topic


def test_options_of_the_connection_reach_the_loader_and_the_quality_rules(
    make_loader: MakeLoader, contract: Contract, database: Connection
) -> None:
    """The suite opens a client of its own; it takes the same options, also when they are text."""
    database.extra.update(
        {"settings": {"max_threads": 2}, "connect_timeout": "20", "verify": "false"}
    )
    loader = filled(partial(make_loader, quality_rules=True), contract, 200)
    (row,) = loader.clickhouse.rows("SELECT getSetting('max_threads') AS threads")
    assert row["threads"] == 2
    load_id = load(loader)
    assert loader.report(load_id).quality
