"""Avro and Protobuf payloads: what their libraries would change, and what would end the process."""

import base64
import io
import json
import subprocess
import sys
import time
import uuid
from decimal import Decimal
from typing import Any

import fastavro
import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from msgspec import Struct

from sluice.contract import Version
from sluice.decode.decoder import Decoder
from sluice.decode.protobuf_schema import difference, written_messages
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.errors import ContractError
from sluice.kafka.payload_formats import PayloadError, avro_reader, protobuf_object
from sluice.kafka.schema_registry import Registered
from sluice.refusals import Reason, Refusal
from tests.contracts import contract_of
from tests.unit.test_version_history import DAY

HEADER = b"\x00\x00\x00\x00\x07"
FIELD = descriptor_pb2.FieldDescriptorProto


class OneSchema:
    """Stands for the registry's client: it has one schema."""

    def __init__(self, type_: str, text: str, *references: str) -> None:
        self.registered = Registered(7, type_, text, references)

    def by_id(self, schema_id: int) -> Registered:
        return self.registered


def decoder(contract: Any, type_: str, text: str, *references: str) -> Decoder:
    registry: Any = OneSchema(type_, text, *references)
    return Decoder(contract, RegistryPayloads(contract, registry))


def record(*fields: dict[str, Any], name: str = "Event") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def written(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


# Avro


class Event(Struct, frozen=True):
    id: int
    amount: Decimal = Decimal(0)


EVENT = record({"name": "id", "type": "long"})
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}


@pytest.mark.parametrize("unscaled", [1234, -9999, 0, 5])
def test_a_decimal_keeps_all_its_digits(unscaled: int) -> None:
    data = unscaled.to_bytes(3, "big", signed=True)
    read = avro_reader(json.dumps(DECIMAL))
    assert read(bytes([2 * len(data)]) + data) == Decimal(unscaled).scaleb(-2)


def test_a_decimal_with_more_digits_than_its_schema_is_refused() -> None:
    schema = record(EVENT["fields"][0], {"name": "amount", "type": DECIMAL})
    payload = b"\x02\x06" + (1234567).to_bytes(3, "big")
    refusal = decoder(contract_of(Event), "AVRO", json.dumps(schema)).decode(HEADER + payload)
    assert isinstance(refusal, Refusal)
    assert "12345.67" in refusal.message


def test_bytes_after_an_avro_record_are_refused() -> None:
    read = decoder(contract_of(Event), "AVRO", json.dumps(EVENT))
    payload = written(EVENT, {"id": 1})
    assert not isinstance(read.decode(HEADER + payload), Refusal)
    refusal = read.decode(HEADER + payload + b"\x02b")
    assert isinstance(refusal, Refusal)
    assert "2 bytes follow" in refusal.message


def test_a_schema_with_references_is_read() -> None:
    inner = record({"name": "n", "type": "long"}, name="shop.Inner")
    outer = record({"name": "inner", "type": "shop.Inner"}, name="shop.Outer")
    read = avro_reader(json.dumps(outer), [json.dumps(inner)])
    assert read(b"\x0a") == {"inner": {"n": 5}}


def test_a_union_of_references_is_read() -> None:
    first = record({"name": "id", "type": "long"}, name="shop.Event")
    second = record({"name": "n", "type": "string"}, name="shop.Refund")
    references = [json.dumps(first), json.dumps(second)]
    text = json.dumps(["shop.Event", "shop.Refund"])
    read = decoder(contract_of(Event), "AVRO", text, *references)
    result = read.decode(HEADER + b"\x00\x0a")
    assert not isinstance(result, Refusal), result
    other = read.decode(HEADER + b"\x02\x02b")
    assert isinstance(other, Refusal) and other.reason is Reason.UNKNOWN_TYPE


def test_records_that_are_used_many_times_take_no_longer() -> None:
    schema: Any = record({"name": "x", "type": ["null", record(name="R0")]}, name="R1")
    for level in range(2, 30):
        uses = [{"name": f"f{n}", "type": f"R{level - 1}"} for n in range(3)]
        schema = record({"name": "first", "type": schema}, *uses, name=f"R{level}")
    began = time.process_time()
    avro_reader(json.dumps(schema))
    assert time.process_time() - began < 5


def test_a_record_that_contains_itself_too_deeply_is_refused_and_does_not_end_the_process() -> None:
    node = record({"name": "next", "type": ["null", "Node"]}, name="Node")
    schema = record(EVENT["fields"][0], {"name": "tree", "type": ["null", node]})
    program = (
        "from tests.unit.test_payload_formats import *\n"
        f"read = decoder(contract_of(Event), 'AVRO', {json.dumps(json.dumps(schema))})\n"
        "shallow = read.decode(HEADER + b'\\2' + b'\\2' * 50 + b'\\0')\n"
        "deep = read.decode(HEADER + b'\\2' + b'\\2' * 50_000 + b'\\0')\n"
        "print(type(shallow).__name__, deep.reason)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["tuple", "too_deep"]


@pytest.mark.parametrize(
    ("type_", "extra"),
    [
        ("AVRO", {"version": {"major": 1}}),
        ("AVRO", {"x-version": [1]}),
        ("AVRO", {"fields": 5}),
        ("JSON", {"fields": 5}),
        ("JSON", {"properties": 5, "schema_version": {}}),
        ("JSON", {"fields": [{"name": ["a"]}, 3]}),
    ],
)
def test_any_registered_schema_leads_to_a_message_or_a_refusal(
    type_: str, extra: dict[str, Any]
) -> None:
    read = decoder(contract_of(Event), type_, json.dumps(EVENT | extra))
    payload = b"\x02" if type_ == "AVRO" else b'{"id": 1}'
    result = read.decode(HEADER + payload)
    assert isinstance(result, Refusal | tuple)


# Protobuf


def class_of(syntax: str = "proto3", **fields: Any) -> Any:
    """A message class.

    Args:
        fields: name → the arguments of its descriptor.
    """
    package = f"m{uuid.uuid4().hex}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    file.syntax = syntax
    colour = file.enum_type.add(name="Colour")
    for number, name in enumerate(("NONE", "RED")):
        colour.value.add(name=name, number=number)
    message = file.message_type.add(name="Event")
    inner = message.nested_type.add(name="AttrsEntry")
    inner.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        inner.field.add(name=name, number=number, type=FIELD.TYPE_STRING, label=1)
    for number, (name, options) in enumerate(fields.items(), 1):
        made = {"number": number, "label": 1} | options
        if "type_name" in made:
            made["type_name"] = f".{package}.{made['type_name']}"
        message.field.add(name=name, **made)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Event"))
    made_class.text = base64.b64encode(file.SerializeToString()).decode()
    made_class.package = package
    return made_class


ATTRS = {"type": FIELD.TYPE_MESSAGE, "type_name": "Event.AttrsEntry", "label": 3}
COLOUR = {"type": FIELD.TYPE_ENUM, "type_name": "Colour"}


def test_maps_have_one_order_in_every_process() -> None:
    message = class_of(attrs=ATTRS)()
    for key in "hgfedcba":
        message.attrs[key] = key
    assert list(protobuf_object(message)["attrs"]) == list("abcdefgh")


def test_an_unknown_member_of_a_closed_enum_is_refused() -> None:
    made = class_of("proto2", colour=COLOUR)
    assert protobuf_object(made.FromString(b"\x08\x01")) == {"colour": "RED"}
    with pytest.raises(PayloadError, match="'colour'"):
        protobuf_object(made.FromString(b"\x08\x02"))


def test_a_value_of_another_wire_type_is_refused() -> None:
    made = class_of(name={"type": FIELD.TYPE_STRING})
    with pytest.raises(PayloadError, match="'name'"):
        protobuf_object(made.FromString(b"\x08\x4d"))


@pytest.mark.parametrize("as_source", [True, False])
@pytest.mark.parametrize(
    ("theirs", "mine", "same"),
    [
        ("int64", "int32", False),
        ("uint64", "int64", False),
        ("int32", "bool", False),
        ("sint32", "int32", False),
        ("int64", "string", False),
        ("repeated int64", "int64", False),
        ("int32", "Colour", False),
        ("int32", "int64", True),
        ("uint32", "int64", True),
        ("bool", "int32", True),
        ("string", "bytes", True),
        ("double", "double", True),
        ("Colour", "Colour", True),
        ("repeated string", "repeated string", True),
        ("map<string, string>", "map<string, string>", True),
        ("map<string, sint32>", "map<string, string>", False),
        ("map<int32,string>", "map<string, string>", False),
    ],
)
def test_a_writer_whose_values_the_class_would_read_as_others_is_refused(
    theirs: str, mine: str, same: bool, as_source: bool
) -> None:
    if theirs.startswith("map") and not same and not as_source:
        return  # the descriptor has a message per map, of one kind in this test

    def options(text: str) -> dict[str, Any]:
        if text.startswith("map"):
            return ATTRS
        label, _, name = text.rpartition(" ")
        chosen = COLOUR if name == "Colour" else {"type": FIELD.Type.Value(f"TYPE_{name.upper()}")}
        return chosen | {"label": 3 if label else 1}

    reader, writer = class_of(value=options(mine)), class_of(value=options(theirs))
    text = writer.text
    if as_source:
        text = (
            f'syntax = "proto3"; package {writer.package};'
            " enum Colour { NONE = 0; RED = 1; }"
            f" message Event {{ option deprecated = true; oneof one {{ bool other = 9; }}"
            f' {theirs} value = 1 [json_name = "v"]; // int32 value = 1;\n }}'
        )
    messages = {
        m.name.replace(writer.package, reader.package): m for m in written_messages(text).values()
    }
    assert (difference(messages, reader.DESCRIPTOR) == "") is same


def test_a_source_is_read_whatever_its_layout() -> None:
    source = """
    package shop . v1; /* package other; */
    message Order // the order
    {
      sint32 /* a */ a = 0x1; string b // the second
        = 010;
      option (text) = { note: "} // no comment { message Not { int32 z = 9; }" };
      oneof kind /* of */ { bool c = 3; }
      optional group Result = 4 { optional int32 d = 1; }
      map<string,int32>e=5;
      message After { repeated double f = 2 [packed = true]; }
      reserved 6, 7; extensions 100 to 199;
      enum Colour { RED = 1; }
    }
    extend Order { optional int32 extra = 100; }
    """
    messages = written_messages(source)
    assert {place: message.name for place, message in messages.items()} == {
        (0,): "shop.v1.Order",
        (0, 0): "shop.v1.Order.Result",
        (0, 1): "shop.v1.Order.After",
    }
    fields = {n: (f.name, f.type, f.repeated) for n, f in messages[0,].fields.items()}
    other = "message or enum"
    assert fields == {
        1: ("a", "sint32", False),
        8: ("b", "string", False),
        3: ("c", "bool", False),
        4: ("result", other, False),
        5: ("e", other, True),
    }
    assert messages[0,].fields[5].entry == ("string", "int32")
    assert messages[0, 1].fields[2].type == "double"


def test_such_a_writers_messages_are_refused_by_field() -> None:
    made = class_of(id={"type": FIELD.TYPE_INT32})
    text = f'syntax = "proto3"; package {made.package}; message Event {{ int64 id = 1; }}'
    contract = msgspec.structs.replace(contract_of(Event), protobuf=made)
    refusal = decoder(contract, "PROTOBUF", text).decode(HEADER + b"\x00\x08\x01")
    assert isinstance(refusal, Refusal)
    assert "'id' (number 1) is int64" in refusal.message
    text = text.replace("int64", "int32")
    assert not isinstance(
        decoder(contract, "PROTOBUF", text).decode(HEADER + b"\x00\x08\x01"), Refusal
    )


class Item(Struct, frozen=True):
    price: int


class Cart(Struct, frozen=True, kw_only=True):
    items: list[Item]
    note: str


def cents(message: dict[str, Any]) -> dict[str, Any]:
    for item in message["items"]:
        item["price"] *= 100
    return message


def test_a_lift_function_is_applied_once() -> None:
    """The readers of several versions try the same parsed object."""
    contract = contract_of(
        Cart,
        versions=(
            Version(name="1.0", released=DAY),
            Version(name="1.1", released=DAY, added={"note": "-"}),
            Version(name="2.0", released=DAY, lift=cents),
        ),
    )
    item = record({"name": "price", "type": "long"}, name="Item")
    schema = record(
        {"name": "items", "type": {"type": "array", "items": item}},
        {"name": "unknown", "type": "long"},
    )
    payload = written(schema, {"items": [{"price": 3}], "unknown": 0})
    result = decoder(contract, "AVRO", json.dumps(schema)).decode(HEADER + payload)
    assert not isinstance(result, Refusal), result
    message: Any = result[0]
    assert (message.items[0].price, result[1]) == (300, "1.0")


def test_a_text_with_a_surrogate_is_refused_and_the_refusal_can_be_stored() -> None:
    refusal = Refusal(Reason.WRONG_TYPE, "bad \ud83d text", "fie\udcffld")
    assert msgspec.json.encode(refusal)
    assert refusal.message == "bad \\ud83d text"


def test_a_field_under_another_spelling_of_the_protobuf_name_is_refused() -> None:
    class Priced(Struct, frozen=True, rename="camel"):
        id: int
        unit_price: int = 0

    made = class_of(id={"type": FIELD.TYPE_INT64}, unit_price={"type": FIELD.TYPE_INT64})
    with pytest.raises(ContractError) as raised:
        contract_of(Priced, protobuf=made)
    assert raised.value.field == "unitPrice"
    assert "'unit_price'" in raised.value.detail
