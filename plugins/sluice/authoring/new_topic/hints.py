"""What a registered schema says of messages, and a sample of them cannot show."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct


class Hints(Struct, frozen=True):
    """Paths of fields, such as ``lines[].price`` or ``by_name{}``.

    Attributes:
        dicts: objects whose keys are data.
        nullable: values that may be null.
        absent: fields that messages may leave out.
    """

    dicts: frozenset[str] = frozenset()
    nullable: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()

    @classmethod
    def of(cls, found: Iterator[tuple[str, str]]) -> "Hints":
        """Hints from pairs of an attribute's name and a path."""
        pairs = set(found)
        return cls(
            *(
                frozenset(path for kind, path in pairs if kind == name)
                for name in ("dicts", "nullable", "absent")
            )
        )

    def __or__(self, other: "Hints") -> "Hints":
        return Hints(
            self.dicts | other.dicts, self.nullable | other.nullable, self.absent | other.absent
        )


def avro_hints(text: str) -> Hints:
    """The hints of an Avro schema; none if it cannot be read."""
    try:
        schema = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return Hints()
    named: dict[str, Any] = {}
    return Hints.of(_avro(schema, "", named, ()))


def _avro(
    schema: Any, path: str, named: dict[str, Any], stack: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    if isinstance(schema, str):
        schema = named.get(schema, schema)
    match schema:
        case list():
            if "null" in schema:
                yield "nullable", path
            for option in schema:
                yield from _avro(option, path, named, stack)
        case {"type": "array", "items": items}:
            yield from _avro(items, f"{path}[]", named, stack)
        case {"type": "map", "values": values}:
            yield "dicts", path
            yield from _avro(values, f"{path}{{}}", named, stack)
        case {"type": "record", "fields": list() as fields} if id(schema) not in stack:
            name = str(schema.get("name", ""))
            named[name] = schema
            named[f"{schema.get('namespace', '')}.{name}"] = schema
            for field in fields:
                inner = f"{path}.{field['name']}" if path else str(field["name"])
                yield from _avro(field["type"], inner, named, (*stack, id(schema)))
        case {"type": dict() | list() as inner_type}:
            yield from _avro(inner_type, path, named, stack)


def protobuf_hints(descriptor: Any) -> Hints:
    """The hints of a Protobuf message's descriptor."""
    return Hints.of(_protobuf(descriptor, "", ()))


def _protobuf(descriptor: Any, path: str, stack: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if descriptor.full_name in stack or descriptor.full_name.startswith("google.protobuf."):
        return
    stack = (*stack, descriptor.full_name)
    for field in descriptor.fields:
        inner = f"{path}.{field.name}" if path else field.name
        if field.has_presence:
            yield "absent", inner
        message = field.message_type
        if message is None:
            continue
        if message.GetOptions().map_entry:
            yield "dicts", inner
            value = message.fields_by_name["value"].message_type
            if value is not None:
                yield from _protobuf(value, f"{inner}{{}}", stack)
        else:
            yield from _protobuf(message, f"{inner}[]" if field.is_repeated else inner, stack)


NO_HINTS = Hints()
