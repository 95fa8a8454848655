"""Whole loads: the real broker, the real engine, the law counted in ClickHouse."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from include.schemas.orders import OrderEventMessage
from include.schemas.payments import contract as payments
from sluice.contract import Breaker, Contract, Rule, discover
from sluice.errors import BreakerTripped, LoadLost, OffsetsExpired, QualityHeld, TopicRecreated
from sluice.load import Loader
from sluice.planning import Request
from sluice.ranges import OffsetRange, merge, total
from sluice.samples import produce, samples
from sluice.settings import Connection
from tests.conftest import MakeLoader, load, with_topic


def filled(
    make_loader: MakeLoader, contract: Contract, count: int, partitions: int = 4, **shares: float
) -> Loader:
    """A loader whose topic holds samples."""
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, partitions)
    produce(contract, loader.broker, samples(contract, count, Random(5), **shares))
    return loader


def target(loader: Loader) -> dict[str, Any]:
    return loader.clickhouse.rows(
        "SELECT count() AS rows, uniqExact(_partition, _offset) AS offsets,"
        f" uniqExact(_load_id) AS loads FROM {loader.contract.table.name}"
    )[0]


def sums(loader: Loader, load_id: str) -> dict[str, int]:
    accounts = loader.ledger.accounts(load_id)
    terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent", "difference")
    return {term: sum(getattr(a, term) for a in accounts) for term in terms}


def leftovers(loader: Loader) -> list[str]:
    rows = loader.clickhouse.rows(
        "SELECT name FROM system.tables WHERE database = {db:String} AND match(name,"
        " '^(staging|publishing|audit)_')",
        {"db": loader.ledger.database},
    )
    return [row["name"] for row in rows]


def test_400_000_mixed_messages_load_to_the_message(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 400_000)
    load_id = load(loader)
    account = sums(loader, load_id)
    assert account["planned"] == 400_000
    assert account["difference"] == 0
    for term in ("loaded", "upgraded", "quarantined", "tombstones"):
        assert account[term] > 0, term
    assert target(loader) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}
    quarantined = loader.clickhouse.rows(
        f"SELECT count() AS n, uniqExact(partition, offset) AS offsets"
        f" FROM {loader.ledger.database}.quarantine WHERE status = 'quarantined'"
    )
    assert quarantined == [{"n": account["quarantined"], "offsets": account["quarantined"]}]
    assert leftovers(loader) == []

    again = make_loader(contract)
    assert sums(again, load(again))["planned"] == 0
    assert target(again)["rows"] == account["loaded"]
    topic = loader.broker.topic(contract.topic)
    ends = {p: w.high for p, w in loader.broker.watermarks(topic).items()}
    assert loader.broker.mirrored(topic, loader.group) == ends


def test_every_topic_of_the_project_loads(make_loader: MakeLoader) -> None:
    for contract in discover().values():
        loader = filled(make_loader, with_topic(contract), 2000)
        assert sums(loader, load(loader))["difference"] == 0
    assert "payments" in discover()


def test_a_second_topic_needs_no_code_of_its_own(make_loader: MakeLoader) -> None:
    loader = filled(make_loader, with_topic(payments), 1000, broken_share=0, tombstone_share=0)
    load(loader)
    row = loader.clickhouse.rows(
        "SELECT countIf(order_id IS NULL) AS gift_cards, min(amount) > 0 AS paid,"
        " uniqExact(method) AS methods, min(labels['provider']) AS provider,"
        " min(value_date) > '2026-01-01' AS dated, count() AS n FROM payments"
    )[0]
    assert row["gift_cards"] > 100
    assert row == row | {"paid": 1, "methods": 3, "provider": "acme", "dated": 1, "n": 1000}


def test_what_was_sent_is_what_is_loaded(make_loader: MakeLoader, contract: Contract) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    random = Random(3)
    sent = [contract.example(random) for _ in range(200)]
    producer = loader.broker.producer()
    for message in sent:
        producer.produce(
            contract.topic,
            msgspec.json.encode(message),
            headers=[
                ("correlation_id", "c-1"),
                ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
            ],
        )
    producer.flush()
    load(loader)
    rows = loader.clickhouse.rows("SELECT * FROM orders ORDER BY _offset")
    assert len(rows) == 200
    for row, message in zip(rows, sent, strict=True):
        assert isinstance(message, OrderEventMessage)
        address = msgspec.structs.asdict(message.shipping_address)
        assert {k: row[f"shipping_address_{k}"] for k in address} == address
        assert row["line_items"] == [msgspec.structs.asdict(i) for i in message.line_items]
        assert row["total_price"] == message.total_price
        assert row["notes"] == message.notes
        micros = message.created_at.microsecond // 1000 * 1000
        assert row["created_at"] == message.created_at.replace(microsecond=micros)
        assert row["_correlation_id"] == "c-1"
        assert (row["_trace_id"], row["_span_id"]) == ("a" * 32, "b" * 16)
        assert row["_timestamp"].year >= 2026


def test_the_same_run_gets_its_plan_back_after_the_topic_has_grown(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 500)
    plan = loader.plan()
    produce(contract, loader.broker, samples(contract, 500, Random(6)))
    assert loader.plan() == plan
    assert plan.offsets == 500


def test_every_step_can_be_repeated(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 3000)
    plan = loader.plan()
    for step in (
        lambda: loader.drain(plan.load_id, 0),
        lambda: loader.audit(plan.load_id),
        lambda: loader.publish(plan.load_id),
        lambda: loader.drain(plan.load_id, 0),
        lambda: loader.audit(plan.load_id),
        lambda: loader.publish(plan.load_id),
    ):
        step()
        step()
    account = sums(loader, plan.load_id)
    assert (account["planned"], account["difference"]) == (3000, 0)
    assert target(loader) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}


def test_many_chunks_and_small_batches(make_loader: MakeLoader, contract: Contract) -> None:
    filled(make_loader, contract, 5000)
    loader = make_loader(contract, chunk_offsets=700, batch_rows=90)
    plan = loader.plan()
    assert len(plan.chunks) == 8
    for number in reversed(range(8)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["difference"] == 0
    assert target(loader)["rows"] == sums(loader, plan.load_id)["loaded"]


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


def test_a_limit_and_partitions_narrow_a_load(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 1000)
    plan = loader.plan(Request(partitions=(1,), max_messages=50))
    assert plan.chunks == [[OffsetRange(1, 0, 50)]]


def test_an_abandoned_run_frees_its_offsets_and_its_late_tasks_fail(
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
        with pytest.raises(LoadLost, match="abandoned"):
            step()
    assert target(other)["loads"] == 1


def test_a_run_that_had_begun_to_publish_is_rolled_forward(
    make_loader: MakeLoader, contract: Contract
) -> None:
    stopped = filled(make_loader, contract, 1000)
    plan = stopped.plan()
    stopped.drain(plan.load_id, 0)
    stopped.audit(plan.load_id)
    assert stopped.publisher._fence(plan.load_id)
    other = make_loader(contract)
    assert other.plan().offsets == 0
    account = sums(stopped, plan.load_id)
    assert target(other) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}
    stopped.publish(plan.load_id)
    assert target(other)["rows"] == account["loaded"]


def test_a_live_load_s_offsets_are_not_planned_by_another(
    make_loader: MakeLoader, contract: Contract
) -> None:
    first = filled(make_loader, contract, 1000)
    plan = first.plan(Request(max_messages=400))
    second = make_loader(contract)
    second._is_over = lambda _: False
    assert second.plan().offsets == 600
    assert not any(
        mine.overlaps(theirs)
        for mine in plan.chunks[0]
        for part in second.plan().chunks
        for theirs in part
    )


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


def test_a_recreated_topic_is_refused(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100)
    load(loader)
    admin = AdminClient(dict(kafka.extra))
    admin.delete_topics([contract.topic])[contract.topic].result(20)
    again = filled(make_loader, contract, 200)
    with pytest.raises(TopicRecreated, match="was recreated since the last load"):
        again.plan()
    assert target(again)["loads"] == 1


def delete_up_to(kafka: Connection, topic: str, offset: int) -> None:
    from confluent_kafka import TopicPartition

    admin = AdminClient(dict(kafka.extra))
    for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(20)


@pytest.mark.parametrize("policy", ["fail", "record"])
def test_offsets_that_expired_before_they_were_loaded(
    make_loader: MakeLoader, contract: Contract, kafka: Connection, policy: str
) -> None:
    contract = msgspec.structs.replace(contract, on_expired=policy)
    loader = filled(make_loader, contract, 100, partitions=1)
    load(loader)
    produce(contract, loader.broker, samples(contract, 100, Random(9)))
    delete_up_to(kafka, contract.topic, 150)
    later = make_loader(contract)
    if policy == "fail":
        with pytest.raises(OffsetsExpired, match=r"50 offsets .* 0:\[100, 150\)"):
            later.plan()
    else:
        account = sums(later, load(later))
        assert (account["planned"], account["absent"], account["difference"]) == (100, 50, 0)


def test_a_topic_whose_first_offset_is_not_0(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100, partitions=1)
    delete_up_to(kafka, contract.topic, 40)
    account = sums(loader, load(loader))
    assert (account["planned"], account["absent"], account["difference"]) == (60, 0, 0)


def test_a_materialized_view_on_the_target_fires_once_a_row(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 5000)
    loader.create_tables()
    loader.clickhouse.execute(
        "CREATE TABLE sums (country String, n UInt64) ENGINE = SummingMergeTree ORDER BY country"
        " SETTINGS non_replicated_deduplication_window = 1000"
    )
    loader.clickhouse.execute(
        "CREATE MATERIALIZED VIEW mv TO sums AS SELECT shipping_address_country AS country,"
        " count() AS n FROM orders GROUP BY country"
    )
    load_id = load(loader)
    seen = loader.clickhouse.rows("SELECT sum(n) AS n FROM sums")[0]["n"]
    assert seen == sums(loader, load_id)["loaded"]


def test_the_owner_of_a_load_is_kept(make_loader: MakeLoader, contract: Contract) -> None:
    filled(make_loader, contract, 10)
    owner = f"airflow/load_orders/{uuid.uuid4()}"
    loader = make_loader(contract, owner)
    load_id = load(loader)
    found = loader.ledger.load(load_id)
    assert found is not None
    assert (found.owner, found.state, found.live) == (owner, "published", False)


def test_a_zombie_beside_its_retry_leaves_nothing_behind(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Both attempts write the whole chunk, with other borders of their micro-batches."""
    filled(make_loader, contract, 2000)
    first, second = (make_loader(contract, "one run", batch_rows=n) for n in (70, 110))
    plan = first.plan()
    drained: list[str] = []

    def second_goes_first(_: int) -> None:
        if not drained:
            drained.append(second.drain(plan.load_id, 0).attempt)

    zombie = first.drain(plan.load_id, 0, second_goes_first)
    assert zombie.attempt != drained[0]
    assert first.ledger.winners(plan.load_id)[0].attempt == drained[0]
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


def test_a_topic_recreated_between_plan_and_drain_is_not_read(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100)
    plan = loader.plan()
    admin = AdminClient(dict(kafka.extra))
    admin.delete_topics([contract.topic])[contract.topic].result(20)
    filled(make_loader, contract, 200)
    with pytest.raises(TopicRecreated, match="was recreated since load"):
        loader.drain(plan.load_id, 0)


def test_two_planners_at_once_never_keep_the_same_offset(
    make_loader: MakeLoader, contract: Contract
) -> None:
    filled(make_loader, contract, 1000)
    loaders = [make_loader(contract) for _ in range(4)]
    for loader in loaders:
        loader._is_over = lambda _: False
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda loader: loader.plan(), loaders))
    ranges = [r for plan in plans for part in plan.chunks for r in part]
    assert total(ranges) == total(merge(ranges)) == 1000


def test_a_plan_that_was_interrupted_before_it_looked_is_held_against_others(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Both wrote the same range; the one that asks again finds the other and withdraws."""
    filled(make_loader, contract, 300)
    first = make_loader(contract, "run one")
    plan = first.plan()
    second = make_loader(contract, "run two")
    second._is_over = lambda _: False
    staging = second.ledger.staging_table("interrupted")
    second.clickhouse.execute(f"CREATE TABLE {staging} (a Int8) ENGINE = MergeTree ORDER BY a")
    detail = {"topic_id": second.broker.topic(contract.topic).id, "watermarks": {"0": [0, 1]}}
    second.ledger.reserve("interrupted", contract.topic, "run two", plan.chunks, detail)
    assert second.plan().offsets == 0
    found = second.ledger.load("interrupted")
    assert found is not None
    assert found.state == "withdrawn"
    assert first.plan() == plan


def test_a_partitioned_target_that_holds_half_of_a_slice_is_completed(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """A publisher stopped between the parts of one insert; the rows that are there stay alone."""
    table = msgspec.structs.replace(contract.table, partition_by="_partition")
    loader = filled(make_loader, msgspec.structs.replace(contract, table=table), 2000)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publisher._fence(plan.load_id)
    attempt = loader.ledger.audited_attempts(plan.load_id)[0]
    loader.publisher._copy(plan.load_id, attempt, plan.chunks[0])
    loader.clickhouse.execute("ALTER TABLE orders DROP PARTITION 1")
    before = target(loader)["rows"]
    loader.publish(plan.load_id)
    account = sums(loader, plan.load_id)
    assert before < account["loaded"]
    assert target(loader) == {"rows": account["loaded"], "offsets": account["loaded"], "loads": 1}


def test_a_load_that_cannot_be_rolled_forward_does_not_stop_the_topic(
    make_loader: MakeLoader, contract: Contract
) -> None:
    stopped = filled(make_loader, contract, 500)
    plan = stopped.plan()
    stopped.drain(plan.load_id, 0)
    stopped.audit(plan.load_id)
    stopped.publisher._fence(plan.load_id)
    table = stopped.ledger.publishing_table(plan.load_id)
    stopped.clickhouse.execute(
        f"ALTER TABLE {table} DELETE WHERE _offset < 20", settings={"mutations_sync": 2}
    )
    produce(contract, stopped.broker, samples(contract, 300, Random(1)))
    account = sums(stopped, load(make_loader(contract)))
    assert (account["planned"], account["difference"]) == (300, 0)
    found = stopped.ledger.load(plan.load_id)
    assert found is not None
    assert found.state == "publishing"
