"""Contracts from registered Avro and Protobuf, and their trial on the real engine."""

import json
import re
import runpy
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Annotated, Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from msgspec import Meta, Struct

from sluice.authoring.lint import lint
from sluice.authoring.new_topic.engine_trial import engine_notes
from sluice.authoring.new_topic.stored_values import changed_columns, is_same
from sluice.contract import Contract, Table, column
from sluice.contract.ddl import LINEAGE
from sluice.contract.pattern_dialect import pattern_review
from sluice.errors import ContractError, EngineError
from sluice.kafka.broker import Broker
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.contracts import contract_of
from tests.integration.test_new_topic import fill
from tests.new_topics import ROOT, imported, types_of
from tests.registry import header

AVRO = {
    "type": "record",
    "name": "Thing",
    "fields": [
        {"name": "thing_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "made_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 12},
        },
        {"name": "raw", "type": "bytes"},
        {"name": "count", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "labels", "type": {"type": "map", "values": "int"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "sku", "type": "string"},
                        {"name": "tax", "type": ["null", "double"], "default": None},
                    ],
                },
            },
        },
    ],
}


def thing(number: int) -> dict[str, Any]:
    """A message; the sample shows neither a null nor another key of the map."""
    return {
        "thing_id": uuid.UUID(int=number, version=4),
        "made_at": datetime(2026, 3, 4, 5, 6, 7, 123456 + number, tzinfo=UTC),
        "day": date(2026, 3, 4),
        "price": Decimal("123456789.123456789012") + number,
        "raw": bytes([0, 255, number]),
        "count": 2**60 + number,
        "note": "n",
        "labels": {"a": number, "b": 2},
        "kind": "AB"[number % 2],
        "lines": [{"sku": "s", "tax": 0.25}] * (1 + number % 2),
    }


@pytest.fixture
def topic() -> str:
    return f"things-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def client(registry_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchemaRegistryClient]:
    """A client of the registry that the environment names."""
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry_url)
    with SchemaRegistryClient({"url": registry_url}) as client:
        yield client


def new_topic(run: Run, topic: str, folder: Path, *given: str) -> tuple[Contract, str]:
    """The contract that the command writes, and its output."""
    result = run("new-topic", topic, "--from-topic", "--output", str(folder), *given)
    assert result.exit_code == 0, result.output
    contract = imported(next(folder.glob("*.py")))
    assert lint(contract) == []
    return contract, result.output


def loaded(contract: Contract, make_loader: MakeLoader) -> list[dict[str, Any]]:
    """The rows after a load of the topic, of which no message may be refused."""
    loader = make_loader(contract)
    load(loader)
    refused = loader.clickhouse.rows(
        f"SELECT reason, field, message FROM {loader.ledger.database}.quarantine LIMIT 3"
    )
    assert refused == []
    rows = loader.clickhouse.rows(f"SELECT * FROM `{contract.table.name}` ORDER BY _offset")
    return [{k: v for k, v in row.items() if k not in LINEAGE} for row in rows]


def avro(client: SchemaRegistryClient, topic: str, messages: list[dict[str, Any]]) -> list[bytes]:
    serialize = AvroSerializer(client, json.dumps(AVRO))
    context = SerializationContext(topic, MessageField.VALUE)
    values = [serialize(message, context) for message in messages]
    return [value for value in values if value is not None]


def test_avro_messages_become_a_contract_that_loads_them(
    run: Run,
    broker: Broker,
    topic: str,
    client: SchemaRegistryClient,
    tmp_path: Path,
    make_loader: MakeLoader,
) -> None:
    messages = [thing(number) for number in range(20)]
    fill(broker, topic, avro(client, topic, messages), partitions=1)
    contract, output = new_topic(run, topic, tmp_path)
    assert "20 messages sampled" in output
    assert "the contract reads every sampled message" in output
    assert "ClickHouse loaded and returned 20 messages unchanged" in output
    assert contract.key == "thing_id"
    types = types_of(contract)
    assert types.pop("made_at") == "DateTime64(6, 'UTC')"
    assert "Kind" not in types
    assert types == {
        "thing_id": "UUID",
        "day": "Date32",
        "price": "Decimal(38, 12)",
        "raw": "String",
        "count": "Int64",
        "note": "Nullable(String)",
        "labels": "Map(String, Int64)",
        "kind": "LowCardinality(String)",
        "lines": "Array(Tuple(`sku` String, `tax` Nullable(Float64)))",
    } or types["note"].startswith("LowCardinality")

    # Later messages have what the sample has not: nulls, and other keys of the map.
    later = [thing(3) | {"note": None, "labels": {"z": 1}, "lines": [{"sku": "t", "tax": None}]}]
    producer = broker.producer()
    for value in avro(client, topic, later):
        producer.produce(topic, value, partition=0)
    producer.flush()
    rows = loaded(contract, make_loader)
    assert len(rows) == 21
    for row, message in zip(rows, messages + later, strict=True):
        raw = row.pop("raw")
        assert raw in (message["raw"], message["raw"].hex(), message["raw"].decode("latin-1"))
        assert row == {k: v for k, v in message.items() if k != "raw"}


def test_without_the_registry_the_command_says_what_to_set(
    run: Run, broker: Broker, topic: str, client: SchemaRegistryClient, monkeypatch: Any
) -> None:
    fill(broker, topic, avro(client, topic, [thing(1)]), partitions=1)
    monkeypatch.delenv("SCHEMA_REGISTRY_URL")
    result = run("new-topic", topic, "--from-topic")
    assert result.exit_code == 1
    assert "set SCHEMA_REGISTRY_URL to read Avro and Protobuf" in result.output


def test_messages_with_an_unknown_schema_or_broken_bytes_are_counted(
    run: Run, broker: Broker, topic: str, client: SchemaRegistryClient, tmp_path: Path
) -> None:
    good = avro(client, topic, [thing(1)])
    fill(broker, topic, [*good, good[0][:7], header(99_999) + b"\x02"], partitions=1)
    _, output = new_topic(run, topic, tmp_path)
    assert "1 messages sampled" in output
    for words in ("1 unreadable_avro", "1 unknown_schema_id"):
        assert words in output


def proto_file(package: str) -> Any:
    """The descriptor of a file with two messages; things are of the second one."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Other").field.add(name="x", number=1, type=9, label=1)
    message = file.message_type.add(name="Thing")
    types = (("thing_id", 9), ("count", 3), ("size", 13), ("ratio", 1), ("raw", 12), ("ok", 8))
    for number, (name, type_) in enumerate(types, 1):
        message.field.add(name=name, number=number, type=type_, label=1)
    message.field.add(
        name="made_at", number=7, type=11, label=1, type_name=".google.protobuf.Timestamp"
    )
    message.field.add(name="note", number=8, type=9, label=1, proto3_optional=True, oneof_index=0)
    message.oneof_decl.add(name="_note")
    entry = message.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=3, label=1)
    message.field.add(
        name="labels", number=9, type=11, label=3, type_name=f".{package}.Thing.LabelsEntry"
    )
    return file


@pytest.fixture
def proto() -> tuple[str, Any]:
    """The package of a Protobuf file, and the class of its messages."""
    package = f"p{uuid.uuid4().hex}"
    pool = descriptor_pool.Default()
    pool.Add(proto_file(package))
    return package, message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Thing"))


def proto_values(
    client: SchemaRegistryClient, topic: str, made: Any, numbers: range, **fields: Any
) -> list[bytes]:
    serialize = ProtobufSerializer(made, client, {"use.deprecated.format": False})
    context = SerializationContext(topic, MessageField.VALUE)
    values = []
    for number in numbers:
        fields = {"note": "n", "labels": {"a": 2**60}} | fields
        message = made(
            thing_id=f"t-{number}",
            count=2**60 + number,
            size=number,
            ratio=0.5,
            raw=bytes([0, 255]),
            ok=True,
            **fields,
        )
        message.made_at.FromMicroseconds(1_700_000_000_123_456)
        value = serialize(message, context)
        assert value is not None
        values.append(value)
    return values


@pytest.mark.parametrize("generated", [False, True])
def test_protobuf_messages_become_a_contract_that_loads_them(
    run: Run,
    broker: Broker,
    topic: str,
    client: SchemaRegistryClient,
    proto: tuple[str, Any],
    tmp_path: Path,
    make_loader: MakeLoader,
    monkeypatch: pytest.MonkeyPatch,
    generated: bool,
) -> None:
    package, made = proto
    values = proto_values(client, topic, made, range(5))
    fill(broker, topic, values, partitions=1)
    given = []
    if generated:
        module = type(sys)(f"{package}_pb2")
        made.__module__ = module.__name__
        module.Thing = made  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        given = ["--protobuf", f"{module.__name__}:Thing"]
    contract, output = new_topic(run, topic, tmp_path, *given)
    assert "the contract reads every sampled message" in output
    assert "ClickHouse loaded and returned 5 messages unchanged" in output
    assert contract.protobuf is not None
    assert contract.protobuf.DESCRIPTOR.full_name == f"{package}.Thing"  # type: ignore[attr-defined]
    assert (contract.protobuf is made) is generated
    types = types_of(contract)
    assert types["count"] == "Int64"
    assert types["labels"] == "Map(String, Int64)"
    assert types["note"] in ("Nullable(String)", "LowCardinality(Nullable(String))")

    [later] = proto_values(client, topic, made, range(9, 10), note=None, labels={"z": 1})
    producer = broker.producer()
    producer.produce(topic, later, partition=0)
    producer.flush()
    rows = loaded(contract, make_loader)
    assert [row["count"] for row in rows] == [2**60 + n for n in (0, 1, 2, 3, 4, 9)]
    assert rows[5]["note"] is None
    assert rows[5]["labels"] == {"z": 1}
    assert rows[0]["made_at"] == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


def test_protobuf_without_a_descriptor_is_refused_by_name(
    run: Run, broker: Broker, topic: str, client: SchemaRegistryClient, tmp_path: Path
) -> None:
    """The registry has the source of the schema, which only protoc can read."""
    text = 'syntax = "proto3"; package p; message Thing { string thing_id = 1; }'
    schema_id = client.register_schema(f"{topic}-value", Schema(text, "PROTOBUF"))
    fill(broker, topic, [header(schema_id) + b"\x00\x0a\x01x"], partitions=1)
    result = run("new-topic", topic, "--from-topic", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert f"no descriptor of schema id {schema_id}" in result.output
    assert "--protobuf package.module:Class" in result.output


@pytest.mark.parametrize("text", ["nowhere:Thing", "json:Thing", "json:JSONDecoder", "json", ":"])
def test_a_class_that_is_not_a_protobuf_class_is_refused(run: Run, text: str) -> None:
    result = run("new-topic", "things", "--from-topic", "--protobuf", text)
    assert result.exit_code == 1
    assert f"--protobuf {text!r}" in result.output


class Thing(Struct, frozen=True, kw_only=True):
    id: str
    code: Annotated[str, column("FixedString(3)")] = "abc"
    size: Annotated[int, Meta(ge=0)] = 0


def scratch_of(clickhouse: ClickHouse) -> list[str]:
    """What a trial has left behind."""
    rows = clickhouse.rows(
        "SELECT name FROM system.databases WHERE startsWith(name, 'sluice_trial_')"
        " UNION ALL SELECT name FROM system.tables WHERE startsWith(name, 'sluice_trial_')"
    )
    return [row["name"] for row in rows]


def test_a_contract_is_tried_on_the_engine_and_leaves_nothing_behind(
    database: Connection, clickhouse: ClickHouse
) -> None:
    contract = contract_of(Thing)
    for messages in ([Thing(id="1"), Thing(id="2")], []):
        [note] = engine_notes(contract, messages, database, "sluice")
        assert note.startswith("ClickHouse loaded and returned")
    assert scratch_of(clickhouse) == []


def test_a_message_that_the_engine_refuses_is_a_note(
    database: Connection, clickhouse: ClickHouse
) -> None:
    messages = [Thing(id="1"), Thing(id="2", code="too long")]
    [note] = engine_notes(contract_of(Thing), messages, database, "sluice")
    assert note.startswith("ClickHouse refuses 1 of 2 messages (error 131)")
    assert scratch_of(clickhouse) == []


def test_a_table_that_the_engine_refuses_is_an_error(
    database: Connection, clickhouse: ClickHouse, run: Run, tmp_path: Path
) -> None:
    contract = contract_of(Thing, table=Table(name="things", order_by=("nope(id)",)))
    with pytest.raises(ContractError, match=r"ClickHouse refuses its table \(error 46\)"):
        engine_notes(contract, [], database, "sluice")
    assert scratch_of(clickhouse) == []
    schema = tmp_path / "s.json"
    properties = {"id": {"type": "string"}}
    schema.write_text(json.dumps({"properties": properties, "required": ["id"]}))
    given = ("new-topic", "things", "--json-schema", str(schema), "--output", str(tmp_path))
    result = run(*given, "--order-by", "nope(id)")
    assert result.exit_code == 1
    assert "ClickHouse refuses its table" in result.output
    assert not (tmp_path / "things.py").exists()
    result = run(*given)
    assert result.exit_code == 0
    assert "ClickHouse loaded and returned 1 message unchanged" in result.output
    assert scratch_of(clickhouse) == []


def test_without_the_right_to_create_databases_sluices_own_is_used(
    database: Connection, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = ClickHouse.execute

    def refuse(self: ClickHouse, sql: str, *rest: Any) -> None:
        if sql.startswith("CREATE DATABASE"):
            raise EngineError(497, "not allowed")
        execute(self, sql, *rest)

    monkeypatch.setattr(ClickHouse, "execute", refuse)
    assert database.schema
    [note] = engine_notes(contract_of(Thing), [Thing(id="1")], database, database.schema)
    assert note == "ClickHouse loaded and returned 1 message unchanged"
    [note] = engine_notes(contract_of(Thing), [Thing(id="1")], database, "nowhere")
    assert note.startswith("the contract could not be tried on ClickHouse")
    assert scratch_of(clickhouse) == []


def test_a_changed_value_is_named() -> None:
    row = {"id": "1", "code": "abc", "size": 44}
    changed = changed_columns(contract_of(Thing), Thing(id="1", size=300), row)
    assert changed == {"size": "300 became 44"}
    assert is_same([{"a": 1.5}], [{"a": 1.5}])
    assert not is_same([1, 2], [1])
    assert not is_same(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("file", ["load.py", "replay.py"])
def test_a_topic_with_the_longest_name_has_dags(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    package = f"contracts_{uuid.uuid4().hex[:8]}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    schema = tmp_path / "s.json"
    properties = {"id": {"type": "string"}}
    schema.write_text(json.dumps({"properties": properties, "required": ["id"]}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SLUICE_CONTRACTS", package)
    assert run("new-topic", "t" * 249, "--json-schema", str(schema)).exit_code == 0
    runpy.run_path(str(ROOT / "dags" / file))


def test_a_topic_with_the_longest_name_is_loaded(
    run: Run, broker: Broker, tmp_path: Path, make_loader: MakeLoader
) -> None:
    topic = f"{uuid.uuid4().hex}.{'t' * 216}"
    assert len(topic) == 249
    fill(broker, topic, [b'{"id":"%d"}' % number for number in range(3)], partitions=1)
    contract, _ = new_topic(run, topic, tmp_path)
    assert [row["id"] for row in loaded(contract, make_loader)] == ["0", "1", "2"]


ATOMS = (
    *("a", "é", "ſ", "[a-c]", "[^a]", "[^é]", "[À-ÿ]", ".", "^", "$", r"\w", r"\d", r"\s", r"\S"),
    *(r"\b", r"\B", r"\.", r"\-", r"\/", "-", "(?:ab|c)", "(b)", "(?P<n>c)", "a{2}", "a{1,2}"),
    *("[.]", r"[\w.]", r"[^\d]", "(?=a)", r"\A", r"\Z", "\n", r"\n", r"\t", "(?i:k)", " ", r"\x41"),
    *("a{,2}", "_", r"\_", "[]a]", "{", "}", "b{"),
)
SUBJECTS = ("", "a", "ab", "aab", "é", "aé", "É", "a\n", "\n", "K", "k", "K", "1", "٣", " ", "\xa0",
            "\v", "a.b-c/", "ab c", "aa", "c", "😀", "_", "A", "{", "a}", "b{")  # fmt: skip


def test_patterns_without_a_note_mean_the_same_to_the_engine(clickhouse: ClickHouse) -> None:
    """What Python matches, ClickHouse matches too: the quality rules never hold a good row."""
    random = Random(1)
    patterns = list(ATOMS)
    for _ in range(600):
        parts = random.choices(ATOMS, k=random.randrange(2, 5))
        patterns.append("".join(p + random.choice(["", "", "+", "*", "?"]) for p in parts))
    silent = noted = 0
    for pattern in patterns:
        try:
            matching = [text for text in SUBJECTS if re.search(pattern, text)]
        except re.error:
            continue
        if pattern_review(pattern):
            noted += 1
            continue
        silent += 1
        [row] = clickhouse.rows(
            "SELECT arrayFilter(x -> NOT match(x, {pattern:String}), {texts:Array(String)}) AS r",
            {"pattern": pattern, "texts": matching},
        )
        assert row["r"] == [], pattern
    assert silent > 100
    assert noted > 100
