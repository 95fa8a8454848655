"""What holds or stops a load before any of its rows are visible."""

from functools import partial
from random import Random

import msgspec
import pytest

from sluice.authoring.sample_messages import make_samples, produce
from sluice.cli.commands import decide
from sluice.contract import Breaker, Contract, Rule
from sluice.decisions import discard, release
from sluice.errors import AccountingError, BreakerTripped, LoadLost, QualityHeld
from sluice.loader import Loader
from sluice.store.request import Request
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.loads import filled, finish, sums, target, verdict


@pytest.fixture
def make_loader(make_loader: MakeLoader) -> MakeLoader:
    """Makes loaders whose audits run the quality rules."""
    return partial(make_loader, quality_rules=True)


def test_a_load_with_an_unfinished_chunk_is_not_published(
    make_loader: MakeLoader, contract: Contract
) -> None:
    filled(make_loader, contract, 1000)
    loader = make_loader(contract, chunk_offsets=300)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    with pytest.raises(AccountingError) as raised:
        loader.audit(plan.load_id)
    assert "[1, 2, 3]" in raised.value.detail
    with pytest.raises(LoadLost) as lost:
        loader.publish(plan.load_id)
    assert lost.value.load_id == plan.load_id
    assert target(loader)["rows"] == 0


def test_too_many_refused_messages_hold_the_load(
    make_loader: MakeLoader, contract: Contract
) -> None:
    strict = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=0.1))
    loader = filled(make_loader, strict, 1000, broken_share=0.3)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    with pytest.raises(BreakerTripped) as raised:
        loader.audit(plan.load_id)
    assert raised.value.load_id == plan.load_id
    assert "10.0%" in raised.value.detail
    assert target(loader)["rows"] == 0
    pending = loader.clickhouse.rows(
        f"SELECT count() AS n FROM {loader.ledger.database}.quarantine WHERE status = 'pending'"
    )
    assert pending[0]["n"] > 200
    report = loader.report(plan.load_id)
    assert report.state == "held"
    assert "refused" in report.error


def test_a_critical_rule_holds_the_load_and_a_warning_does_not(
    make_loader: MakeLoader, contract: Contract
) -> None:
    rules = (
        Rule(name="no orders", fails_when="quantity_sum >= 0", severity="warning"),
        Rule(name="colon: and {brace}", fails_when="notes = ':x {y}'"),
        Rule(name="no expensive order", fails_when="total_price > 500"),
    )
    rules = (
        msgspec.structs.replace(rules[0], fails_when="length(line_items) >= 0"),
        *rules[1:],
    )
    warned = msgspec.structs.replace(contract, rules=rules[:2])
    loader = filled(make_loader, warned, 500)
    load_id = load(loader)
    failed = [q for q in loader.report(load_id).quality if not q.success]
    assert [(q.description, q.severity) for q in failed] == [("no orders", "warning")]
    assert failed[0].unexpected_count == sums(loader, load_id)["loaded"]
    assert len(failed[0].examples) == 20

    held = make_loader(msgspec.structs.replace(contract, rules=rules))
    produce(contract, held.broker, make_samples(contract, 500, Random(8)))
    plan = held.plan()
    held.drain(plan.load_id, 0)
    with pytest.raises(QualityHeld) as raised:
        held.audit(plan.load_id)
    assert raised.value.load_id == plan.load_id
    assert "no expensive order" in raised.value.detail
    assert target(held)["loads"] == 1


def held_load(make_loader: MakeLoader, contract: Contract) -> tuple[Loader, str]:
    """A loader, and the id of its load, which is held because too many messages were refused."""
    strict = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=0.1))
    loader = filled(make_loader, strict, 1000, broken_share=0.3)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    with pytest.raises(BreakerTripped):
        loader.audit(plan.load_id)
    return loader, plan.load_id


def test_a_held_load_does_not_block_others_and_can_be_released(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader, load_id = held_load(make_loader, contract)
    produce(contract, loader.broker, make_samples(contract, 200, Random(8), 0, 0))
    other = make_loader(loader.contract)
    assert sums(other, load(other))["planned"] == 200
    release(make_loader(loader.contract), load_id, "eve", "known to be broken")
    report = loader.report(load_id)
    assert (report.state, report.decision) == ("published", "released by eve: known to be broken")
    account = sums(loader, load_id)
    assert (account["planned"], account["difference"]) == (1000, 0)
    assert target(loader)["rows"] == 200 + account["loaded"]
    assert verdict(loader).findings == []
    for decision in (release, discard):
        with pytest.raises(LoadLost):
            decision(loader, load_id, "eve", "again")


def test_offsets_of_a_discarded_load_are_loaded_again(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader, load_id = held_load(make_loader, contract)
    discard(make_loader(loader.contract), load_id, "eve", "the contract was wrong")
    assert loader.report(load_id).decision == "discarded by eve: the contract was wrong"
    lenient = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=1))
    assert sums(loader, load(make_loader(lenient)))["planned"] == 1000
    assert verdict(loader).findings == []


def test_a_held_load_without_a_decision_is_abandoned_after_the_hold_time(
    make_loader: MakeLoader, contract: Contract
) -> None:
    held_load(make_loader, contract)
    lenient = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=1))
    assert make_loader(lenient).plan().offsets == 0
    assert make_loader(lenient, hold_hours=0).plan().offsets == 1000


def test_the_commands_release_and_discard(
    run: Run, make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, load_id = held_load(make_loader, contract)
    # The topic belongs to this test, so no file contains its contract.
    monkeypatch.setattr(decide, "find", lambda _: loader.contract)
    assert run("release", load_id).exit_code == 2
    assert run("discard", "orders_1", "--why", "x").exit_code == 1
    discarded = run("discard", load_id, "--why", "a test", "--by", "eve")
    assert discarded.exit_code == 0, discarded.output
    again = make_loader(loader.contract)
    with pytest.raises(BreakerTripped):
        finish(again, Request())
    load = again.last()
    assert load is not None
    released = run("release", load.load_id, "--why", "a test", "--by", "eve")
    assert released.exit_code == 0, released.output
    assert "released by eve: a test" in released.output
    assert verdict(loader).findings == []
