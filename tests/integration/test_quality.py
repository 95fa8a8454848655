"""What an audit keeps: results, the document, and how a load compares with those before it."""

import time
from datetime import UTC, datetime
from functools import partial
from random import Random

import msgspec
import pytest

from sluice.audit.anomalies import LEAST
from sluice.audit.quality_results import FailingRow, QualityResults
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.report.reporter import render_report
from tests.conftest import MakeLoader, load
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


def test_the_document_of_an_audit_is_kept_without_outside_parts(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 200)
    load_id = load(loader)
    results = QualityResults(loader.clickhouse, loader.ledger.database)
    document = results.document(load_id, contract.topic)
    assert "partition and offset are unique" in document
    assert "customer_name has 1 to 255 characters" in document
    for outside in ("http", "<script", "<link", "href", "src="):
        assert outside not in document, outside
    assert results.document("no such load", contract.topic) == ""


def test_a_load_unlike_those_of_its_hour_is_a_warning(make_loader: MakeLoader) -> None:
    now = datetime.now(UTC)
    if now.minute == 59:  # all of them must be of one hour
        time.sleep(61 - now.second)
    contract = contract_of(Reading)
    first = filled(make_loader, contract, 100, broken_share=0, tombstone_share=0)
    first.report(load(first))
    for seed in range(LEAST):
        loader = make_loader(contract)
        produce(contract, loader.broker, make_samples(contract, 100, Random(seed), 0, 0))
        report = loader.report(load(loader))
        found = [rule for rule in report.quality if rule.expectation == "anomaly"]
        assert bool(found) == (seed == LEAST - 1)
    assert all(rule.success for rule in found)

    quiet = make_loader(contract)
    report = quiet.report(load(quiet))
    (volume,) = (rule for rule in report.quality if not rule.success)
    assert volume.description == "volume is usual for the hour"
    assert volume.observed == "0; the median of 9 loads of this hour is 100"
    assert report.state == "published"
    assert "unusual" in " ".join(report.advice)


def test_a_load_of_old_messages_is_not_fresh(make_loader: MakeLoader, contract: Contract) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    days_ago = int((time.time() - 3 * 86_400) * 1000)
    for seed in range(5):
        value = msgspec.json.encode(contract.example(Random(seed)))
        producer.produce(contract.topic, value, timestamp=days_ago + seed)
    producer.flush()
    report = loader.report(load(loader))
    assert report.state == "published"
    (stale,) = (rule for rule in report.quality if not rule.success)
    assert stale.description == "the newest message was sent within 6:00:00 before"
    assert (stale.severity, stale.unexpected_count) == ("warning", 1)
    assert stale.examples == [FailingRow(0, 4)]


def test_the_report_names_what_a_refused_message_is_traced_by(
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
