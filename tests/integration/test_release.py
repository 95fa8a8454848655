"""What a person is told, and asked for, before a held load is released."""

from functools import partial

import msgspec
import pytest

from sluice.contract import Breaker, Contract, Rule
from sluice.decisions import release
from sluice.errors import BreakerTripped, QualityHeld
from sluice.loader import Loader
from sluice.store.load_state import State
from tests.conftest import MakeLoader
from tests.loads import filled, target


@pytest.fixture
def make_loader(make_loader: MakeLoader) -> MakeLoader:
    """Makes loaders whose audits run the quality rules."""
    return partial(make_loader, quality_rules=True)


def drained(
    make_loader: MakeLoader, contract: Contract, broken_share: float = 0
) -> tuple[Loader, str]:
    """A loader, and the id of its load, which is read to its end and not audited."""
    loader = filled(make_loader, contract, 1000, broken_share=broken_share)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    return loader, plan.load_id


def test_the_quality_rules_see_a_load_that_the_breaker_holds(
    make_loader: MakeLoader, contract: Contract
) -> None:
    strict = msgspec.structs.replace(
        contract,
        breaker=Breaker(max_refused_share=0.1),
        rules=(Rule(name="no order of 1 or more", fails_when="total_price >= 1"),),
    )
    loader, load_id = drained(make_loader, strict, broken_share=0.3)
    with pytest.raises(BreakerTripped) as raised:
        loader.audit(load_id)
    assert "messages were refused" in raised.value.detail
    assert "no order of 1 or more" in raised.value.detail
    assert "e.g. partition" in raised.value.detail
    (failed,) = [q for q in loader.report(load_id).quality if not q.success]
    assert failed.description == "no order of 1 or more"
    assert failed.examples
    release(loader, load_id, "eve", "the prices are right")
    assert target(loader)["rows"] == failed.unexpected_count


def test_a_critical_rule_that_could_not_be_checked_needs_a_word_of_its_own(
    make_loader: MakeLoader, contract: Contract
) -> None:
    broken = msgspec.structs.replace(
        contract, rules=(Rule(name="never checked", fails_when="throwIf(total_price >= 0)"),)
    )
    loader, load_id = drained(make_loader, broken)
    with pytest.raises(QualityHeld) as raised:
        loader.audit(load_id)
    assert "could not be checked" in raised.value.detail
    with pytest.raises(QualityHeld) as refused:
        release(loader, load_id, "eve", "it will be fine")
    assert "never checked" in refused.value.detail
    assert target(loader)["rows"] == 0
    release(loader, load_id, "eve", "it will be fine", unchecked=True)
    assert target(loader)["rows"] > 0


def test_a_load_that_no_rule_has_seen_is_not_released(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """It was held by a version that audited without the rules."""
    loader, load_id = drained(make_loader, contract)
    loader.ledger.record(load_id, contract.topic, State.HELD, "an older version")
    with pytest.raises(QualityHeld) as refused:
        release(loader, load_id, "eve", "it will be fine")
    assert refused.value.load_id == load_id
    assert target(loader)["rows"] == 0


def test_the_rules_that_could_not_be_checked_are_listed(
    make_loader: MakeLoader, contract: Contract
) -> None:
    broken = msgspec.structs.replace(
        contract, rules=(Rule(name="never checked", fails_when="throwIf(total_price >= 0)"),)
    )
    loader, load_id = drained(make_loader, broken)
    with pytest.raises(QualityHeld):
        loader.audit(load_id)
    (rule,) = loader.auditor.unchecked(load_id)
    assert rule.startswith("never checked")
