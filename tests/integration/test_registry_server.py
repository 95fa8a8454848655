"""The Confluent API against a real registry: ids, compatibility, Avro and Protobuf payloads."""

import json
from collections.abc import Iterator
from random import Random

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from msgspec import Struct

from sluice.authoring.examples import example_message
from sluice.authoring.registration import register_versions
from sluice.authoring.sample_messages import as_version
from sluice.cli.main import main
from sluice.contract import Contract
from sluice.contract.json_schema import json_schema
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.errors import RegistryError
from sluice.kafka.schema_registry import SchemaRegistry, SchemaRegistryConfig
from sluice.refusals import Reason, Refusal
from sluice.settings import Connection
from tests.conftest import MakeLoader, load
from tests.loads import sums
from tests.registry import (
    AVRO,
    AVRO_EMAIL,
    ITEM,
    Link,
    avro_value,
    header,
    proto_class,
    proto_value,
)


@pytest.fixture
def named(contract: Contract) -> Contract:
    """The contract of orders with the test's own topic and subject."""
    return msgspec.structs.replace(contract, subject=f"{contract.topic}-value")


@pytest.fixture
def config(registry_url: str, named: Contract) -> SchemaRegistryConfig:
    return SchemaRegistryConfig(
        registry_url=registry_url, schema_subject=named.subject, cache_ttl_seconds=60
    )


@pytest.fixture
def registry(config: SchemaRegistryConfig) -> SchemaRegistry:
    return SchemaRegistry(config)


@pytest.fixture
def client(registry_url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry_url}) as client:
        yield client


@pytest.fixture
def link(registry_url: str) -> Iterator[Link]:
    link = Link(registry_url)
    yield link
    link.cut()


def decode(contract: Contract, registry: SchemaRegistry, value: bytes) -> tuple[Struct, str]:
    decoded = Decoder(contract, RegistryPayloads(contract, registry)).decode(value)
    assert not isinstance(decoded, Refusal), decoded
    return decoded


def refuse(contract: Contract, registry: SchemaRegistry, value: bytes) -> Refusal:
    refusal = Decoder(contract, RegistryPayloads(contract, registry)).decode(value)
    assert isinstance(refusal, Refusal), refusal
    return refusal


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
    with pytest.raises(RegistryError, match="BACKWARD"):
        registry.register(named.subject, json.dumps(breaking))
    assert not registry.compatible(named.subject, json.dumps(breaking))


def test_the_schema_id_determines_the_version(registry: SchemaRegistry, named: Contract) -> None:
    ids = register_versions(registry, named)
    message = msgspec.to_builtins(example_message(named, Random(1)), str_keys=True)
    for version in named.versions:
        older = msgspec.json.encode(as_version(named, version, message))
        assert decode(named, registry, header(ids[version.name]) + older)[1] == version.name


def test_a_schema_is_fetched_again_when_its_cache_time_is_over(
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


def test_without_a_cache_every_schema_is_fetched_again(
    config: SchemaRegistryConfig, named: Contract
) -> None:
    registry = SchemaRegistry(config.model_copy(update={"cache_schemas": False}))
    schema_id = register_versions(registry, named)["1.0"]
    assert registry.by_id(schema_id) is not registry.by_id(schema_id)


def test_while_the_server_is_down_cached_ids_are_used_and_others_are_an_error(
    config: SchemaRegistryConfig, link: Link, named: Contract
) -> None:
    now = [0.0]
    through_link = config.model_copy(update={"registry_url": link.url})
    registry = SchemaRegistry(through_link, lambda: now[0])
    schema_id = register_versions(registry, named)["1.0"]
    cached = registry.by_id(schema_id)
    link.cut()
    now[0] = config.cache_ttl_seconds + 1
    assert registry.by_id(schema_id) == cached
    with pytest.raises(RegistryError) as raised:
        registry.by_id(schema_id + 1000)
    assert raised.type is RegistryError, "the schema may exist"


def test_a_message_with_an_unknown_schema_id_is_refused(
    registry: SchemaRegistry, named: Contract
) -> None:
    refusal = refuse(named, registry, header(99_999) + b"{}")
    assert refusal.reason is Reason.UNKNOWN_WIRE_FORMAT
    assert "99999" in refusal.message


def test_an_avro_payload_is_decoded_to_the_same_struct(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    message, version = decode(named, registry, avro_value(client, named))
    assert version == "1.0"
    order = msgspec.to_builtins(message)
    assert order["created_at"] == "2023-11-14T22:13:20.123000Z"
    assert order["shipping_address"]["country"] == "unknown"
    assert order["line_items"] == [ITEM]


def test_the_version_of_an_avro_payload_is_inferred_from_the_fields_of_its_schema(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    assert decode(named, registry, avro_value(client, named, AVRO_EMAIL))[1] == "1.1"


def test_the_refusal_of_an_invalid_avro_payload_names_its_field(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    schema = json.loads(json.dumps(AVRO))
    schema["fields"][2]["type"] = "long"
    serialize = AvroSerializer(client, json.dumps(schema))
    order = {"order_id": "o", "created_at": 0, "customer_name": 5, "line_items": [ITEM]}
    order |= {"total_price": 3.0, "notes": ""}
    context = SerializationContext(f"{named.topic}-other", MessageField.VALUE)
    refusal = refuse(named, registry, serialize(order, context) or b"")
    assert (refusal.reason, refusal.field) == (Reason.WRONG_TYPE, "customer_name")


def test_a_protobuf_payload_is_decoded_to_the_same_struct(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    named = msgspec.structs.replace(named, protobuf=proto_class({"customer_email": 7}))
    for expected, fields in (("1.0", {}), ("1.1", {"customer_email": "a@b"})):
        message, version = decode(named, registry, proto_value(client, named, **fields))
        assert version == expected
        assert msgspec.to_builtins(message)["line_items"] == [ITEM]


def test_a_protobuf_payload_is_refused_if_the_contract_has_no_class(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    value = proto_value(client, msgspec.structs.replace(named, protobuf=proto_class({})))
    refusal = refuse(named, registry, value)
    assert refusal.reason is Reason.UNKNOWN_WIRE_FORMAT
    assert "Protobuf" in refusal.message


def test_a_message_of_another_type_is_refused_and_not_read_as_the_contracts(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    read = msgspec.structs.replace(named, protobuf=proto_class({}))
    value = proto_value(client, read)
    assert value[5:7] == b"\x02\x02", "the second message of its file"
    name = read.protobuf.DESCRIPTOR.full_name  # type: ignore[union-attr]
    refusal = refuse(read, registry, value[:5] + b"\x00" + value[7:])
    assert refusal.reason is Reason.UNKNOWN_TYPE
    assert repr(name) in refusal.message


def test_an_avro_record_of_another_name_is_refused(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract
) -> None:
    value = avro_value(client, named)
    schema = msgspec.json.decode(registry.by_id(int.from_bytes(value[1:5], "big")).text)
    namespace = schema.get("namespace")
    name = f"{namespace}.{schema['name']}" if namespace else schema["name"]
    decode(msgspec.structs.replace(named, record=name), registry, value)
    refusal = refuse(msgspec.structs.replace(named, record="shop.Refund"), registry, value)
    assert refusal.reason is Reason.UNKNOWN_TYPE
    assert repr(name) in refusal.message


@pytest.mark.parametrize("length", [6, 20])
def test_a_payload_that_does_not_match_its_schema_is_refused(
    registry: SchemaRegistry, client: SchemaRegistryClient, named: Contract, length: int
) -> None:
    refusal = refuse(named, registry, avro_value(client, named)[:length])
    assert refusal.reason is Reason.UNKNOWN_WIRE_FORMAT
    assert "AVRO" in refusal.message


def test_a_load_reads_all_three_formats_and_fails_only_while_the_registry_is_down(
    make_loader: MakeLoader,
    kafka: Connection,
    registry: SchemaRegistry,
    registry_url: str,
    link: Link,
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
    order = msgspec.to_builtins(example_message(named, Random(1)))
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
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", link.url)
    link.cut()
    with pytest.raises(RegistryError):
        make_loader(named, "run").drain(plan.load_id, 0)
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
    without_url = CliRunner().invoke(main, ["schema", "register", "orders"])
    assert without_url.exit_code == 1
    assert "SCHEMA_REGISTRY_URL" in without_url.output
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry_url)
    registered = CliRunner().invoke(main, ["schema", "register", "orders"])
    assert "order-events-value  version 1.2  id" in registered.output
    checked = CliRunner().invoke(main, ["schema", "register", "orders", "--check"])
    assert checked.exit_code == 0
    assert "order-events-value: version 1.2" in checked.output
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "registry:8081")
    wrong_url = CliRunner().invoke(main, ["schema", "register", "orders"])
    assert wrong_url.exit_code == 1
    assert "SCHEMA_REGISTRY_URL" in wrong_url.output
    assert "Traceback" not in wrong_url.output
