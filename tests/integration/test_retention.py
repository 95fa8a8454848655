"""Retention removes old reports and keeps the records that account for offsets."""

from functools import partial

import pytest

from sluice.audit.quality_results import QualityResults
from sluice.contract import Contract
from sluice.report.reporter import find_report
from sluice.store.retention import OLD, Retention
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.loads import filled, verdict


@pytest.fixture
def make_loader(make_loader: MakeLoader) -> MakeLoader:
    """Makes loaders whose audits run the quality rules."""
    return partial(make_loader, quality_rules=True)


def test_old_records_are_removed_and_the_audit_still_has_no_findings(
    make_loader: MakeLoader, contract: Contract
) -> None:
    abandoned = filled(make_loader, contract, 300, broken_share=0.05)
    plan = abandoned.plan()
    abandoned.drain(plan.load_id, 0)  # the next plan abandons this load
    loader = make_loader(contract)
    load_id = load(loader)
    loader.report(load_id)
    database = loader.ledger.database
    retention = Retention(loader.clickhouse, database)
    assert {removed.rows for removed in retention.clean(1)} == {0}
    for table in OLD:  # the same rows as of another load, 100 days ago
        loader.clickhouse.execute(
            f"INSERT INTO {database}.{table} SELECT * REPLACE"
            f" (at - toIntervalDay(100) AS at, 'old' AS load_id) FROM {database}.{table}"
        )
    assert {removed.rows for removed in retention.clean(132)} == {0}

    preview = retention.clean(60, dry_run=True)
    assert [removed.table for removed in preview] == list(OLD)
    assert all(removed.rows for removed in preview)
    assert find_report(loader.clickhouse, database, contract.topic, "old")
    assert retention.clean(60) == preview
    assert {removed.rows for removed in retention.clean(60)} == {0}
    documents = QualityResults(loader.clickhouse, database)
    assert find_report(loader.clickhouse, database, contract.topic, "old") is None
    assert not documents.document("old", contract.topic)
    assert find_report(loader.clickhouse, database, contract.topic, load_id)
    assert documents.document(load_id, contract.topic)
    refused = sum(
        account.quarantined
        for account in loader.ledger.attempts.accounts(loader.contract.topic, load_id)
    )
    kept = loader.clickhouse.rows(f"SELECT count() AS n FROM {database}.quarantine_rows")
    assert kept[0]["n"] > refused > 0
    assert verdict(loader).findings == []


def test_the_housekeeping_command(run: Run) -> None:
    preview = run("housekeeping", "--keep-days", "30", "--dry-run")
    assert preview.exit_code == 0, preview.output
    assert "data_docs" in preview.output
    assert run("housekeeping", "--keep-days", "0").exit_code == 2
