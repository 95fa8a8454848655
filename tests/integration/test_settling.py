"""Settling: loads whose run has ended, is retried, or runs beside another."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random

import msgspec
import pytest

from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.contract.ddl import WORK_TABLE
from sluice.errors import LoadLost
from sluice.plan.range_pinning import Plan
from sluice.plan.survey import PlanPreview
from sluice.publish.publisher import Slice
from sluice.ranges import merge, total
from sluice.store.request import Request
from tests.conftest import MakeLoader, load
from tests.loads import filled, leftovers, sums, target


def test_a_retried_run_keeps_its_plan_after_the_topic_has_grown(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 500)
    plan = loader.plan()
    produce(contract, loader.broker, make_samples(contract, 500, Random(6)))
    assert loader.plan() == plan
    assert plan.offsets == 500


def test_an_abandoned_load_frees_its_offsets_and_its_late_tasks_fail(
    make_loader: MakeLoader, contract: Contract
) -> None:
    late = filled(make_loader, contract, 1000)
    plan = late.plan()
    other = make_loader(contract)
    load_id = load(other)
    assert load_id != plan.load_id
    assert sums(other, load_id)["planned"] == 1000
    for step in (
        lambda: late.drain(plan.load_id, 0),
        lambda: late.audit(plan.load_id),
        lambda: late.publish(plan.load_id),
    ):
        with pytest.raises(LoadLost) as raised:
            step()
        assert raised.value.load_id == plan.load_id
        assert "abandoned" in raised.value.detail
    assert target(other)["loads"] == 1


def test_a_load_that_began_to_publish_is_rolled_forward(
    make_loader: MakeLoader, contract: Contract
) -> None:
    stopped = filled(make_loader, contract, 1000)
    plan = stopped.plan()
    stopped.drain(plan.load_id, 0)
    stopped.audit(plan.load_id)
    stopped.publisher.fence(plan.load_id, stopped.owner)
    other = make_loader(contract)
    assert other.plan().offsets == 0
    account = sums(stopped, plan.load_id)
    assert target(other) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}
    stopped.publish(plan.load_id)
    assert target(other)["rows"] == account["loaded"]


def test_offsets_of_a_live_load_are_not_planned_again(
    make_loader: MakeLoader, contract: Contract
) -> None:
    first = filled(make_loader, contract, 1000)
    plan = first.plan(Request(max_messages=400))
    second = make_loader(contract)
    second.settler.is_over = lambda _: False
    assert second.plan().offsets == 600
    assert not any(
        mine.overlaps(theirs)
        for mine in plan.chunks[0]
        for part in second.plan().chunks
        for theirs in part
    )


def test_the_owner_of_a_load_is_recorded(make_loader: MakeLoader, contract: Contract) -> None:
    filled(make_loader, contract, 10)
    owner = f"airflow/load_orders/{uuid.uuid4()}"
    loader = make_loader(contract, owner)
    load_id = load(loader)
    record = loader.ledger.load(contract.topic, load_id)
    assert record is not None
    assert (record.owner, record.state, record.live) == (owner, "published", False)


def test_a_zombie_attempt_leaves_no_rows_behind(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Both attempts write the whole chunk, split into different micro-batches."""
    filled(make_loader, contract, 2000)
    first, second = (make_loader(contract, "one run", batch_rows=n) for n in (70, 110))
    plan = first.plan()
    drained: list[str] = []

    def drain_second(_: int) -> None:
        if not drained:
            drained.append(second.drain(plan.load_id, 0).attempt)

    assert first.drain(plan.load_id, 0, drain_second).attempt == drained[0]
    staged = first.ledger.staging.rows(first.known(plan.load_id))
    attempts = f"SELECT uniqExact(_attempt) AS n FROM {staged.table} WHERE {staged.condition}"
    assert first.clickhouse.rows(attempts) == [{"n": 2}]
    assert first.ledger.attempts.accepted(plan.topic, plan.load_id)[0].attempt == drained[0]
    second.audit(plan.load_id)
    second.publish(plan.load_id)
    account = sums(second, plan.load_id)
    assert (account["planned"], account["difference"]) == (2000, 0)
    assert target(second) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}
    quarantined = second.clickhouse.rows(
        f"SELECT count() AS n FROM {second.ledger.database}.quarantine"
    )
    assert quarantined[0]["n"] == account["quarantined"] > 0
    assert leftovers(second) == []


def test_concurrent_planners_never_reserve_the_same_offset(
    make_loader: MakeLoader, contract: Contract
) -> None:
    filled(make_loader, contract, 1000)
    loaders = [make_loader(contract) for _ in range(4)]
    for loader in loaders:
        loader.settler.is_over = lambda _: False
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda loader: loader.plan(), loaders))
    ranges = [r for plan in plans for part in plan.chunks for r in part]
    assert total(ranges) == total(merge(ranges)) == 1000


def test_a_planner_that_has_read_too_little_looks_again(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another load is reserved between what the planner reads and what it writes."""
    filled(make_loader, contract, 300)
    first, second = make_loader(contract), make_loader(contract)
    second.settler.is_over = lambda _: False
    preview, plans = second.planner.survey.preview, list[Plan]()

    def overtaken(request: Request) -> PlanPreview:
        seen = preview(request)
        if not plans:
            plans.append(first.plan(Request(max_messages=100)))
        return seen

    monkeypatch.setattr(second.planner.survey, "preview", overtaken)
    assert second.plan().offsets == 200
    assert first.plan() == plans[0]


def test_a_slice_that_is_partly_in_the_target_is_completed(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """A publisher stopped between the parts of one insert; rows that are written are kept."""
    table = msgspec.structs.replace(contract.table, partition_by="_partition")
    loader = filled(make_loader, msgspec.structs.replace(contract, table=table), 2000)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publisher.fence(plan.load_id, loader.owner)
    part = Slice(loader.known(plan.load_id).attempts[0], plan.chunks[0])
    known = loader.known(plan.load_id)
    loader.publisher.copy(known, loader.publisher.columns(known), part)
    loader.clickhouse.execute("ALTER TABLE orders DROP PARTITION 1")
    before = target(loader)["rows"]
    loader.publish(plan.load_id)
    account = sums(loader, plan.load_id)
    assert before < account["loaded"]
    assert target(loader) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}


def test_a_load_that_cannot_be_rolled_forward_does_not_block_the_topic(
    make_loader: MakeLoader, contract: Contract
) -> None:
    stopped = filled(make_loader, contract, 500)
    plan = stopped.plan()
    stopped.drain(plan.load_id, 0)
    stopped.audit(plan.load_id)
    stopped.publisher.fence(plan.load_id, stopped.owner)
    table = stopped.ledger.staging.rows(stopped.known(plan.load_id)).table
    stopped.clickhouse.execute(
        f"ALTER TABLE {table} DELETE WHERE _offset < 20", settings={"mutations_sync": 2}
    )
    produce(contract, stopped.broker, make_samples(contract, 300, Random(1)))
    account = sums(stopped, load(make_loader(contract)))
    assert (account["planned"], account["difference"]) == (300, 0)
    record = stopped.ledger.load(contract.topic, plan.load_id)
    assert record is not None
    assert record.state == "publishing"


def test_a_plan_drops_no_table_that_sluice_has_not_marked_as_its_own(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 10)
    loader.ledger.create()
    database = loader.ledger.database
    foreign = ["audit_events", "staging_area", "publishing_house", "wanted_x", "content_y"]
    for name in foreign:
        table = f"{database}.{name}"
        loader.clickhouse.execute(f"CREATE TABLE {table} (a Int8) ENGINE = MergeTree ORDER BY a")
    marked = f"{database}.audit_orphan"
    loader.clickhouse.execute(
        f"CREATE TABLE {marked} (a Int8) ENGINE = Null COMMENT '{WORK_TABLE}'"
    )
    loader.settler._lease = timedelta(seconds=-1)
    load(loader)
    left = loader.clickhouse.rows(
        "SELECT name FROM system.tables WHERE database = {db:String}", {"db": database}
    )
    names = {row["name"] for row in left}
    assert set(foreign) <= names
    assert "audit_orphan" not in names
