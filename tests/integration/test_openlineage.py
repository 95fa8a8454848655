"""OpenLineage events of a load, received by a local HTTP process."""

from functools import partial
from pathlib import Path

import pytest

from sluice.contract import Contract
from tests.conftest import MakeLoader, load
from tests.loads import filled
from tests.receivers import receiver


@pytest.fixture
def make_loader(make_loader: MakeLoader) -> MakeLoader:
    """Makes loaders whose audits run the quality rules."""
    return partial(make_loader, quality_rules=True)


def test_a_load_emits_lineage_statistics_and_quality(
    make_loader: MakeLoader, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 400)
    load_id = load(loader)
    with receiver(tmp_path) as backend:
        monkeypatch.setenv("OPENLINEAGE_URL", backend.url)
        report = loader.report(load_id)
        start, end = backend.lineage()
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert end["job"]["name"] == f"sluice.load_{contract.topic}"
    (topic,) = end["inputs"]
    assert topic["namespace"].startswith("kafka://127.0.0.1:")
    assert topic["name"] == contract.topic
    assert topic["inputFacets"]["inputStatistics"]["rowCount"] == report.sum("planned")
    target, quarantine = end["outputs"]
    assert target["name"] == report.table
    assert target["outputFacets"]["outputStatistics"]["rowCount"] == report.sum("loaded")
    assert quarantine["outputFacets"]["outputStatistics"]["rowCount"] == report.sum("quarantined")
    columns = {field["name"]: field["type"] for field in target["facets"]["schema"]["fields"]}
    assert columns["order_id"] == "String"
    street = target["facets"]["columnLineage"]["fields"]["shipping_address_street"]
    (field,) = street["inputFields"]
    assert (field["namespace"], field["name"]) == (topic["namespace"], contract.topic)
    assert field["field"] == "shipping_address.street"
    assertions = target["facets"]["dataQualityAssertions"]["assertions"]
    assert len(assertions) == len(report.quality)
    assert {a["severity"] for a in assertions} <= {"error", "warn"}


def test_an_unpublished_load_is_a_failed_run_and_an_unreachable_receiver_is_ignored(
    make_loader: MakeLoader, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 100)
    plan = loader.plan()
    with receiver(tmp_path) as backend:
        monkeypatch.setenv("OPENLINEAGE_URL", backend.url)
        loader.report(plan.load_id)
        _, end = backend.lineage()
        assert end["eventType"] == "FAIL"
        assert end["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 0
    assert loader.report(plan.load_id).load_id == plan.load_id
    monkeypatch.setenv("OPENLINEAGE_URL", "no address")
    assert loader.report(plan.load_id).load_id == plan.load_id
