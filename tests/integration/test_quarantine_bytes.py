"""Quarantine keeps messages to the byte: what is null stays null, what is empty stays empty."""

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from fastapi import Request as HttpRequest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import Struct

from sluice.authoring.examples import example_message
from sluice.contract import Breaker, Contract, Table
from sluice.loader import Loader
from sluice.records import UNREADABLE
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse
from sluice.store.quarantine import Quarantine, RefusedMessage, export_record
from sluice.store.request import RefusalFilter, Request
from tests.commands import Run
from tests.conftest import MakeLoader, load, with_topic
from tests.contracts import contract_of
from tests.loads import finish, sums, verdict
from tests.raw_producer import produce_raw

Headers = list[tuple[str, bytes | None]]


class Thing(Struct, frozen=True, kw_only=True):
    """A thing."""

    name: str


BREAKER = Breaker(max_refused_share=1.0, max_consecutive=0)
KEYS = (None, b"", b"null", b"\x00", b"\xff\xfe", "schlüssel".encode())
VALUES = (b"", b"null", b"\x00", b"{}", b"\xff\xfe")
HEADERS: tuple[Headers, ...] = (
    [],
    [("a", None)],
    [("a", b"")],
    [("a", None), ("a", b""), ("b", b"null"), ("a", b"\x00\xff"), ("", b""), ("é", None)],
    [("z", b"1"), ("y", None), ("z", b"2"), ("a", b"")],
)


@pytest.fixture
def refused(make_loader: MakeLoader) -> Loader:
    """A load that refused each combination of keys, values and headers, in one partition."""
    table = Table(name="things", order_by=("name",))
    loader = make_loader(
        with_topic(contract_of(Thing, topic="things", table=table, breaker=BREAKER))
    )
    loader.broker.create_topic(loader.contract.topic, 1)
    producer = loader.broker.producer()
    for key, value, headers in combinations():
        producer.produce(loader.contract.topic, value, key, headers=headers)  # type: ignore[arg-type]
    producer.flush()
    load(loader)
    return loader


def combinations() -> list[tuple[bytes | None, bytes, Headers]]:
    return [(key, value, headers) for key in KEYS for value in VALUES for headers in HEADERS]


def kept(loader: Loader) -> list[RefusedMessage]:
    store = Quarantine(loader.clickhouse, loader.ledger.database)
    return list(store.messages(RefusalFilter(topic=loader.contract.topic)))


def test_null_and_empty_are_kept_apart_in_the_table(refused: Loader) -> None:
    """Read by clickhouse-connect from the view, without the library's own reader."""
    result = refused.clickhouse.client.query(
        "SELECT q.key, q.value, q.headers FROM"
        f" {refused.ledger.database}.quarantine AS q ORDER BY q.offset",
        column_formats={"q.key": "bytes", "q.value": "bytes"},
        query_formats={"String": "bytes"},
    )
    expected = [
        (key, value, [(name.encode(), content) for name, content in headers])
        for key, value, headers in combinations()
    ]
    assert [(row[0], row[1], row[2]) for row in result.result_rows] == expected


def test_null_and_empty_are_kept_apart_for_readers_and_exports(refused: Loader) -> None:
    messages = kept(refused)
    assert [(m.key, m.value, m.headers) for m in messages] == combinations()
    for message in messages:
        record = json.loads(msgspec.json.encode(export_record(message)))
        assert (record["key_base64"] is None) == (message.key is None)
        assert (record["key_base64"] == "") == (message.key == b"")
        assert record["key_text"] == text_of(message.key)
        nulls = [header["value_base64"] is None for header in record["headers"]]
        assert nulls == [content is None for _, content in message.headers]


def text_of(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def test_the_commands_show_and_export_keep_null_and_empty_apart(
    refused: Loader, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract, topic = refused.contract, refused.contract.topic
    monkeypatch.setattr("sluice.cli.commands.quarantine.find", lambda topic: contract)
    shown: dict[Any, list[str]] = {}
    for number, (key, value, headers) in enumerate(combinations()):
        if value == b"" and headers == HEADERS[3]:
            shown[key] = run("quarantine", "show", topic, "0", str(number)).output.splitlines()
    assert "key, null" in shown[None]
    assert "key, 0 bytes" in shown[b""]
    assert "key, 4 bytes     null" in shown[b"null"]
    lines = shown[None]
    first = lines.index("header a, null")
    assert lines[first : first + 6] == [
        "header a, null",
        "header a, 0 bytes",
        "header b, 4 bytes null",
        "header a, 2 bytes \\x00\\xff",
        "header , 0 bytes",
        "header é, null",
    ]
    assert "value, 0 bytes:" in lines
    path = tmp_path / "out.ndjson"
    run("quarantine", "export", topic, str(path))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    keys = [(record["key_base64"], record["value_base64"]) for record in records]
    assert (None, "") in keys
    assert ("", "") in keys
    assert records[3]["headers"][:2] == [
        {"name": "a", "value_base64": None},
        {"name": "a", "value_base64": ""},
    ]


def test_a_replay_keeps_null_and_empty_apart(refused: Loader, make_loader: MakeLoader) -> None:
    replaying = make_loader(refused.contract)
    account = sums(replaying, finish(replaying, replay(refused.contract)))
    assert account["quarantined"] == len(combinations())
    assert [(m.key, m.value, m.headers) for m in kept(replaying)] == combinations()


def replay(contract: Contract) -> Request:
    return Request(refused=RefusalFilter(topic=contract.topic))


def test_rows_that_are_older_than_the_columns_read_as_before(
    refused: Loader, clickhouse: ClickHouse, make_loader: MakeLoader
) -> None:
    """An empty key was null on replay; the value of a header was empty."""
    table = f"{refused.ledger.database}.quarantine_rows"
    for column in ("key_null", "value_null", "null_headers", "timestamp_ms"):
        clickhouse.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    clickhouse.execute(f"TRUNCATE TABLE {refused.ledger.database}.bookkeeping")
    before = kept_timestamps(clickhouse, table)
    again = make_loader(refused.contract)
    again.ledger.create()
    messages = kept(again)
    assert [(m.key, m.value) for m in messages] == [(k or None, v) for k, v, _ in combinations()]
    assert [m.headers for m in messages] == [
        [(name, content or b"") for name, content in headers] for _, _, headers in combinations()
    ]
    assert [m.timestamp for m in messages] == before
    assert all(m.timestamp_ms == round(m.timestamp.timestamp() * 1000) for m in messages)


def kept_timestamps(clickhouse: ClickHouse, table: str) -> list[Any]:
    return [
        r["timestamp"] for r in clickhouse.rows(f"SELECT timestamp FROM {table} ORDER BY offset")
    ]


MAYBE_BYTES = st.none() | st.binary(max_size=20)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
"""The client ends a name at its first zero byte."""


@hypothesis_settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            MAYBE_BYTES,
            st.binary(max_size=20),
            st.lists(st.tuples(NAMES, MAYBE_BYTES), max_size=6),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_any_message_is_kept_to_the_byte(
    make_loader: MakeLoader, messages: list[tuple[bytes | None, bytes, Headers]]
) -> None:
    table = Table(name="things", order_by=("name",))
    loader = make_loader(
        with_topic(contract_of(Thing, topic="things", table=table, breaker=BREAKER))
    )
    loader.broker.create_topic(loader.contract.topic, 1)
    producer = loader.broker.producer()
    for key, value, headers in messages:
        producer.produce(loader.contract.topic, value, key, headers=headers)  # type: ignore[arg-type]
    producer.flush()
    load(loader)
    assert [(m.key, m.value, m.headers) for m in kept(loader)] == messages


def test_a_header_name_that_is_not_utf8_stops_no_load(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    """The client does not return such a name; the other headers count, and so does the value."""
    contract = msgspec.structs.replace(contract, breaker=BREAKER)
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    good = msgspec.json.encode(example_message(contract, Random(1)))
    headers = [(b"\xff\xfe", b"1"), (b"correlation_id", b"abc"), (b"\xff", b""), (b"ok", b"2")]
    produce_raw(kafka, contract.topic, good, headers)
    produce_raw(kafka, contract.topic, b"no", headers)
    load_id = load(loader)
    account = sums(loader, load_id)
    assert (account["loaded"], account["quarantined"]) == (1, 1)
    rows = loader.clickhouse.rows("SELECT _correlation_id AS id FROM orders")
    assert rows == [{"id": "abc"}]
    (message,) = kept(loader)
    assert message.headers == [
        (UNREADABLE, b"1"),
        ("correlation_id", b"abc"),
        (UNREADABLE, b""),
        ("ok", b"2"),
    ]
    assert verdict(loader).findings == []


def test_the_page_shows_null_and_empty_apart(refused: Loader) -> None:
    from sluice.airflow.pages.responses import render_page  # its imports take seconds

    page = render_page(
        HttpRequest({"type": "http", "headers": [], "path": "/", "query_string": b""}),
        "quarantine.html",
        topic=refused.contract.topic,
        filter=RefusalFilter(topic=refused.contract.topic),
        groups=[],
        messages=kept(refused),
        most=100,
        may_replay=True,
        refusal_text=lambda reason, field, text: text,
        conf={},
    )
    html = bytes(page.body).decode()
    assert "key <em>null</em><br>header <code>a</code> <em>null</em>" in html
    assert "key <em>empty</em><br>header <code>a</code> <em>empty</em>" in html
    assert "key <code>null</code>" in html
    assert "<p>value <em>empty</em></p>" in html
