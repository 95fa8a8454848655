"""Verification reports every inconsistency, and nothing else."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Annotated, Any

import msgspec
import pytest
from confluent_kafka import Producer
from msgspec import Struct

from sluice.audit.verify.content import ContentCheck
from sluice.audit.verify.findings import Finding
from sluice.audit.verify.verifier import Verification, Verifier
from sluice.authoring.examples import example_message
from sluice.contract import Contract, column
from sluice.contract.ddl import WORK_TABLE, ClickHouseSchemaMapper
from sluice.decode.decoder import Decoder
from sluice.errors import PlanError, UnknownPartition
from sluice.loader import Loader
from sluice.plan.bounds import resolve_bounds
from sluice.ranges import OffsetRange
from sluice.settings import Connection
from sluice.store.request import Request
from tests.conftest import MakeLoader, load, with_topic
from tests.contracts import contract_of
from tests.loads import filled, finish


def verifier(loader: Loader, within: list[OffsetRange] | None = None) -> Verifier:
    return Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger, within=within)


def audit(loader: Loader, within: list[OffsetRange] | None = None) -> Verification:
    return verifier(loader, within).run()


def content(loader: Loader) -> list[Finding]:
    check = ContentCheck(
        loader.contract,
        loader.broker,
        loader.clickhouse,
        loader.ledger,
        Decoder(loader.contract),
    )
    topic = loader.broker.topic(loader.contract.topic)
    marks = loader.broker.watermarks(topic)
    kept = [OffsetRange(p, mark.low, mark.high) for p, mark in marks.items()]
    return check.run(topic, kept, lambda _: None).findings


@pytest.fixture
def loaded(make_loader: MakeLoader, contract: Contract) -> Loader:
    """A loader that has loaded mixed messages."""
    loader = filled(make_loader, contract, 3000, broken_share=0.02, tombstone_share=0.02)
    load(loader)
    return loader


def test_correct_loads_have_no_findings(loaded: Loader, make_loader: MakeLoader) -> None:
    filled(make_loader, loaded.contract, 2000)
    load(make_loader(loaded.contract))
    verdict = audit(loaded)
    assert verdict.findings == []
    assert verdict.offsets == 5000
    for s in verdict.partitions:
        assert s.published == s.loaded + s.quarantined + s.skipped
        assert s.open == 0
        assert min(s.loaded, s.quarantined, s.skipped) > 0
    assert verifier(loaded).against_broker() == []
    assert content(loaded) == []


def test_offsets_that_are_not_loaded_are_counted_without_a_finding(
    loaded: Loader, make_loader: MakeLoader
) -> None:
    filled(make_loader, loaded.contract, 100)
    verdict = audit(loaded)
    assert verdict.findings == []
    assert sum(s.open for s in verdict.partitions) == 100


Damage = Callable[[Loader], None]


def _drop_row(loader: Loader) -> None:
    run(loader, "ALTER TABLE orders DELETE WHERE _partition = 1 AND _offset = (SELECT min(_offset)"
        " FROM orders WHERE _partition = 1 AND _offset > 10)")  # fmt: skip


def _duplicate_row(loader: Loader) -> None:
    run(loader, "INSERT INTO orders SELECT * FROM orders WHERE _partition = 2 LIMIT 1")


def _add_stray_row(loader: Loader) -> None:
    run(
        loader,
        "INSERT INTO orders SELECT * REPLACE (toInt64(999999) AS _offset) FROM orders LIMIT 1",
    )


def _delete_refused(loader: Loader) -> None:
    table = f"{loader.ledger.database}.quarantine_rows"
    run(loader, f"ALTER TABLE {table} DELETE WHERE offset = (SELECT min(offset) FROM {table})")


def _add_row_for_refused(loader: Loader) -> None:
    _add_row(loader, "SELECT partition, offset FROM {db}.quarantine LIMIT 1")


def _add_row_for_tombstone(loader: Loader) -> None:
    _add_row(loader, "SELECT partition, low AS offset FROM {db}.load_skips LIMIT 1")


def _add_row(loader: Loader, query: str) -> None:
    (place,) = loader.clickhouse.rows(query.format(db=loader.ledger.database))
    run(
        loader,
        f"INSERT INTO orders SELECT * REPLACE (toInt32({place['partition']}) AS _partition,"
        f" toInt64({place['offset']}) AS _offset) FROM orders LIMIT 1",
    )


def _leave_staging(loader: Loader) -> None:
    ended = loader.ledger.loads_of(loader.contract.topic)[0]
    table = loader.ledger.staging.rows(ended).table
    run(loader, f"INSERT INTO {table} (_load) VALUES ({ended.number})")


def run(loader: Loader, sql: str) -> None:
    loader.clickhouse.execute(sql, settings={"mutations_sync": 2})


@pytest.mark.parametrize(
    ("damage", "kinds"),
    [
        (_drop_row, {"missing": 1, "ledger": 0}),
        (_duplicate_row, {"doubled": 1, "ledger": 0}),
        (_add_stray_row, {"unexplained": 1, "ledger": 0}),
        (_delete_refused, {"missing": 1}),
        (_add_row_for_refused, {"doubled": 1, "ledger": 0}),
        (_add_row_for_tombstone, {"doubled": 1, "ledger": 0}),
        (_leave_staging, {"leftover": 0}),
    ],
)
def test_every_kind_of_damage_is_found_with_its_offsets(
    loaded: Loader, damage: Damage, kinds: dict[str, int]
) -> None:
    damage(loaded)
    findings = audit(loaded).findings
    assert {f.kind: sum(r.count for r in f.ranges) for f in findings} == kinds, findings


def test_a_gap_and_a_duplicate_with_an_unchanged_total_are_both_found(loaded: Loader) -> None:
    _drop_row(loaded)
    run(loaded, "INSERT INTO orders SELECT * FROM orders WHERE _partition = 1 LIMIT 1")
    assert {f.kind for f in audit(loaded).findings} == {"missing", "doubled"}


def test_a_reload_repairs_deleted_and_doubled_rows(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """What a person did to the rows of a replaced load is over; other loads are still compared."""
    loader = filled(make_loader, contract, 40, partitions=1, broken_share=0, tombstone_share=0)
    finish(loader, Request(low="0", high="30"))
    other = finish(make_loader(contract), Request(low="30"))
    reload = Request(offsets=(OffsetRange(0, 0, 20),), existing="replace")
    for damage in (
        "ALTER TABLE orders DELETE WHERE _offset = 5",
        "INSERT INTO orders SELECT * FROM orders WHERE _offset = 6",
    ):
        run(loader, damage)
        assert audit(loader).findings != []
        finish(make_loader(contract), reload)
        assert audit(loader).findings == []
    run(loader, "ALTER TABLE orders DELETE WHERE _offset = 35")
    missing, ledger = audit(loader).findings
    assert (missing.kind, missing.ranges) == ("missing", (OffsetRange(0, 35, 36),))
    assert ledger.kind == "ledger"
    assert other in ledger.text


def test_overlapping_loads_are_found(loaded: Loader) -> None:
    # No writer of the log does this.
    run(
        loaded,
        f"INSERT INTO {loaded.ledger.database}.topic_log (topic, entry, load_id, state, chunks)"
        f" VALUES ('{loaded.contract.topic}', 1001, 'other', 'reserved', [[(0, 5, 8)]]),"
        f" ('{loaded.contract.topic}', 1002, 'other', 'published', [])",
    )
    (finding,) = audit(loaded).findings
    assert (finding.kind, finding.ranges) == ("ledger", (OffsetRange(0, 5, 8),))


def test_a_message_recorded_as_absent_is_found_by_reading_the_topic(loaded: Loader) -> None:
    """A skip covers an existing message, which only reading the topic reveals."""
    _drop_row(loaded)
    (missing,) = (f for f in audit(loaded).findings if f.kind == "missing")
    (deleted,) = missing.ranges
    database = loaded.ledger.database
    run(
        loaded,
        f"INSERT INTO {database}.load_skips SELECT load_id, topic, attempt, {deleted.partition},"
        f" {deleted.low}, {deleted.high}, 'absent' FROM {database}.load_skips LIMIT 1",
    )
    assert {f.kind for f in audit(loaded).findings} == {"ledger"}
    (finding,) = verifier(loaded).against_broker()
    assert (finding.kind, finding.ranges) == ("broker", (deleted,))


@pytest.mark.parametrize(
    "column", ["total_price = total_price + 1", "customer_name = ''", "_correlation_id = 'x'"]
)
def test_a_changed_row_is_found_by_the_content_check(loaded: Loader, column: str) -> None:
    run(loaded, f"ALTER TABLE orders UPDATE {column} WHERE _partition = 3 AND _offset % 50 = 7")
    assert audit(loaded).findings == []
    (finding,) = content(loaded)
    assert finding.kind == "content"
    assert {r.partition for r in finding.ranges} == {3}
    assert all(r.low % 50 == 7 for r in finding.ranges)


class Reading(Struct, frozen=True, kw_only=True):
    """Columns that a person may widen."""

    name: str
    count: Annotated[int, column("Int32")]
    price: Annotated[Decimal, column("Decimal(9, 2)")]
    parts: Annotated[list[int], column("Array(Int8)")]
    note: str = ""


def test_a_column_that_was_widened_by_hand_is_no_difference(make_loader: MakeLoader) -> None:
    contract = with_topic(contract_of(Reading, topic="readings"))
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    row = Reading(name="a", count=-5, price=Decimal("1.5"), parts=[1, -2])
    produced(loader, [msgspec.json.encode(row)] * 3)
    load(loader)
    for change in (
        "count Int64",
        "price Decimal(18, 4)",
        "parts Array(Int16)",
        "note LowCardinality(Nullable(String))",
    ):
        run(loader, f"ALTER TABLE readings MODIFY COLUMN {change}")
    assert content(loader) == []
    run(loader, "ALTER TABLE readings UPDATE note = NULL WHERE _offset = 1")
    run(loader, "ALTER TABLE readings UPDATE count = 4294967291 WHERE _offset = 2")
    (finding,) = content(loader)
    assert finding.ranges == (OffsetRange(0, 1, 2), OffsetRange(0, 2, 3))


def produced(loader: Loader, values: Sequence[bytes | None]) -> None:
    producer = loader.broker.producer()
    for value in values:
        producer.produce(loader.contract.topic, value, b"key")
    producer.flush()


def test_an_audit_of_some_offsets_ignores_the_others(loaded: Loader) -> None:
    _drop_row(loaded)
    assert audit(loaded, [OffsetRange(0, 0, 9999)]).findings == []
    assert audit(loaded, [OffsetRange(1, 0, 9999)]).findings != []


def test_absent_offsets_of_transactions_are_not_findings(
    make_loader: MakeLoader, kafka: Connection, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    servers = {"bootstrap.servers": kafka.extra["bootstrap.servers"]}
    producer = Producer(servers | {"transactional.id": contract.topic})
    producer.init_transactions()
    value = msgspec.json.encode(example_message(contract, Random(1)))
    for commit in (True, False, True):
        producer.begin_transaction()
        for _ in range(5):
            producer.produce(contract.topic, value, b"k")
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    topic = loader.broker.topic(contract.topic)
    while loader.broker.watermarks(topic)[0].high < 18:
        pass
    load(loader)
    (summary,) = audit(loader).partitions
    assert (summary.loaded, summary.skipped, summary.published) == (10, 8, 18)
    assert audit(loader).findings == []
    assert verifier(loader).against_broker() == []


def test_bounds_are_offsets_or_times(loaded: Loader) -> None:
    topic = loaded.broker.topic(loaded.contract.topic)

    def bounds(low: str | None, high: str | None) -> Any:
        return resolve_bounds(loaded.broker, topic, low, high, (1,))

    assert resolve_bounds(loaded.broker, topic, None, None) is None
    assert bounds("5", "9") == [OffsetRange(1, 5, 9)]
    end = loaded.broker.watermarks(topic)[1].high
    assert bounds("2020-01-01", "2100-01-01T00:00Z") == [OffsetRange(1, 0, end)]
    for low, high in (
        ("yesterday", None),
        ("5", "1"),
        ("5", "5"),
        ("2026-02-01", "2026-01-01"),
        (None, "1960-01-01"),
    ):
        with pytest.raises(PlanError):
            bounds(low, high)
    with pytest.raises(UnknownPartition) as raised:
        resolve_bounds(loaded.broker, topic, None, None, (9,))
    assert raised.value.partition == 9


def test_a_message_that_clickhouse_refuses_does_not_end_the_check_of_content(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scratch table is made narrower, as only ClickHouse refuses then what is loaded."""
    loader = filled(make_loader, contract, 200)
    load(loader)
    create = ClickHouseSchemaMapper.create_staging

    def narrower(mapper: ClickHouseSchemaMapper, table: str, comment: str = WORK_TABLE) -> str:
        declared = create(mapper, table, comment)
        narrow = declared.replace("`order_id` String", "`order_id` FixedString(3)")
        assert narrow != declared
        return narrow

    monkeypatch.setattr(ClickHouseSchemaMapper, "create_staging", narrower)
    (finding,) = content(loader)
    assert finding.text.startswith(f"{len(loaded_offsets(loader)):,} rows differ")


def loaded_offsets(loader: Loader) -> list[int]:
    return [row["_offset"] for row in loader.clickhouse.rows("SELECT _offset FROM orders")]
