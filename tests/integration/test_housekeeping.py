"""Old reports go; what accounts for offsets stays."""

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


MOMENT = 1e-6
"""In days."""


def test_what_is_old_goes_and_the_audit_of_everything_still_holds(
    make_loader: MakeLoader, contract: Contract
) -> None:
    dead = filled(make_loader, contract, 300, broken_share=0.05)
    plan = dead.plan()
    dead.drain(plan.load_id, 0)  # its run is over before it ends
    loader = make_loader(contract)
    load_id = load(loader)
    loader.report(load_id)
    database = loader.ledger.database
    housekeeper = Retention(loader.clickhouse, database)
    assert {each.rows for each in housekeeper.clean(1)} == {0}

    foreseen = housekeeper.clean(MOMENT, dry_run=True)
    assert [each.table for each in foreseen] == list(OLD)
    assert all(each.rows for each in foreseen)
    assert find_report(loader.clickhouse, database, load_id)
    assert housekeeper.clean(MOMENT) == foreseen
    assert {each.rows for each in housekeeper.clean(MOMENT)} == {0}
    assert find_report(loader.clickhouse, database, load_id) is None
    assert QualityResults(loader.clickhouse, database).document(load_id, contract.topic) == ""
    refused = sum(account.quarantined for account in loader.ledger.attempts.accounts(load_id))
    kept = loader.clickhouse.rows(f"SELECT count() AS n FROM {database}.quarantine_rows")
    assert kept[0]["n"] > refused > 0
    assert verdict(loader).findings == []


def test_the_command_shows_what_went(run: Run) -> None:
    shown = run("housekeeping", "--keep-days", "30", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "data_docs" in shown.output
    assert run("housekeeping", "--keep-days", "0").exit_code == 2
