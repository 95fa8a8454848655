"""A target that refuses rows that have passed the audit: a person can finish or take back."""

import msgspec
import pytest

from sluice.contract import Contract, Table
from sluice.decisions import discard, release
from sluice.errors import EngineError, LoadLost, QualityHeld, ReplaceUnsupported
from sluice.loader import Loader
from sluice.publish.publisher import Slice
from tests.conftest import MakeLoader, load
from tests.loads import filled, leftovers, sums, target, verdict


def stuck(make_loader: MakeLoader, contract: Contract) -> tuple[Loader, str]:
    """A loader, and the id of its load: the target has a part of its rows and refuses the rest."""
    loader = filled(make_loader, contract, 1000, partitions=2)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publisher.fence(plan.load_id, loader.owner)
    attempt = loader.known(plan.load_id).attempts[0]
    first = [r for r in plan.chunks[0] if r.partition == 0]
    known = loader.known(plan.load_id)
    loader.publisher.copy(known, loader.publisher.columns(known), Slice(attempt, first))
    loader.clickhouse.execute("ALTER TABLE orders ADD CONSTRAINT one CHECK _partition = 0")
    with pytest.raises(EngineError) as raised:
        loader.publish(plan.load_id)
    assert raised.value.name == "VIOLATED_CONSTRAINT"
    assert target(loader)["rows"] > 0
    loader.settler.is_over = lambda _: True
    return loader, plan.load_id


def test_a_load_that_the_target_refuses_can_be_taken_back(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader, load_id = stuck(make_loader, contract)
    discard(loader, load_id, "eve", "the constraint is right")
    assert target(loader)["rows"] == 0
    assert loader.known(load_id).state == "abandoned"
    with pytest.raises(LoadLost):
        loader.publish(load_id)
    loader.clickhouse.execute("ALTER TABLE orders DROP CONSTRAINT one")
    account = sums(loader, load(make_loader(contract)))
    assert (account["planned"], account["difference"]) == (1000, 0)
    assert target(loader)["rows"] == account["loaded"]
    assert verdict(loader).findings == []


def test_a_load_that_the_target_refused_can_be_completed(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader, load_id = stuck(make_loader, contract)
    loader.clickhouse.execute("ALTER TABLE orders DROP CONSTRAINT one")
    release(loader, load_id, "eve", "the constraint was wrong")
    assert loader.known(load_id).state == "published"
    assert target(loader)["rows"] == sums(loader, load_id)["loaded"]
    assert verdict(loader).findings == []


def test_a_load_is_not_taken_back_while_its_run_continues(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader, load_id = stuck(make_loader, contract)
    loader.settler.is_over = lambda _: False
    rows = target(loader)["rows"]
    with pytest.raises(LoadLost) as raised:
        discard(loader, load_id, "eve", "impatient")
    assert raised.value.load_id == load_id
    assert target(loader)["rows"] == rows


def test_rows_that_may_have_replaced_others_are_not_taken_back(
    make_loader: MakeLoader, contract: Contract
) -> None:
    table = Table(name="orders", order_by=("order_id",), engine="ReplacingMergeTree(_timestamp)")
    loader, load_id = stuck(make_loader, msgspec.structs.replace(contract, table=table))
    rows = target(loader)["rows"]
    with pytest.raises(ReplaceUnsupported) as raised:
        discard(loader, load_id, "eve", "the constraint is right")
    assert raised.value.load_id == load_id
    assert target(loader)["rows"] == rows


def test_the_audit_holds_what_a_constraint_of_the_target_refuses(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 300)
    plan = loader.plan()
    loader.clickhouse.execute("ALTER TABLE orders ADD CONSTRAINT cheap CHECK total_price < 0")
    loader.drain(plan.load_id, 0)
    with pytest.raises(QualityHeld) as raised:
        loader.audit(plan.load_id)
    assert "VIOLATED_CONSTRAINT" in raised.value.detail
    assert loader.known(plan.load_id).state == "held"
    with pytest.raises(QualityHeld):
        release(loader, plan.load_id, "eve", "hurry")
    assert target(loader)["rows"] == 0
    loader.clickhouse.execute("ALTER TABLE orders DROP CONSTRAINT cheap")
    release(loader, plan.load_id, "eve", "the constraint was wrong")
    assert target(loader)["rows"] > 0
    assert leftovers(loader) == []


def test_the_audit_holds_rows_that_the_ttl_would_remove_at_once(
    make_loader: MakeLoader, contract: Contract
) -> None:
    table = msgspec.structs.replace(contract.table, ttl="created_at + INTERVAL 1 SECOND")
    loader = filled(make_loader, msgspec.structs.replace(contract, table=table), 300)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    with pytest.raises(QualityHeld) as raised:
        loader.audit(plan.load_id)
    assert "TTL" in raised.value.detail
    assert target(loader)["rows"] == 0


def test_a_view_that_failed_is_told_although_the_rows_are_visible(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """ClickHouse keeps rows whose view fails, so a repetition finds nothing left to insert."""
    loader = filled(make_loader, contract, 1000, partitions=2)
    plan = loader.plan()
    loader.clickhouse.execute(
        "CREATE MATERIALIZED VIEW seen ENGINE = MergeTree ORDER BY x"
        " AS SELECT _offset AS x, throwIf(_partition = 1) AS bad FROM orders"
    )
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    with pytest.raises(EngineError) as raised:
        loader.publish(plan.load_id)
    assert raised.value.name == "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"
    stopped = loader.report(plan.load_id)
    assert stopped.state == "publishing"
    assert "FUNCTION_THROW_IF" in stopped.refused_by_target
    assert any("sluice release" in sentence for sentence in stopped.advice)
    loader.clickhouse.execute("DROP TABLE seen")
    release(loader, plan.load_id, "eve", "the view is gone")
    assert target(loader)["rows"] == sums(loader, plan.load_id)["loaded"]
    assert any("materialized" in s for s in loader.report(plan.load_id).advice)
    assert verdict(loader).findings == []
