"""The messages of a Protobuf schema as its writer has registered it, and their fields."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError
from msgspec import Struct

from sluice.kafka.payload_formats import is_repeated

Indexes = tuple[int, ...]
"""Place of a message in its file: the number of the outermost message, then of those within."""


class WrittenField(Struct, frozen=True):
    """A field as the writer has declared it; a type that is no scalar is ``message or enum``.

    Attributes:
        entry: the types of the keys and values of a map, where the source declares it.
    """

    name: str
    type: str
    repeated: bool = False
    entry: tuple[str, ...] = ()


class WrittenMessage(Struct, frozen=True):
    """A message as the writer has declared it: its full name, and number → field."""

    name: str
    fields: Mapping[int, WrittenField]


_SCALARS = {
    type_: name.removeprefix("TYPE_").lower()
    for name, type_ in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}
_OTHER = "message or enum"

_WIDER = {
    "int32": {"int64"},
    "sint32": {"sint64"},
    "uint32": {"uint64", "int64"},
    "bool": {"int32", "int64", "uint32", "uint64"},
    "string": {"bytes"},
}
"""Type of the writer → other types that read the same value from the same bytes."""


@lru_cache(maxsize=256)
def written_messages(text: str) -> Mapping[Indexes, WrittenMessage]:
    """Place → message of a Protobuf schema.

    Args:
        text: the source, or a serialized descriptor as base64.
    """
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return _Source(text).messages
    prefix = f"{file.package}." if file.package else ""
    return {
        place: found
        for number, message in enumerate(file.message_type)
        for place, found in _of_descriptor(message, (number,), prefix)
    }


def difference(written: Mapping[str, WrittenMessage], type_: Any, path: str = "") -> str:
    """Why a class cannot read what a writer writes, with the field's path; empty if it can.

    Args:
        written: full name → message of the writer's schema.
        type_: the class's descriptor.
    """
    return _difference(written, type_, path, set())


def _difference(
    written: Mapping[str, WrittenMessage], type_: Any, path: str, seen: set[str]
) -> str:
    message = written.get(type_.full_name)
    if message is None or type_.full_name in seen:
        return ""
    seen.add(type_.full_name)
    for field in type_.fields:
        theirs = message.fields.get(field.number)
        if theirs is None:
            continue
        place = f"{path}{field.name}"
        mine = WrittenField(field.name, _SCALARS.get(field.type, _OTHER), is_repeated(field))
        if not _reads_same(theirs, mine, field) or theirs.repeated != mine.repeated:
            return (
                f"field {place!r} (number {field.number}) is {_describe(theirs)} in the writer's"
                f" schema, and {_describe(mine)} in class {type_.full_name}"
            )
        inner = field.message_type
        if inner and (found := _difference(written, inner, f"{place}.", seen)):
            return found
    return ""


def _reads_same(theirs: WrittenField, mine: WrittenField, field: Any) -> bool:
    """Whether the class reads the value that the writer has written."""
    pairs = [(theirs.type, mine.type)]
    if theirs.entry and field.message_type and field.message_type.GetOptions().map_entry:
        inner = [field.message_type.fields_by_name[name] for name in ("key", "value")]
        types = [_SCALARS.get(each.type, _OTHER) for each in inner]
        pairs += zip(theirs.entry, types, strict=True)
    return all(a == b or b in _WIDER.get(a, ()) for a, b in pairs)


def _describe(field: WrittenField) -> str:
    if field.entry:
        return f"map<{', '.join(field.entry)}>"
    return f"repeated {field.type}" if field.repeated else field.type


def _of_descriptor(
    message: DescriptorProto, indexes: Indexes, prefix: str
) -> Iterator[tuple[Indexes, WrittenMessage]]:
    name = f"{prefix}{message.name}"
    fields = {
        f.number: WrittenField(
            f.name, _SCALARS.get(f.type, _OTHER), f.label == FieldDescriptorProto.LABEL_REPEATED
        )
        for f in message.field
    }
    yield indexes, WrittenMessage(name, fields)
    for number, inner in enumerate(message.nested_type):
        yield from _of_descriptor(inner, (*indexes, number), f"{name}.")


_COMMENT = re.compile(r"(?P<text>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')|//[^\n]*|/\*.*?\*/", re.S)
_TOKEN = re.compile(
    r"\bpackage\s+(?P<package>[\w.\s]+);"
    r"|\bmessage\s+(?P<message>\w+)\s*\{"
    r"|\boneof\s+\w+\s*(?P<oneof>\{)"
    r"|(?:\b(?P<label>repeated|optional|required)\s+)?"
    r"(?:group\s+(?P<group>\w+)\s*=\s*(?P<place>\w+)\s*(?:\[[^\]]*\]\s*)?\{"
    r"|(?P<type>\bmap\s*<[^>]*>\s*|\.?\b[A-Za-z_][\w.]*\s+)"
    r"(?P<field>\w+)\s*=\s*(?P<number>\w+)\s*[;\[])"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    r"|(?P<brace>[{}])",
    re.S,
)


class _Source:
    """Reads the messages and fields of a schema's source.

    It reads no more of the language than is needed to tell a message's fields from the members of
    an enum, the options and the extensions beside them.
    """

    def __init__(self, text: str) -> None:
        self.messages: dict[Indexes, WrittenMessage] = {}
        self._package = ""
        self._names: list[str] = []
        self._place: list[int] = []
        self._counts = [0]
        self._blocks: list[str] = []  # of each open brace, what opened it
        # A comment separates words; what looks like one in a text is none.
        for match in _TOKEN.finditer(_COMMENT.sub(lambda m: m["text"] or " ", text)):
            self._read(match)

    def _read(self, match: re.Match[str]) -> None:
        if match["package"]:
            self._package = f"{''.join(match['package'].split())}."
        elif match["message"]:
            self._open(match["message"])
        elif match["oneof"]:
            self._blocks.append("oneof")
        elif match["group"]:
            if self._in_message:
                self._add(match["group"].lower(), _OTHER, match["label"], match["place"])
            self._open(match["group"])
        elif match["field"]:
            if self._in_message and match["type"].strip() != "option":
                self._add(match["field"], match["type"], match["label"], match["number"])
        elif match["brace"] == "{":
            self._blocks.append("other")
        elif match["brace"] and self._blocks and self._blocks.pop() == "message":
            self._names.pop()
            self._place.pop()
            self._counts.pop()

    def _open(self, name: str) -> None:
        self._names.append(name)
        self._place.append(self._counts[-1])
        self._counts[-1] += 1
        self._counts.append(0)
        self._blocks.append("message")
        full_name = self._package + ".".join(self._names)
        self.messages[tuple(self._place)] = WrittenMessage(full_name, {})

    @property
    def _in_message(self) -> bool:
        return bool(self._blocks) and self._blocks[-1] != "other"

    def _add(self, name: str, type_: str, label: str | None, number: str) -> None:
        entry: tuple[str, ...] = ()
        if "<" in type_:
            inner = type_[type_.index("<") + 1 : type_.index(">")]
            entry = tuple(_known_type(part) for part in inner.split(","))
        field = WrittenField(name, _known_type(type_), bool(entry) or label == "repeated", entry)
        fields: Any = self.messages[tuple(self._place)].fields
        fields[_number(number)] = field


def _known_type(text: str) -> str:
    return text.strip() if text.strip() in _SCALARS.values() else _OTHER


def _number(text: str) -> int:
    """A number of a source: decimal, hexadecimal, or octal after a 0."""
    is_octal = text.startswith("0") and text.isdigit()
    return int(text, 8 if is_octal else 0)
