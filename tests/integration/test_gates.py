"""What stops a load before anything of it is visible."""

from random import Random

import msgspec
import pytest

from sluice.contract import Breaker, Contract, Rule
from sluice.errors import BreakerTripped, LoadLost, QualityHeld
from sluice.samples import produce, samples
from tests.conftest import MakeLoader, load
from tests.loads import filled, sums, target


def test_an_unfinished_chunk_publishes_nothing(make_loader: MakeLoader, contract: Contract) -> None:
    filled(make_loader, contract, 1000)
    loader = make_loader(contract, chunk_offsets=300)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    with pytest.raises(Exception, match=r"chunks \[1, 2, 3\] were not read to their end"):
        loader.audit(plan.load_id)
    with pytest.raises(LoadLost, match="its audit has not passed"):
        loader.publish(plan.load_id)
    assert target(loader)["rows"] == 0


def test_too_many_refused_messages_stop_the_load(
    make_loader: MakeLoader, contract: Contract
) -> None:
    strict = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=0.1))
    loader = filled(make_loader, strict, 1000, broken_share=0.3)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    with pytest.raises(BreakerTripped, match=r"the contract's limit is 10.0%.*Commonest: "):
        loader.audit(plan.load_id)
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
        Rule(name="nobody orders", fails_when="quantity_sum >= 0", severity="warning"),
        Rule(name="colon: and {brace}", fails_when="notes = ':x {y}'"),
        Rule(name="no order is dear", fails_when="total_price > 500"),
    )
    rules = (
        msgspec.structs.replace(rules[0], fails_when="length(line_items) >= 0"),
        *rules[1:],
    )
    warned = msgspec.structs.replace(contract, rules=rules[:2])
    loader = filled(make_loader, warned, 500)
    load_id = load(loader)
    failed = [q for q in loader.report(load_id).quality if not q["success"]]
    assert [(q["description"], q["severity"]) for q in failed] == [("nobody orders", "warning")]
    assert failed[0]["unexpected_count"] == sums(loader, load_id)["loaded"]
    assert len(msgspec.json.decode(failed[0]["examples"])) == 20

    held = make_loader(msgspec.structs.replace(contract, rules=rules))
    produce(contract, held.broker, samples(contract, 500, Random(8)))
    plan = held.plan()
    held.drain(plan.load_id, 0)
    with pytest.raises(QualityHeld, match="no order is dear"):
        held.audit(plan.load_id)
    assert target(held)["loads"] == 1
