"""Protobuf classes and what writers have declared: bytes carry no types."""

from typing import Any

import msgspec
import pytest

from sluice.decode.protobuf_difference import difference
from sluice.decode.protobuf_schema import (
    WrittenEnum,
    WrittenMessage,
    WrittenTypes,
    written_schema,
)
from sluice.refusals import Refusal
from tests.contracts import contract_of
from tests.payloads import ATTRS, COLOUR, FIELD, HEADER, class_of, compiled, decoder


class Event(msgspec.Struct, frozen=True):
    id: int


def types_of(text: str, writer: Any, reader: Any) -> WrittenTypes:
    """What a writer declares, the outermost message under the name of the reader's."""
    types = dict(written_schema(text).types)
    types[f"{reader.package}.Event"] = types[f"{writer.package}.Event"]
    return types


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
    assert (difference(types_of(text, writer, reader), reader.DESCRIPTOR) == "") is same


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
      enum Colour {
        option allow_alias = true;
        RED = 1 [deprecated = true]; CRIMSON = 1; /* b */ BLUE = - 2; GREEN = 0x10;
        reserved 5;
      }
    }
    extend Order { optional int32 extra = 100; }
    """
    schema = written_schema(source)
    messages = schema.messages
    assert {place: message.name for place, message in messages.items()} == {
        (0,): "shop.v1.Order",
        (0, 0): "shop.v1.Order.Result",
        (0, 1): "shop.v1.Order.After",
    }
    fields = {n: (f.name, f.type, f.repeated) for n, f in messages[0,].fields.items()}
    assert fields == {
        1: ("a", "sint32", False),
        8: ("b", "string", False),
        3: ("c", "bool", False),
        4: ("result", "", False),
        5: ("e", "", True),
    }
    assert "shop.v1.Order.Result" in messages[0,].fields[4].names
    entry = schema.types[messages[0,].fields[5].names[0]]
    assert isinstance(entry, WrittenMessage)
    assert [(n, f.name, f.type) for n, f in entry.fields.items()] == [
        (1, "key", "string"),
        (2, "value", "int32"),
    ]
    members = {1: {"RED", "CRIMSON"}, -2: {"BLUE"}, 16: {"GREEN"}}
    assert schema.types["shop.v1.Order.Colour"] == WrittenEnum(
        "shop.v1.Order.Colour", {number: frozenset(names) for number, names in members.items()}
    )
    assert messages[0, 1].fields[2].type == "double"


COMPILED = """
syntax = "proto3";
package PACKAGE;
import "google/protobuf/timestamp.proto";
enum State { OPEN = 0; PAID = 1; }
message Line { int32 price = 1; State state = 2; }
message Event {
  message Place { string city = 1; }
  enum Kind { WEB = 0; SHOP = 1; }
  Line line = 1;
  Place place = 2;
  Kind kind = 3;
  map<string, Line> lines = 4;
  google.protobuf.Timestamp at = 5;
  Event parent = 6;
  repeated State states = 7;
}
"""
"""What the reader's class was compiled from."""


@pytest.mark.parametrize("as_source", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("", "", ""),
        # Other names for messages, fields and enums change no byte.
        ("Line", "Position", ""),
        ("Place", "Site", ""),
        ("State", "Status", ""),
        ("int32 price", "int32 amount", ""),
        # The same number stands for another member.
        ("PAID = 1", "SENT = 1", "line.state"),
        ("WEB = 0; SHOP = 1", "SHOP = 0; WEB = 1", "kind"),
        ("SHOP = 1", "SHOP = 1; PHONE = 2", ""),
        ("enum Kind {", "enum Kind { option allow_alias = true; ONLINE = 0;", ""),
        # A type within one that has another name, also as the value of a map.
        ("Line line = 1;", "message Other { int64 price = 1; } Other line = 1;", "line.price"),
        ("map<string, Line>", "map<string, Place>", "lines.value.price"),
        ("map<string, Line>", "map<int32, Line>", "lines.key"),
        ("int32 price", "sint32 price", "line.price"),
        ("string city = 1", "string city = 1; int32 price = 2", ""),
        # A message in place of an enum, and the other way round.
        ("Kind kind", "Place kind", "kind"),
        ("Place place", "Kind place", "place"),
        ("repeated State", "State", "states"),
        ("google.protobuf.Timestamp at", "string at", "at"),
        ("google.protobuf.Timestamp at", "Place at", "at.seconds"),
        ("Place place = 2", "google.protobuf.Timestamp place = 2", "place"),
    ],
)
def test_messages_are_compared_under_any_name_and_enums_by_their_members(
    old: str, new: str, field: str, as_source: bool
) -> None:
    reader, writer = compiled(COMPILED), compiled(COMPILED.replace(old, new))
    text = COMPILED.replace(old, new).replace("PACKAGE", writer.package)
    types = types_of(text if as_source else writer.text, writer, reader)
    found = difference(types, reader.DESCRIPTOR)
    assert f"{field!r}" in found if field else not found


def test_a_type_of_a_file_that_is_not_a_reference_is_not_compared() -> None:
    reader = compiled(COMPILED)
    text = COMPILED.replace("Line line", "other.Line line").replace("PACKAGE", reader.package)
    assert not difference(written_schema(text).types, reader.DESCRIPTOR)


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
