"""Which type of a schema a registered payload has: Avro's record, Protobuf's message.

A schema may have several: an Avro union of records, and the messages of a Protobuf file. The bytes
after the registry header tell which one it is: Avro's branch number, or Confluent's indexes.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from sluice.decode.wire import HEADER_BYTES

_PROTO_TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    r"|\bpackage\s+([\w.]+)\s*;|\bmessage\s+(\w+)\s*\{|([{}])",
    re.S,
)

Indexes = tuple[int, ...]
"""Place of a message in its file: the number of the outermost message, then of those within."""


def protobuf_name(text: str, value: bytes) -> str:
    """Full name of a Protobuf payload's message; empty if it cannot be determined.

    Args:
        text: the writer's schema: the source, or a serialized descriptor as base64.
        value: the message's bytes, including the registry header.
    """
    return _names(text).get(_indexes(value), "")


def avro_name(text: str, value: bytes) -> str:
    """Full name of an Avro payload's record; empty if it is not a record.

    Args:
        text: the writer's schema as JSON.
        value: the message's bytes, including the registry header.
    """
    schema = _avro_schema(text)
    if isinstance(schema, list):
        branch = next(_varints(value[HEADER_BYTES:]), -1)
        if not 0 <= branch < len(schema):
            return ""
        schema = schema[branch]
    if isinstance(schema, str):
        return schema
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return ""
    name, namespace = str(schema.get("name", "")), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


def is_union(text: str) -> bool:
    """Whether an Avro schema is a union, so that its payloads may have several types."""
    return text.lstrip().startswith("[")


@lru_cache(maxsize=256)
def _names(text: str) -> dict[Indexes, str]:
    return dict(_messages(text))


@lru_cache(maxsize=256)
def _avro_schema(text: str) -> Any:
    return msgspec.json.decode(text)


def _indexes(value: bytes) -> Indexes:
    """The list of message indexes; a single 0 stands for the first message."""
    numbers = _varints(value[HEADER_BYTES:])
    count = next(numbers, 0)
    if count == 0:
        return (0,)
    found = tuple(number for number, _ in zip(numbers, range(count), strict=False))
    return found if len(found) == count else ()


def _varints(data: bytes) -> Iterator[int]:
    """Zigzag numbers of variable length, as both Avro and Confluent's indexes have them."""
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield (number >> 1) ^ -(number & 1)
            number = shift = 0


def _messages(text: str) -> Iterator[tuple[Indexes, str]]:
    """Place and full name of each message of a Protobuf schema."""
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        yield from _messages_of_source(text)
        return
    prefix = f"{file.package}." if file.package else ""
    for number, message in enumerate(file.message_type):
        yield from _nested(message, (number,), prefix)


def _nested(
    message: DescriptorProto, indexes: Indexes, prefix: str
) -> Iterator[tuple[Indexes, str]]:
    yield indexes, f"{prefix}{message.name}"
    for number, inner in enumerate(message.nested_type):
        yield from _nested(inner, (*indexes, number), f"{prefix}{message.name}.")


def _messages_of_source(text: str) -> Iterator[tuple[Indexes, str]]:
    package = ""
    names: list[str] = []
    place: list[int] = []
    counts = [0]
    blocks: list[bool] = []  # of each open brace: whether a message opened it
    for match in _PROTO_TOKEN.finditer(text):
        found_package, name, brace = match.groups()
        if found_package:
            package = f"{found_package}."
        elif name:
            names.append(name)
            place.append(counts[-1])
            counts[-1] += 1
            counts.append(0)
            blocks.append(True)
            yield tuple(place), package + ".".join(names)
        elif brace == "{":
            blocks.append(False)
        elif brace == "}" and blocks and blocks.pop():
            names.pop()
            place.pop()
            counts.pop()
