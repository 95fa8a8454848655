"""Avro and Protobuf payloads: what their libraries would change, and what would end the process."""

import json
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from sluice.contract import Version
from sluice.errors import ContractError
from sluice.kafka.payload_formats import PayloadError, avro_reader, protobuf_object
from sluice.refusals import Reason, Refusal
from tests.contracts import contract_of
from tests.payloads import ATTRS, COLOUR, FIELD, HEADER, class_of, decoder, record, written
from tests.unit.test_version_history import DAY

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
