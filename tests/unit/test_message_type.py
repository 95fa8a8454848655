"""The type of a registered payload, read from the bytes after its header."""

import base64
import json

import pytest
from confluent_kafka.schema_registry.serde import SchemaId
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from sluice.decode.message_type import avro_name, protobuf_name
from sluice.decode.wire import long_header, strip_envelope
from sluice.refusals import Reason, Refusal

SOURCE = """
syntax = "proto3";
// message Commented { }
package shop.v1; /* message Also { } */
option java_package = "message InText { }";
message First { string a = 1; message Inner { int32 b = 1; } enum Kind { ZERO = 0; } }
enum Colour { RED = 0; }
message Second {
  oneof which { string c = 1; First.Inner d = 2; }
  map<string, int32> e = 3;
  message Deep { message Deeper { string f = 1; } }
}
"""
HEADER = b"\x00\x00\x00\x00\x07"
NAMES = {
    (0,): "shop.v1.First",
    (0, 0): "shop.v1.First.Inner",
    (1,): "shop.v1.Second",
    (1, 0): "shop.v1.Second.Deep",
    (1, 0, 0): "shop.v1.Second.Deep.Deeper",
}


def descriptor() -> FileDescriptorProto:
    file = FileDescriptorProto(name="shop.proto", package="shop.v1", syntax="proto3")
    first, second = file.message_type.add(name="First"), file.message_type.add(name="Second")
    first.nested_type.add(name="Inner")
    second.nested_type.add(name="Deep").nested_type.add(name="Deeper")
    return file


@pytest.mark.parametrize("as_source", [True, False])
@pytest.mark.parametrize(("place", "name"), NAMES.items())
def test_the_message_of_a_protobuf_payload(
    place: tuple[int, ...], name: str, as_source: bool
) -> None:
    """The indexes are written by confluent-kafka's own encoder."""
    file = descriptor()
    text = SOURCE if as_source else base64.b64encode(file.SerializeToString()).decode()
    indexes = SchemaId("PROTOBUF", 7, None, list(place)).id_to_bytes()
    assert indexes[:5] == HEADER
    assert protobuf_name(text, indexes + b"payload") == name


@pytest.mark.parametrize("rest", [b"", b"\x02", b"\x04\x00", b"\x02\x0a", b"\xff"])
def test_indexes_that_name_no_message(rest: bytes) -> None:
    assert protobuf_name(SOURCE, HEADER + rest) in ("", "shop.v1.First")


ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": []}
REFUND = {"type": "record", "name": "shop.Refund", "fields": []}


@pytest.mark.parametrize(
    ("schema", "rest", "name"),
    [
        (ORDER, b"\x04", "shop.Order"),
        (REFUND, b"", "shop.Refund"),
        ([ORDER, REFUND], b"\x00", "shop.Order"),
        ([ORDER, REFUND], b"\x02", "shop.Refund"),
        ([ORDER, REFUND], b"\x04", ""),
        ([ORDER, REFUND], b"", ""),
        (["null", ORDER], b"\x02", "shop.Order"),
        ({"type": "map", "values": "string"}, b"", ""),
    ],
)
def test_the_record_of_an_avro_payload(schema: object, rest: bytes, name: str) -> None:
    assert avro_name(json.dumps(schema), HEADER + rest) == name


def test_an_eight_byte_id_is_recognised_by_name() -> None:
    value = b"\x00" + (42).to_bytes(8, "big") + b'{"a": 1}'
    for refusal in (long_header(value), strip_envelope(value)):
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.UNKNOWN_WIRE_FORMAT
        assert "Apicurio" in refusal.message
        assert "42" in refusal.message
    assert long_header(HEADER + b'{"a": 1}') is None
