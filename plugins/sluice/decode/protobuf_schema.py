"""The messages and enums of a Protobuf schema as its writer has registered it."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError
from msgspec import Struct

Indexes = tuple[int, ...]
"""Place of a message in its file: the number of the outermost message, then of those within."""

SCALARS = {
    type_: name.removeprefix("TYPE_").lower()
    for name, type_ in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}
"""Number of a scalar type → its name in a source."""


class WrittenField(Struct, frozen=True):
    """A field as the writer has declared it.

    Attributes:
        type: a scalar type; empty for a message or an enum.
        names: of a message or an enum, the full names that it may have, in the order of
            Protobuf's scopes.
    """

    name: str
    type: str
    repeated: bool = False
    names: tuple[str, ...] = ()


class WrittenMessage(Struct, frozen=True):
    """A message as the writer has declared it: its full name, and number → field.

    A map is a repeated message whose fields are ``key`` and ``value``, as in the bytes.
    """

    name: str
    fields: Mapping[int, WrittenField]


class WrittenEnum(Struct, frozen=True):
    """An enum as the writer has declared it: its full name, and number → names of members."""

    name: str
    members: Mapping[int, frozenset[str]]


WrittenTypes = Mapping[str, WrittenMessage | WrittenEnum]
"""Full name → what the writer has declared under it."""


class WrittenSchema(Struct, frozen=True):
    """A schema, by the places of its messages and by the names of its types."""

    messages: Mapping[Indexes, WrittenMessage]
    types: WrittenTypes


@lru_cache(maxsize=256)
def written_schema(text: str) -> WrittenSchema:
    """Read a Protobuf schema.

    Args:
        text: the source, or a serialized descriptor as base64.
    """
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return _Source(text).schema
    return _descriptor_schema(file)


def _descriptor_schema(file: FileDescriptorProto) -> WrittenSchema:
    messages: dict[Indexes, WrittenMessage] = {}
    enums: list[WrittenEnum] = []

    def read_enums(found: Iterator[EnumDescriptorProto], prefix: str) -> None:
        for enum in found:
            members = [(value.number, value.name) for value in enum.value]
            enums.append(WrittenEnum(f"{prefix}{enum.name}", _by_number(members)))

    def read(message: DescriptorProto, place: Indexes, prefix: str) -> None:
        name = f"{prefix}{message.name}"
        fields = {
            f.number: WrittenField(
                f.name,
                SCALARS.get(f.type, ""),
                f.label == FieldDescriptorProto.LABEL_REPEATED,
                (f.type_name.removeprefix("."),) if f.type_name else (),
            )
            for f in message.field
        }
        messages[place] = WrittenMessage(name, fields)
        read_enums(iter(message.enum_type), f"{name}.")
        for number, inner in enumerate(message.nested_type):
            read(inner, (*place, number), f"{name}.")

    prefix = f"{file.package}." if file.package else ""
    read_enums(iter(file.enum_type), prefix)
    for number, message in enumerate(file.message_type):
        read(message, (number,), prefix)
    return _schema(messages, [], enums)


def _schema(
    messages: dict[Indexes, WrittenMessage],
    entries: list[WrittenMessage],
    enums: list[WrittenEnum],
) -> WrittenSchema:
    types: dict[str, WrittenMessage | WrittenEnum] = {}
    types |= {message.name: message for message in (*messages.values(), *entries)}
    types |= {enum.name: enum for enum in enums}
    return WrittenSchema(messages, types)


def _by_number(members: list[tuple[int, str]]) -> dict[int, frozenset[str]]:
    return {number: frozenset(n for m, n in members if m == number) for number, _ in members}


_COMMENT = re.compile(r"(?P<text>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')|//[^\n]*|/\*.*?\*/", re.S)
_TOKEN = re.compile(
    r"\bpackage\s+(?P<package>[\w.\s]+);"
    r"|\bmessage\s+(?P<message>\w+)\s*\{"
    r"|\benum\s+(?P<enum>\w+)\s*\{"
    r"|\boneof\s+\w+\s*(?P<oneof>\{)"
    r"|(?:\b(?P<label>repeated|optional|required)\s+)?"
    r"(?:group\s+(?P<group>\w+)\s*=\s*(?P<place>\w+)\s*(?:\[[^\]]*\]\s*)?\{"
    r"|(?P<type>\bmap\s*<[^>]*>\s*|\.?\b[A-Za-z_][\w.]*\s+)"
    r"(?P<field>\w+)\s*=\s*(?P<number>\w+)\s*[;\[])"
    r"|\b(?P<member>[A-Za-z_]\w*)\s*=\s*(?P<value>-?\s*\w+)\s*[;\[]"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    r"|(?P<brace>[{}])",
    re.S,
)


class _Source:
    """Reads the messages, fields and enums of a schema's source.

    It reads no more of the language than is needed to tell them from the options and the
    extensions beside them.
    """

    def __init__(self, text: str) -> None:
        self._messages: dict[Indexes, WrittenMessage] = {}
        self._entries: list[WrittenMessage] = []  # of maps
        self._enums: dict[str, list[tuple[int, str]]] = {}
        self._package = ""
        self._names: list[str] = []
        self._place: list[int] = []
        self._counts = [0]
        self._blocks: list[str] = []  # of each open brace, what opened it
        # A comment separates words; what looks like one in a text is none.
        for match in _TOKEN.finditer(_COMMENT.sub(lambda m: m["text"] or " ", text)):
            self._read(match)

    @property
    def schema(self) -> WrittenSchema:
        """What was read."""
        enums = [WrittenEnum(name, _by_number(found)) for name, found in self._enums.items()]
        return _schema(self._messages, self._entries, enums)

    def _read(self, match: re.Match[str]) -> None:
        within = self._blocks[-1] if self._blocks else ""
        has_fields = within in ("message", "oneof")
        if match["package"]:
            self._package = f"{''.join(match['package'].split())}."
        elif match["message"]:
            self._open(match["message"])
        elif match["enum"]:
            self._names.append(match["enum"])
            self._enums[self._full_name] = []
            self._blocks.append("enum")
        elif match["oneof"]:
            self._blocks.append("oneof")
        elif match["group"]:
            if has_fields:
                name = match["group"]
                self._add(name.lower(), name, match["label"], match["place"])
            self._open(match["group"])
        elif match["field"]:
            if has_fields and match["type"].strip() != "option":
                self._add(match["field"], match["type"], match["label"], match["number"])
        elif match["member"]:
            if within == "enum":
                self._enums[self._full_name].append((_number(match["value"]), match["member"]))
        elif match["brace"] == "{":
            self._blocks.append("other")
        elif match["brace"] and self._blocks:
            self._close(self._blocks.pop())

    @property
    def _full_name(self) -> str:
        return self._package + ".".join(self._names)

    def _open(self, name: str) -> None:
        self._names.append(name)
        self._place.append(self._counts[-1])
        self._counts[-1] += 1
        self._counts.append(0)
        self._blocks.append("message")
        self._messages[tuple(self._place)] = WrittenMessage(self._full_name, {})

    def _close(self, block: str) -> None:
        if block in ("message", "enum"):
            self._names.pop()
        if block == "message":
            self._place.pop()
            self._counts.pop()

    def _add(self, name: str, type_: str, label: str | None, number: str) -> None:
        repeated = label == "repeated"
        if "<" in type_:
            key, _, value = type_[type_.index("<") + 1 : type_.index(">")].partition(",")
            pair = {1: self._field("key", key), 2: self._field("value", value)}
            entry = WrittenMessage(f"{self._full_name}.<{name}>", pair)
            self._entries.append(entry)
            field = WrittenField(name, "", repeated=True, names=(entry.name,))
        else:
            field = self._field(name, type_, repeated)
        message = self._messages[tuple(self._place)]
        fields = {**message.fields, _number(number): field}
        self._messages[tuple(self._place)] = WrittenMessage(message.name, fields)

    def _field(self, name: str, type_: str, repeated: bool = False) -> WrittenField:
        type_ = type_.strip()
        if type_ in SCALARS.values():
            return WrittenField(name, type_, repeated)
        if type_.startswith("."):
            return WrittenField(name, "", repeated, (type_[1:],))
        scope = self._full_name.split(".")
        names = [".".join([*scope[:depth], type_]) for depth in range(len(scope), -1, -1)]
        return WrittenField(name, "", repeated, tuple(names))


def _number(text: str) -> int:
    """A number of a source: decimal, hexadecimal, or octal after a 0."""
    sign, digits = (-1, text[1:].strip()) if text.startswith("-") else (1, text)
    is_octal = digits.startswith("0") and digits.isdigit()
    return sign * int(digits, 8 if is_octal else 0)
