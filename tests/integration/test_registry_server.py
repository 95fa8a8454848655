"""The Confluent API against a real registry: ids, compatibility, Avro and Protobuf payloads."""

import json
import struct
import uuid
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sluice.authoring.registration import register_versions
from sluice.authoring.sample_messages import as_version
from sluice.cli.main import main
from sluice.contract import Contract
from sluice.contract.json_schema import json_schema
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.errors import Reason, Refusal, RegistryError
from sluice.kafka.schema_registry import SchemaRegistry, SchemaRegistryConfig, UnknownSchema
from sluice.settings import Connection
from tests.conftest import MakeLoader, load
from tests.loads import sums


@pytest.fixture
def named(contract: Contract) -> Contract:
    """The contract of orders with a topic and a subject of the test's own."""
    return msgspec.structs.replace(contract, subject=f"{contract.topic}-value")


@pytest.fixture
def config(registry_url: str, named: Contract) -> SchemaRegistryConfig:
    return SchemaRegistryConfig(
        registry_url=registry_url, schema_subject=named.subject, cache_ttl_seconds=60
    )


@pytest.fixture
def registry(config: SchemaRegistryConfig) -> SchemaRegistry:
    return SchemaRegistry(config)


def decoder(contract: Contract, registry: SchemaRegistry) -> Decoder:
    return Decoder(contract, RegistryPayloads(contract, registry))


def header(schema_id: int) -> bytes:
    return b"\x00" + struct.pack(">I", schema_id)


def unreachable(registry: SchemaRegistry) -> None:
    """The server is down from now on."""
    registry._config.registry_url = "http://127.0.0.1:1"
    registry.client = registry._connect()


def test_versions_are_registered_once_and_a_breaking_change_is_refused(
    registry: SchemaRegistry, named: Contract
) -> None:
    ids = register_versions(registry, named)
    assert list(ids) == ["1.0", "1.1", "1.2"]
    assert len(set(ids.values())) == 3
    assert register_versions(registry, named) == ids
    breaking = json_schema(named, named.version)
    breaking["properties"]["brand_new"] = {"type": "string"}
    breaking["required"].append("brand_new")
    with pytest.raises(RegistryError, match="not BACKWARD compatible with the latest"):
        registry.register(named.subject, json.dumps(breaking))
    assert not registry.compatible(named.subject, json.dumps(breaking))


def test_the_registry_id_tells_the_version(registry: SchemaRegistry, named: Contract) -> None:
    ids = register_versions(registry, named)
    decode = decoder(named, registry).decode
    message = msgspec.to_builtins(named.example(Random(1)), str_keys=True)
    for version in named.versions:
        older = as_version(named, version, message)
        found = decode(header(ids[version.name]) + msgspec.json.encode(older))
        assert not isinstance(found, Refusal), found
        assert found[1] == version.name


def test_an_id_is_fetched_again_after_its_time(
    config: SchemaRegistryConfig, named: Contract
) -> None:
    now = [0.0]
    registry = SchemaRegistry(config, lambda: now[0])
    schema_id = register_versions(registry, named)["1.0"]
    first = registry.by_id(schema_id)
    assert registry.by_id(schema_id) is first
    now[0] = config.cache_ttl_seconds + 1
    again = registry.by_id(schema_id)
    assert again == first
    assert again is not first


def test_without_a_cache_every_id_is_asked_for(
    config: SchemaRegistryConfig, named: Contract
) -> None:
    registry = SchemaRegistry(config.model_copy(update={"cache_schemas": False}))
    schema_id = register_versions(registry, named)["1.0"]
    assert registry.by_id(schema_id) is not registry.by_id(schema_id)


def test_while_the_server_is_down_known_ids_go_on_and_unknown_ones_are_an_error(
    config: SchemaRegistryConfig, named: Contract
) -> None:
    now = [0.0]
    registry = SchemaRegistry(config, lambda: now[0])
    schema_id = register_versions(registry, named)["1.0"]
    known = registry.by_id(schema_id)
    unreachable(registry)
    now[0] = config.cache_ttl_seconds + 1
    assert registry.by_id(schema_id) == known
    with pytest.raises(RegistryError, match="does not answer") as raised:
        registry.by_id(schema_id + 1000)
    assert not isinstance(raised.value, UnknownSchema)


def test_an_id_that_the_registry_does_not_have_refuses_the_message(
    registry: SchemaRegistry, named: Contract
) -> None:
    found = decoder(named, registry).decode(header(99_999) + b"{}")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNKNOWN_WIRE_FORMAT
    assert "does not know schema 99999" in found.message


AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "customer_name", "type": "string"},
        {
            "name": "line_items",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Item",
                    "fields": [
                        {"name": "line_item_id", "type": "string"},
                        {"name": "product_id", "type": "string"},
                        {"name": "product_title", "type": "string"},
                        {"name": "quantity", "type": "int"},
                        {"name": "price", "type": "double"},
                        {"name": "discount", "type": "double"},
                    ],
                },
            },
        },
        {"name": "total_price", "type": "double"},
        {"name": "notes", "type": "string"},
    ],
}
EMAIL = {"name": "customer_email", "type": "string"}


def proto_class(fields: dict[str, int]) -> Any:
    """A generated class, as protoc would make it, without protoc."""
    name = f"m{uuid.uuid4().hex}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    string, double, message = 9, 1, 11

    def add(to: Any, number: int, field: str, type_: int, **more: Any) -> None:
        to.field.add(name=field, number=number, type=type_, label=more.pop("label", 1), **more)

    item = file.message_type.add(name="Item")
    for number, field in enumerate(("line_item_id", "product_id", "product_title"), 1):
        add(item, number, field, string)
    add(item, 4, "quantity", 3)  # int64, which JSON has as text
    add(item, 5, "price", double)
    add(item, 6, "discount", double)
    order = file.message_type.add(name="Order")
    for number, field in enumerate(("order_id", "customer_name", "notes"), 1):
        add(order, number, field, string)
    add(order, 4, "created_at", message, type_name=".google.protobuf.Timestamp")
    add(order, 5, "line_items", message, type_name=f".{name}.Item", label=3)
    add(order, 6, "total_price", double)
    for field, number in fields.items():
        add(order, number, field, string, proto3_optional=True, oneof_index=0)
        order.oneof_decl.add(name=f"_{field}")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.Order"))


ITEM = {
    "line_item_id": "L1",
    "product_id": "P",
    "product_title": "Lamp",
    "quantity": 2,
    "price": 1.5,
    "discount": 0.0,
}


@pytest.fixture
def client(registry_url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry_url}) as client:
        yield client


def avro_value(client: SchemaRegistryClient, contract: Contract, *more: dict[str, Any]) -> bytes:
    schema = {**AVRO, "fields": [*AVRO["fields"], *more]}
    serialize = AvroSerializer(client, json.dumps(schema))
    order: dict[str, Any] = {
        "order_id": "o-avro",
        "created_at": 1_700_000_000_123,
        "customer_name": "Ada",
        "line_items": [ITEM],
        "total_price": 3.0,
        "notes": "",
    }
    order |= {field["name"]: "a@b" for field in more}
    value = serialize(order, SerializationContext(contract.topic, MessageField.VALUE))
    assert isinstance(value, bytes)
    return value


def proto_value(client: SchemaRegistryClient, contract: Contract, **more: str) -> bytes:
    assert contract.protobuf is not None
    order = contract.protobuf(order_id="o-proto", customer_name="Ada", total_price=3.0, **more)
    order.created_at.FromMilliseconds(1_700_000_000_123)
    order.line_items.add(**ITEM)
    serialize = ProtobufSerializer(contract.protobuf, client, {"use.deprecated.format": False})
    value = serialize(order, SerializationContext(contract.topic, MessageField.VALUE))
    assert isinstance(value, bytes)
    return value


def test_an_avro_payload_ends_in_the_same_struct(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    found = decoder(named, registry).decode(avro_value(client, named))
    assert not isinstance(found, Refusal), found
    message, version = found
    assert version == "1.0"
    order = msgspec.to_builtins(message)
    assert order["created_at"] == "2023-11-14T22:13:20.123000Z"
    assert order["shipping_address"]["country"] == "unknown"
    assert order["line_items"] == [ITEM]


def test_the_version_of_an_avro_payload_is_told_from_its_schema_s_fields(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    found = decoder(named, registry).decode(avro_value(client, named, EMAIL))
    assert not isinstance(found, Refusal), found
    assert found[1] == "1.1"


def test_an_avro_payload_that_does_not_validate_names_its_field(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    schema = json.loads(json.dumps(AVRO))
    schema["fields"][2]["type"] = "long"
    serialize = AvroSerializer(client, json.dumps(schema))
    order = {"order_id": "o", "created_at": 0, "customer_name": 5, "line_items": [ITEM]}
    order |= {"total_price": 3.0, "notes": ""}
    context = SerializationContext(f"{named.topic}-other", MessageField.VALUE)
    found = decoder(named, registry).decode(serialize(order, context) or b"")
    assert isinstance(found, Refusal)
    assert (found.reason, found.field) == (Reason.WRONG_TYPE, "customer_name")


def test_a_protobuf_payload_ends_in_the_same_struct(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    fields = {"customer_email": 7}
    named = msgspec.structs.replace(named, protobuf=proto_class(fields))
    decode = decoder(named, registry).decode
    for version, more in (("1.0", {}), ("1.1", {"customer_email": "a@b"})):
        found = decode(proto_value(client, named, **more))
        assert not isinstance(found, Refusal), found
        message, told = found
        assert told == version
        assert msgspec.to_builtins(message)["line_items"] == [ITEM]


def test_a_protobuf_payload_without_a_class_is_refused_by_name(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    value = proto_value(client, msgspec.structs.replace(named, protobuf=proto_class({})))
    found = decoder(named, registry).decode(value)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNKNOWN_WIRE_FORMAT
    assert "names no protobuf class" in found.message


@pytest.mark.parametrize("cut", [6, 20])
def test_a_payload_that_its_schema_does_not_read_is_refused_by_name(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract, cut: int
) -> None:
    found = decoder(named, registry).decode(avro_value(client, named)[:cut])
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNKNOWN_WIRE_FORMAT
    assert "(AVRO)" in found.message


def test_a_load_takes_all_three_formats_and_survives_the_registry(
    make_loader: MakeLoader,
    kafka: Connection,
    registry: SchemaRegistry,
    registry_url: str,
    client: SchemaRegistryClient,
    named: Contract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry_url)
    named = msgspec.structs.replace(named, protobuf=proto_class({}))
    loader = make_loader(named, "run")
    assert loader.registry is not None
    loader.broker.create_topic(named.topic, 1)
    serialize = JSONSerializer(
        json.dumps(json_schema(named, named.version)), client, lambda order, _: order
    )
    context = SerializationContext(f"{named.topic}-json", MessageField.VALUE)
    order = msgspec.to_builtins(named.example(Random(1)))
    producer = Producer({"bootstrap.servers": kafka.extra["bootstrap.servers"]})
    values = [
        msgspec.json.encode(order),
        serialize(order, context),
        avro_value(client, named),
        proto_value(client, msgspec.structs.replace(named, topic=f"{named.topic}-proto")),
        header(99_999) + b"{}",
    ]
    for value in values:
        producer.produce(named.topic, value, b"k")
    producer.flush()
    plan = loader.plan()
    down = make_loader(named, "run")
    assert down.registry is not None
    unreachable(down.registry)
    with pytest.raises(RegistryError, match="does not answer"):
        down.drain(plan.load_id, 0)
    load_id = load(loader)
    assert load_id == plan.load_id
    account = sums(loader, load_id)
    assert (account["loaded"], account["quarantined"], account["difference"]) == (4, 1, 0)
    rows = loader.clickhouse.rows("SELECT _schema_version AS v FROM orders ORDER BY _offset")
    assert [row["v"] for row in rows] == ["1.2", "1.2", "1.0", "1.0"]


def test_the_command_registers_and_checks(
    registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCHEMA_REGISTRY_URL", raising=False)
    refused = CliRunner().invoke(main, ["schema", "register", "orders"])
    assert "SCHEMA_REGISTRY_URL is not set" in refused.output
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry_url)
    done = CliRunner().invoke(main, ["schema", "register", "orders"])
    assert "order-events-value  version 1.2  id" in done.output
    checked = CliRunner().invoke(main, ["schema", "register", "orders", "--check"])
    assert "order-events-value: version 1.2 may follow" in checked.output
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "registry:8081")
    wrong = CliRunner().invoke(main, ["schema", "register", "orders"])
    assert "SCHEMA_REGISTRY_URL: " in wrong.output
    assert "Traceback" not in wrong.output
