"""Which type of a schema a registered payload has: Avro's record, Protobuf's message.

A schema may have several: an Avro union of records, and the messages of a Protobuf file. The bytes
after the registry header tell which one it is: Avro's branch number, or Confluent's indexes.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from sluice.decode.protobuf_schema import Indexes, written_schema
from sluice.decode.wire import HEADER_BYTES


def protobuf_name(text: str, value: bytes) -> str:
    """Full name of a Protobuf payload's message; empty if it cannot be determined.

    Args:
        text: the writer's schema: the source, or a serialized descriptor as base64.
        value: the message's bytes, including the registry header.
    """
    message = written_schema(text).messages.get(message_indexes(value))
    return message.name if message else ""


def message_indexes(value: bytes) -> Indexes:
    """Place of a Protobuf payload's message in its schema; empty if it is cut off."""
    return _indexes(value)[0]


def protobuf_payload(value: bytes) -> bytes:
    """A Protobuf message without its registry header and its message indexes."""
    return value[HEADER_BYTES + _indexes(value)[1] :]


def avro_name(text: str, value: bytes) -> str:
    """Full name of an Avro payload's record; empty if it is not a record.

    Args:
        text: the writer's schema as JSON.
        value: the message's bytes, including the registry header.
    """
    schema = _avro_schema(text)
    if isinstance(schema, list):
        branch, _ = next(_varints(value[HEADER_BYTES:]), (-1, 0))
        if not 0 <= branch < len(schema):
            return ""
        schema = schema[branch]
    while isinstance(schema, dict) and isinstance(schema.get("type"), dict):
        schema = schema["type"]
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
def _avro_schema(text: str) -> Any:
    return msgspec.json.decode(text)


def _indexes(value: bytes) -> tuple[Indexes, int]:
    """The list of message indexes, and its length in bytes; a single 0 stands for the first
    message.
    """
    numbers = _varints(value[HEADER_BYTES:])
    count, _ = next(numbers, (0, 0))
    if count == 0:
        return (0,), 1
    found = [number for number, _ in zip(numbers, range(count), strict=False)]
    if len(found) != count:
        return (), 0
    return tuple(index for index, _ in found), found[-1][1]


def _varints(data: bytes) -> Iterator[tuple[int, int]]:
    """Zigzag numbers of variable length, as both Avro and Confluent's indexes have them, each with
    the position after it.
    """
    number = shift = 0
    for end, byte in enumerate(data, 1):
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield (number >> 1) ^ -(number & 1), end
            number = shift = 0
