"""Refused messages are stored unchanged, filtered, displayed safely and exported."""

import json
from pathlib import Path
from random import Random

import msgspec
import pytest

from include.schemas.orders import contract as orders
from sluice.audit.refusal_reasons import RefusalReasons
from sluice.authoring.examples import example_message
from sluice.contract import Breaker, Contract
from sluice.decode.tracing import TracingHelper
from sluice.errors import BreakerTripped
from sluice.loader import Loader
from sluice.store.load_state import State
from sluice.store.quarantine import Quarantine, printable
from sluice.store.request import RefusalFilter
from tests.commands import Run
from tests.conftest import MakeLoader, load

HOSTILE = b'<script>alert(1)</script>\x1b[31m\x00\xff\'; DROP TABLE orders; --{"a":"{{x}}"}'


def send(loader: Loader, *values: bytes) -> None:
    producer = loader.broker.producer()
    for number, value in enumerate(values):
        headers: list[tuple[str, str | bytes | None]] = [("h<b>", HOSTILE), ("none", None)]
        producer.produce(loader.contract.topic, value, HOSTILE + b"%d" % number, headers=headers)
    producer.flush()


@pytest.fixture
def refused(make_loader: MakeLoader, contract: Contract) -> Loader:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    send(loader, HOSTILE, HOSTILE + b"2", b'{"order_id":1}', b"\x00\x01")
    load(loader)
    return loader


def test_a_refused_message_is_stored_with_all_its_bytes(refused: Loader) -> None:
    store = Quarantine(refused.clickhouse, refused.ledger.database)
    messages = list(store.messages(RefusalFilter(topic=refused.contract.topic)))
    assert [m.offset for m in messages] == [0, 1, 2, 3]
    first = messages[0]
    assert (first.key, first.value) == (HOSTILE + b"0", HOSTILE)
    assert first.headers == [("h<b>", HOSTILE), ("none", None)]
    assert first.status == "quarantined"
    assert first.timestamp.year >= 2026


def test_a_page_is_bounded_in_bytes(refused: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay holds one page at a time, and messages may have megabytes."""
    store, wanted = (
        Quarantine(refused.clickhouse, refused.ledger.database),
        RefusalFilter(topic=refused.contract.topic),
    )
    (whole,) = store.pages(wanted)
    sizes = [2 * len(HOSTILE) + 1 + len(m.value or b"") for m in whole]
    for most_bytes, counts in ((1, [1, 1, 1, 1]), (sum(sizes[:2]), [2, 2]), (10**6, [4])):
        monkeypatch.setattr("sluice.store.quarantine.PAGE_BYTES", most_bytes)
        pages = list(store.pages(wanted))
        assert [len(page) for page in pages] == counts
        assert [m for page in pages for m in page] == whole
        assert list(store.messages(wanted, most=3)) == whole[:3]


def test_messages_are_filtered_by_reason_field_and_offset(refused: Loader) -> None:
    store, topic = Quarantine(refused.clickhouse, refused.ledger.database), refused.contract.topic

    def offsets(**conditions: object) -> list[int]:
        wanted = RefusalFilter(topic=topic, **conditions)  # type: ignore[arg-type]
        return [m.offset for m in store.messages(wanted)]

    assert offsets(reason="not_json") == [0, 1]
    assert offsets(reason="wrong_type", field="order_id") == [2]
    assert offsets(reason="unknown_wire_format") == [3]
    assert offsets(low=1, high=3) == [1, 2]
    assert offsets(partition=7) == []
    assert offsets(status="pending") == []
    assert offsets(field="'; DROP TABLE orders; --") == []
    most_frequent, *_ = store.groups(RefusalFilter(topic=topic))
    assert (most_frequent.reason, most_frequent.count) == ("not_json", 2)


def test_paging_does_not_lose_or_repeat_a_message(
    refused: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.store.quarantine.PAGE", 3)
    store = Quarantine(refused.clickhouse, refused.ledger.database)
    wanted = RefusalFilter(topic=refused.contract.topic)
    assert [m.offset for m in store.messages(wanted)] == [0, 1, 2, 3]
    assert [m.offset for m in store.messages(wanted, 2)] == [0, 1]


def test_displayed_bytes_cannot_control_a_terminal() -> None:
    text = printable(HOSTILE)
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "<script>" in text
    assert "\\x1b" in text
    assert "\\xff" in text


def test_the_commands_list_show_and_export(
    refused: Loader, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = refused.contract
    monkeypatch.setattr("sluice.cli.commands.quarantine.find", lambda topic: contract)
    topic = contract.topic
    listed = run("quarantine", "list", topic)
    assert listed.exit_code == 0, listed.output
    assert "unknown_wire_format" in listed.output
    one = run("quarantine", "show", topic, "0", "0")
    assert "<script>alert(1)</script>\\x1b[31m\\x00\\xff'; DROP TABLE" in one.output
    assert "header h<b>" in one.output
    missing = run("quarantine", "show", topic, "0", "99")
    assert missing.exit_code == 1
    assert "offset 99" in missing.output
    path = tmp_path / "out.ndjson"
    assert "wrote 4 messages" in run("quarantine", "export", topic, str(path)).output
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert msgspec.json.decode(f'"{lines[0]["value_base64"]}"', type=bytes) == HOSTILE
    assert lines[0]["value_text"] is None
    assert lines[2]["value_text"] == '{"order_id":1}'
    assert refused.clickhouse.rows("SELECT count() AS n FROM orders") == [{"n": 0}]


def test_a_long_run_of_refused_messages_stops_a_drain_early(
    make_loader: MakeLoader, contract: Contract
) -> None:
    strict = msgspec.structs.replace(contract, breaker=Breaker(max_consecutive=300))
    loader = make_loader(strict)
    loader.broker.create_topic(contract.topic, 1)
    good = msgspec.json.encode(example_message(orders, Random(1)))
    send(loader, *[b"no"] * 299, good, *[b"no"] * 5000)
    plan = loader.plan()
    with pytest.raises(BreakerTripped) as raised:
        loader.drain(plan.load_id, 0)
    error = raised.value
    assert (error.topic, error.partition) == (contract.topic, 0)
    assert error.offset is not None and 599 <= error.offset < 2000
    assert loader.known(plan.load_id).state is State.HELD
    refusals = loader.clickhouse.rows(
        f"SELECT count() AS n FROM {loader.ledger.database}.quarantine_rows"
    )
    assert refusals[0]["n"] < 2000
    assert loader.report(plan.load_id).error == str(error)


def test_a_refused_message_has_the_correlation_id_that_its_row_would_have(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Of several headers the last one counts that is UTF-8; without one, the body."""
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    order = example_message(contract, Random(1))
    traced = TracingHelper.add_tracing(order, "in the body")
    fields = msgspec.to_builtins(traced)
    valid = msgspec.json.encode(traced)
    invalid = msgspec.json.encode(fields | {"order_id": 5})
    producer = loader.broker.producer()
    sent: list[list[tuple[str, str | bytes | None]]] = [
        [("correlation_id", b"first"), ("X-Correlation-Id", b"last"), ("a", b"b")],
        [("correlation_id", b"text"), ("correlation_id", b"\xff\xfe")],
        [("correlation_id", b"\xff\xfe")],
        [],
    ]
    for headers in sent:
        producer.produce(contract.topic, valid, headers=headers)
        producer.produce(contract.topic, invalid, headers=headers)
    producer.flush()
    load_id = load(loader)
    ids = [
        r["id"]
        for r in loader.clickhouse.rows("SELECT _correlation_id AS id FROM orders ORDER BY _offset")
    ]
    assert ids == ["last", "text", "in the body", "in the body"]
    reasons = RefusalReasons(
        contract,
        loader.clickhouse,
        loader.ledger.database,
        load_id,
        [
            r.attempt
            for r in loader.ledger.attempts.accepted(loader.contract.topic, load_id).values()
        ],
    )
    places = [(0, offset) for offset in (1, 3, 5, 7)]
    assert reasons.correlation_ids(places) == dict(zip(places, ids, strict=True))
    (example,) = reasons.count()
    assert example.correlation_id == "last"
