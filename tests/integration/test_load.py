"""Whole loads: the real broker, the real engine, the accounting identity counted in ClickHouse."""

import os
import re
from random import Random
from typing import Any

import msgspec
import pytest

from include.schemas.orders import OrderEventMessage
from include.schemas.payments import contract as payments
from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract, Table, discover
from sluice.publish.publisher import Slice
from sluice.ranges import OffsetRange
from sluice.store.request import Request
from tests.conftest import MakeLoader, load, with_topic
from tests.loads import filled, leftovers, sums, target

MESSAGES = int(os.environ.get("MESSAGES", "100000"))


def test_many_mixed_messages_load_to_the_message(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """``MESSAGES`` of them, by default a hundred thousand."""
    loader = filled(make_loader, contract, MESSAGES)
    load_id = load(loader)
    account = sums(loader, load_id)
    assert account["planned"] == MESSAGES
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
    sent = [example_message(contract, random) for _ in range(200)]
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
        assert row["created_at"] == message.created_at
        assert row["_correlation_id"] == "c-1"
        assert (row["_trace_id"], row["_span_id"]) == ("a" * 32, "b" * 16)
        assert row["_timestamp"].year >= 2026


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


def test_a_limit_and_partitions_narrow_a_load(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 1000)
    plan = loader.plan(Request(partitions=(1,), max_messages=50))
    assert plan.chunks == [[OffsetRange(1, 0, 50)]]


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


def test_a_replacing_table_keeps_the_newest_row_of_a_key_and_every_offset_is_accounted_for(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Rows that were merged away are neither missed nor copied again, whatever is repeated."""
    table = Table(name="newest", order_by=("order_id",), engine="ReplacingMergeTree(_timestamp)")
    contract = msgspec.structs.replace(contract, table=table)
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    made = list(make_samples(contract, 300, Random(3), 0, 0))
    produce(contract, loader.broker, iter(made + made))
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publisher.fence(plan.load_id, loader.owner)
    part = Slice(loader.known(plan.load_id).attempts[0], [OffsetRange(0, 0, 450)])
    known = loader.known(plan.load_id)
    loader.publisher.copy(known, loader.publisher.columns(known), part)
    loader.clickhouse.execute("OPTIMIZE TABLE newest FINAL")
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["loaded"] == 600
    loader.clickhouse.execute("OPTIMIZE TABLE newest FINAL")
    rows = "SELECT count() AS rows, min(_offset) AS first, max(_offset) AS last FROM newest"
    assert loader.clickhouse.rows(rows) == [{"rows": 300, "first": 300, "last": 599}]
    produce(contract, loader.broker, iter(made[:10]))
    load(make_loader(contract))
    assert loader.clickhouse.rows(rows.replace("newest", "newest FINAL")) == [
        {"rows": 300, "first": 310, "last": 609}
    ]


def test_a_plan_with_nothing_new_writes_nothing(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 100)
    assert make_loader(contract).plan(Request(partitions=(0,))).load_id, (
        "the first plan is recorded"
    )
    load(loader)
    idle = make_loader(contract)
    statements: list[str] = []
    for name in ("rows", "execute", "insert_lines"):
        call = getattr(idle.clickhouse, name)

        def counted(first: str, *rest: Any, call: Any = call, **more: Any) -> Any:
            statements.append(first)
            return call(first, *rest, **more)

        monkeypatch.setattr(idle.clickhouse, name, counted)
    plan = idle.plan()
    assert (plan.load_id, plan.chunks) == ("", [])
    assert all(re.match(r"\s*(SELECT|WITH)", statement) for statement in statements), statements
    assert len(statements) <= 15
    assert idle.last() is None


def test_a_plan_with_nothing_new_still_settles_unfinished_loads(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 100)
    load(loader)
    produce(contract, loader.broker, make_samples(contract, 10, Random(9)))
    stopped = make_loader(contract)
    assert stopped.plan().offsets == 10
    waiting = make_loader(contract)
    waiting.settler.is_over = lambda _: False
    assert waiting.plan().load_id, "it says which offsets another load holds"
    again = make_loader(contract)
    assert again.plan().offsets == 10
