"""Quality results of an audit: rules, the document, and the comparison with earlier loads."""

import time
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Annotated

import msgspec
import pytest

from sluice.audit.anomalies import LEAST
from sluice.audit.quality_results import FailingRow, QualityResults
from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.report.reporter import render_report
from tests.conftest import MakeLoader, load, with_topic
from tests.contracts import contract_of
from tests.loads import filled


@pytest.fixture
def make_loader(make_loader: MakeLoader) -> MakeLoader:
    """Makes loaders whose audits run the quality rules."""
    return partial(make_loader, quality_rules=True)


class Reading(msgspec.Struct, frozen=True):
    """A measurement."""

    name: str
    size: int
    remark: str | None


def test_the_document_of_an_audit_is_stored_without_external_resources(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 200)
    load_id = load(loader)
    results = QualityResults(loader.clickhouse, loader.ledger.database)
    document = results.document(load_id, contract.topic)
    assert "partition and offset are unique" in document
    assert "customer_name has 1 to 255 characters" in document
    for external in ("http", "<script", "<link", "href", "src="):
        assert external not in document, external
    assert results.document("no such load", contract.topic) == ""


def test_a_load_that_differs_from_those_of_its_hour_has_a_warning(make_loader: MakeLoader) -> None:
    now = datetime.now(UTC)
    if now.minute == 59:  # all loads must fall into one hour
        time.sleep(61 - now.second)
    contract = contract_of(Reading)
    first = filled(make_loader, contract, 100, broken_share=0, tombstone_share=0)
    first.report(load(first))
    for seed in range(LEAST):
        loader = make_loader(contract)
        produce(contract, loader.broker, make_samples(contract, 100, Random(seed), 0, 0))
        report = loader.report(load(loader))
        anomalies = [rule for rule in report.quality if rule.expectation == "anomaly"]
        assert bool(anomalies) == (seed == LEAST - 1)
    assert all(rule.success for rule in anomalies)

    large = make_loader(contract)
    produce(contract, large.broker, make_samples(contract, 400, Random(99), 0, 0))
    report = large.report(load(large))
    (volume,) = (r for r in report.quality if r.description == "volume is usual for the hour")
    assert not volume.success
    assert volume.observed == "400; the median of 9 loads of this hour is 100"
    assert report.state == "published"
    assert "unusual" in " ".join(report.advice)


def test_a_load_of_old_messages_fails_the_freshness_rule(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    days_ago = int((time.time() - 3 * 86_400) * 1000)
    for seed in range(5):
        value = msgspec.json.encode(example_message(contract, Random(seed)))
        producer.produce(contract.topic, value, timestamp=days_ago + seed)
    producer.flush()
    report = loader.report(load(loader))
    assert report.state == "published"
    (freshness,) = (rule for rule in report.quality if not rule.success)
    assert freshness.description == "the newest message was sent within 6:00:00 before"
    assert (freshness.severity, freshness.unexpected_count) == ("warning", 1)
    assert freshness.examples == [FailingRow(0, 4)]


def test_the_report_contains_the_correlation_id_of_a_refused_message(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    producer.produce(contract.topic, b"nothing", headers=[("X-Correlation-Id", b"c-<1>")])
    producer.flush()
    report = loader.report(load(loader))
    assert [r.correlation_id for r in report.reasons] == ["c-<1>"]
    assert "correlation id <code>c-&lt;1&gt;</code>" in render_report(report)


class Named(msgspec.Struct, frozen=True):
    """A person."""

    name: Annotated[str, msgspec.Meta(pattern=r"^\w+$")]
    code: Annotated[str, msgspec.Meta(pattern=r"^(?!0)[0-9]+")]


def test_what_its_patterns_accept_is_not_held(make_loader: MakeLoader) -> None:
    """ClickHouse's dialect reads the first pattern otherwise, and does not read the second."""
    loader = make_loader(with_topic(contract_of(Named)))
    loader.broker.create_topic(loader.contract.topic, 1)
    producer = loader.broker.producer()
    producer.produce(loader.contract.topic, msgspec.json.encode(Named("Müller", "12")))
    producer.flush()
    assert loader.report(load(loader)).sum("loaded") == 1
