"""Contracts from the messages of a real topic, and their first loads."""

import json
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

import include.schemas
from sluice.authoring.lint import lint
from sluice.authoring.new_topic import sampling
from sluice.contract import Contract
from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.new_topics import imported

SENT = 300


def message_of(number: int, random: Random) -> dict[str, Any]:
    """One message like those of a real topic: many types, gaps, and difficult names."""
    message: dict[str, Any] = {
        "thing-id": f"t-{number:05}",
        "made_at": f"2026-03-04T05:06:{number % 60:02}.{number:06}Z",
        "day": "2026-03-04",
        "maker": str(uuid.UUID(int=random.getrandbits(128), version=4)),
        "size": random.choice([1, 2.5, 10**12]),
        "count": random.randrange(-5, 100),
        "serial": 2**63 + number,
        "ok": random.random() < 0.5,
        "class": random.choice(["a", "b", "c"]),
        "größe": "xl",
        "user.name": None if number % 7 else 'Søren "O\'Brien" 😀',
        "address": {"street": f"Street {number}", "zip": None if number % 2 else "1012"},
        "lines": [
            {"sku": f"s{n}", "price": 1.5 * n, "tags": ["x", None]}
            | ({"tax": {"rate": 0.25, "notes": []}} if n else {})
            for n in range(number % 4)
        ],
        "labels": {f"label {random.randrange(1000)}": str(number)},
        "by_day": {f"2026-03-{day:02}": [day] for day in range(1, 1 + number % 3)},
        "nothing": None,
        "empty": {},
    }
    if number % 5 == 0:
        message["shipping"] = {"to": "home", "parts": [1, 2], "inner": {"x": None}}
    if number % 6 == 0:
        message |= {"list": [[1], []], "date": "2026-03-04", "note": "n"}
    return message


def fill(broker: Broker, topic: str, values: Sequence[bytes | None], partitions: int = 3) -> None:
    broker.create_topic(topic, partitions)
    producer = broker.producer()
    for number, value in enumerate(values):
        producer.produce(topic, value, key=str(number), partition=number % partitions)
    producer.flush()


@pytest.fixture
def topic() -> str:
    return f"things-{uuid.uuid4().hex[:8]}"


def table_of(contract: Contract, make_loader: MakeLoader) -> list[dict[str, Any]]:
    """Load the topic and return the table's rows; the quarantine must be empty."""
    loader = make_loader(contract)
    load(loader)
    refused = loader.clickhouse.rows(
        f"SELECT reason, field, message FROM {loader.ledger.database}.quarantine LIMIT 3"
    )
    assert refused == []
    return loader.clickhouse.rows(f"SELECT * FROM `{contract.table.name}` ORDER BY `thing-id`")


def test_the_first_load_of_a_contract_from_its_topic_loads_everything(
    run: Run, broker: Broker, topic: str, tmp_path: Path, make_loader: MakeLoader
) -> None:
    random = Random(1)
    messages = [message_of(number, random) for number in range(SENT)]
    # Every tenth has a registry's header, and one is a tombstone.
    values: list[bytes | None] = [
        (b"\x00\x00\x00\x00\x07" if n % 10 == 0 else b"") + json.dumps(message).encode()
        for n, message in enumerate(messages)
    ]
    fill(broker, topic, [*values, None])

    result = run("new-topic", topic, "--from-topic", "--output", str(tmp_path), "--owner", "us")
    assert result.exit_code == 0, result.output
    assert f"{SENT} messages sampled" in result.output
    assert "ignored, because they are not JSON objects: 1 tombstone" in result.output
    assert "the contract reads every sampled message" in result.output

    contract = imported(next(tmp_path.glob("*.py")))
    assert lint(contract) == []
    assert (contract.key, contract.owner) == ("thing_id", "us")
    assert contract.table.order_by == ("made_at", "`thing-id`")
    rows = table_of(contract, make_loader)
    assert len(rows) == SENT
    row, message = rows[18], messages[18]
    assert row["thing-id"] == "t-00018"
    assert row["made_at"].microsecond == 18
    for name in ("size", "count", "serial", "ok", "class", "größe", "user.name", "labels", "list"):
        assert row[name] == message[name], name
    assert (row["address_street"], row["address_zip"]) == ("Street 18", "1012")
    assert [line["price"] for line in row["lines"]] == [0.0, 1.5]
    assert [line["tax"] and line["tax"]["rate"] for line in row["lines"]] == [None, 0.25]
    assert [r["shipping_given"] for r in rows[:6]] == [True, False, False, False, False, True]
    assert rows[5]["shipping_parts"] == [1, 2]


def test_the_contract_is_found_and_loaded_by_its_name(
    run: Run,
    broker: Broker,
    topic: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unimported: None,
) -> None:
    """``sluice new-topic things --from-topic && sluice load things``, without an edit."""
    random = Random(2)
    messages = [message_of(number, random) for number in range(50)]
    fill(broker, topic, [json.dumps(message).encode() for message in messages])
    monkeypatch.setattr(include.schemas, "__path__", [str(tmp_path)])
    made = run("new-topic", topic, "--from-topic", "--output", str(tmp_path))
    assert made.exit_code == 0, made.output
    loaded = run("load", topic)
    assert loaded.exit_code == 0, loaded.output
    assert "published" in loaded.output
    assert "versions  1.0: 50" in loaded.output


@pytest.fixture
def unimported() -> Iterator[None]:
    """Removes modules that a test adds to the project's schemas."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("include.schemas."):
            del sys.modules[name]


def test_headers_decide_the_major_version(
    run: Run, broker: Broker, topic: str, tmp_path: Path, make_loader: MakeLoader
) -> None:
    broker.create_topic(topic, 1)
    producer = broker.producer()
    for number in range(20):
        value = json.dumps({"thing-id": str(number)})
        producer.produce(topic, value, headers=[("schema_version", f"2.{number % 3}")])
    producer.flush()
    assert run("new-topic", topic, "--from-topic", "--output", str(tmp_path)).exit_code == 0
    contract = imported(next(tmp_path.glob("*.py")))
    assert contract.version.name == "2.0"
    assert len(table_of(contract, make_loader)) == 20


def test_several_types_are_an_error_with_offsets_until_the_field_is_skipped(
    run: Run, broker: Broker, topic: str, tmp_path: Path, make_loader: MakeLoader
) -> None:
    values = [b'{"thing-id":"1","size":1}', b'{"thing-id":"2","size":"big"}']
    fill(broker, topic, values, partitions=1)
    arguments = ("new-topic", topic, "--from-topic", "--output", str(tmp_path))
    result = run(*arguments)
    assert result.exit_code == 1
    assert "'size': its values have several types: int (partition 0, offset 0), str (part" in (
        result.output
    )
    assert list(tmp_path.iterdir()) == []
    assert run(*arguments, "--skip-field", "size").exit_code == 0
    assert len(table_of(imported(next(tmp_path.glob("*.py"))), make_loader)) == 2


def test_the_error_for_a_topic_without_json_lists_its_messages(
    run: Run, broker: Broker, topic: str
) -> None:
    fill(broker, topic, [None, b"nope", b"[1]"])
    result = run("new-topic", topic, "--from-topic")
    assert result.exit_code == 1
    for words in ("no message is a JSON object", "1 tombstone", "1 not_json", "--json-schema"):
        assert words in result.output


def test_a_topic_that_does_not_exist_is_an_error(run: Run) -> None:
    result = run("new-topic", "nowhere", "--from-topic")
    assert result.exit_code == 1
    assert "topic 'nowhere'" in result.output


def test_the_newest_messages_are_sampled_of_every_partition(broker: Broker, topic: str) -> None:
    fill(broker, topic, [b'{"n":%d}' % number for number in range(300)])
    sample = sampling.sample_newest(broker, topic, 30)
    assert [(m.object.partition, m.object.offset) for m in sample.messages] == [
        (partition, offset) for partition in range(3) for offset in range(90, 100)
    ]


def test_more_offsets_are_read_when_some_have_no_message(broker: Broker, topic: str) -> None:
    """Transactions leave markers: offsets without a message."""
    broker.create_topic(topic, 1)
    producer = broker.producer(**{"transactional.id": topic})
    producer.init_transactions()
    for number in range(20):
        producer.begin_transaction()
        producer.produce(topic, b'{"n":%d}' % number)
        producer.commit_transaction()
    sample = sampling.sample_newest(broker, topic, 15)
    assert [m.object.value["n"] for m in sample.messages] == list(range(5, 20))


def test_tails_are_the_last_offsets_and_the_remaining_ones_are_before_them() -> None:
    ranges = [OffsetRange(0, 10, 20), OffsetRange(1, 0, 3), OffsetRange(2, 5, 5)]
    tails = sampling.tails(ranges, 10)
    assert tails == [OffsetRange(0, 13, 20), OffsetRange(1, 0, 3)]
    assert sampling.remaining(ranges, tails) == [
        OffsetRange(0, 10, 13),
        OffsetRange(1, 0, 0),
        OffsetRange(2, 5, 5),
    ]
