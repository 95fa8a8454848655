"""Rows that only ClickHouse refuses: found whatever the error is, and at a bounded cost."""

import json
import uuid
from datetime import date
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from sluice.contract import Table, Version
from sluice.contract.columns import STAGED
from sluice.drain.row_insert import COLUMNS, RowInsert
from sluice.errors import EngineError
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse, connect
from sluice.store.staging import StagedRows
from tests.conftest import MakeLoader, load
from tests.contracts import contract_of
from tests.loads import sums

BAD = {
    "Enum8('red' = 1)": ("green", "red", 691),
    "IPv4": ("1.2.3.999", "1.2.3.4", 675),
    "IPv6": ("zz", "::1", 676),
    "UUID": ("no", "6f6f6f6f-6f6f-6f6f-6f6f-6f6f6f6f6f6f", 376),
    "FixedString(2)": ("abc", "ab", 131),
    "Decimal(9, 2)": ("99999999999", "1.25", 69),
    "DateTime64(3)": ("never", "2026-01-31 14:00:00", 41),
    "Date32": ("never", "2026-01-31", 38),
    "Bool": ("perhaps", True, 467),
    "Int8": ("many", 1, 27),
    "Float32": ("many", 1.5, 72),
    "Array(Int8)": (["many"], [1], 27),
    "Array(Array(IPv4))": ([["1.2.3.4"], ["1"]], [], 675),
    "Map(String, Int8)": (5, {"a": 1}, 27),
    "LowCardinality(FixedString(2))": ("abc", "ab", 131),
    "Nullable(IPv4)": ("1", None, 675),
}
"""Type → a value that it refuses, one that it takes, and the code of the error."""


@pytest.fixture
def clickhouse(database: Connection) -> ClickHouse:
    """A client in the test's own database."""
    return connect(database)


def table_of(clickhouse: ClickHouse, type_: str) -> RowInsert:
    """An empty staging table whose rows have one field of a type."""
    columns = "_load UInt64, _attempt LowCardinality(String), _partition Int32, _offset Int64,"
    columns += " _timestamp Int64, _schema_version String, _correlation_id String,"
    columns += " _trace_id String, _span_id String"
    clickhouse.execute("DROP TABLE IF EXISTS staged")
    clickhouse.execute(
        f"CREATE TABLE staged ({columns}, `{STAGED}` Tuple(value {type_}))"
        " ENGINE = MergeTree ORDER BY (_attempt, _partition, _offset)"
    )
    return RowInsert(clickhouse, StagedRows("staged", "_load = 7"), 7)


def line(offset: int, value: object) -> bytes:
    fixed: dict[str, object] = {"_load": 7, "_attempt": "1", "_partition": 3, "_offset": offset}
    fixed |= {"_timestamp": 0, STAGED: {"value": value}}
    return msgspec.json.encode([fixed.get(name, "") for name in COLUMNS])


def staged(clickhouse: ClickHouse) -> set[int]:
    rows = clickhouse.rows("SELECT _offset AS offset FROM staged WHERE _attempt = '1'")
    offsets = [row["offset"] for row in rows]
    assert len(offsets) == len(set(offsets))
    return set(offsets)


@pytest.mark.parametrize("type_", BAD)
@pytest.mark.parametrize("bad", [{0}, {2}, {1, 2}, {0, 1, 2, 3, 4}, {0, 2, 4}])
def test_the_refused_rows_of_every_type_are_found_and_the_others_are_staged(
    clickhouse: ClickHouse, type_: str, bad: set[int]
) -> None:
    wrong, right, code = BAD[type_]
    rows = table_of(clickhouse, type_)
    refused = rows.run([line(n, wrong if n in bad else right) for n in range(5)], "token")
    assert {position for position, _ in refused} == {(3, n) for n in bad}
    assert {refusal.code for _, refusal in refused} == {code}
    assert {refusal.field for _, refusal in refused} <= {"value", ""}
    assert all("(" in r.message and "\n" not in r.message for _, r in refused)
    assert staged(clickhouse) == set(range(5)) - bad


def test_a_single_row_that_is_refused_is_found(clickhouse: ClickHouse) -> None:
    rows = table_of(clickhouse, "IPv4")
    ((position, refusal),) = rows.run([line(7, "nowhere")], "token")
    assert (position, refusal.code, refusal.field) == ((3, 7), 675, "value")


def test_thousands_of_refused_rows_cost_few_inserts(
    clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = table_of(clickhouse, "IPv4")
    insert, inserts = clickhouse.insert_lines, []

    def counted(*arguments: object, **named: object) -> None:
        inserts.append(arguments)
        insert(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(clickhouse, "insert_lines", counted)
    lines = [line(n, "1.2.3.4" if n % 100 == 0 else "nowhere") for n in range(4096)]
    refused = rows.run(lines, "token")
    assert len(refused) == 4096 - 41
    assert staged(clickhouse) == set(range(0, 4096, 100))
    assert len(inserts) < 30


def test_an_error_that_is_not_about_the_rows_is_raised(clickhouse: ClickHouse) -> None:
    rows = table_of(clickhouse, "IPv4")
    clickhouse.execute("DROP TABLE staged")
    with pytest.raises(EngineError) as raised:
        rows.run([line(0, "1.2.3.4"), line(1, "nowhere")], "token")
    assert raised.value.name == "UNKNOWN_TABLE"


def test_a_table_that_refuses_every_row_blames_none(clickhouse: ClickHouse) -> None:
    rows = table_of(clickhouse, "IPv4")
    clickhouse.execute("ALTER TABLE staged DROP COLUMN _trace_id")
    with pytest.raises(EngineError) as raised:
        rows.run([line(0, "1.2.3.4"), line(1, "1.2.3.4")], "token")
    assert raised.value.name == "NO_SUCH_COLUMN_IN_TABLE"


def test_errors_are_one_sentence_and_hide_sensitive_values(database: Connection) -> None:
    body = line(0, "my secret") + b"\n"
    for hides in (False, True):
        clickhouse = connect(database, hides_values=hides)
        table_of(clickhouse, "IPv4")
        with pytest.raises(EngineError) as raised:
            clickhouse.insert_lines("staged", COLUMNS, body, "JSONCompactEachRow", "token")
        error = raised.value
        assert (error.code, error.name, error.field) == (675, "CANNOT_PARSE_IPV4", "value")
        assert "\n" not in str(error)
        assert "http" not in str(error)
        assert "version" not in str(error)
        assert error.__cause__ is None
    assert "secret" not in str(error)


class Talk(Struct, frozen=True):
    text: str


def parse_twice(message: dict[str, Any]) -> dict[str, Any]:
    return {"text": json.loads(message["raw"])["text"]}


def test_a_surrogate_from_a_lift_function_refuses_its_message_and_no_other(
    make_loader: MakeLoader,
) -> None:
    topic = f"talk-{uuid.uuid4().hex[:8]}"
    versions = (
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="2.0", released=date(2026, 1, 1), lift=parse_twice),
    )
    table = Table(name="talk", order_by=("text",))
    loader = make_loader(contract_of(Talk, topic=topic, versions=versions, table=table))
    loader.broker.create_topic(topic, 1)
    producer = loader.broker.producer()
    for raw in ('{"text": "a"}', '{"text": "\\ud83d"}', '{"text": "b"}', '{"no": "\\ud83d"}'):
        producer.produce(topic, json.dumps({"raw": raw}))
    producer.flush()
    account = sums(loader, load(loader))
    assert (account["loaded"], account["quarantined"], account["difference"]) == (2, 2, 0)
    refused = loader.clickhouse.rows(
        f"SELECT offset, reason FROM {loader.ledger.database}.quarantine ORDER BY offset"
    )
    assert [row["offset"] for row in refused] == [1, 3]
    assert refused[0]["reason"] == "bad_encoding"
