"""Parsing of Avro and Protobuf payloads with confluent-kafka's deserializers.

A Protobuf message becomes an object whose values have Protobuf's own types. Its JSON form is not
used, because it changes values: 64-bit integers and bytes become text, and a short decimal number
takes the place of a 32-bit float.
"""

from collections.abc import Callable
from typing import Any

from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from sluice.kafka.schema_registry import SchemaRegistry

ReadPayload = Callable[[bytes], Any]
"""Parses a message, including its registry header, to an object; passes on the deserializer's
exceptions."""


def avro_reader(registry: SchemaRegistry, topic: str) -> ReadPayload:
    """A parser of a topic's Avro payloads."""
    read, context = AvroDeserializer(registry.client), _context(topic)
    return lambda value: read(value, context)


def protobuf_reader(registry: SchemaRegistry, topic: str, message_class: type) -> ReadPayload:
    """A parser of a topic's Protobuf payloads, to objects by field name; see
    :func:`protobuf_object`.
    """
    options = {"use.deprecated.format": False}
    read = ProtobufDeserializer(message_class, options, registry.client)
    context = _context(topic)
    return lambda value: protobuf_object(read(value, context))


def protobuf_object(message: Message) -> Any:
    """A Protobuf message as an object by field name.

    Members of an enum have their names, or their number if the class does not know it. Fields that
    are absent are left out; those whose presence Protobuf does not record have their default value.
    The types of ``google.protobuf``, such as ``Timestamp``, have their JSON form, and its wrapper
    types are the values that they wrap. The keys of maps are texts.
    """
    type_: Any = message.DESCRIPTOR
    if type_.full_name in _WRAPPERS:
        return message.value
    if type_.full_name.startswith("google.protobuf."):
        return MessageToDict(message)
    fields: dict[str, Any] = {}
    for field in type_.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            fields[field.name] = {
                _key_text(key): _protobuf_value(inner, value[key]) for key in value
            }
        elif _is_repeated(field):
            fields[field.name] = [_protobuf_value(field, item) for item in value]
        else:
            fields[field.name] = _protobuf_value(field, value)
    return fields


_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in (
        "Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes",
    )
)  # fmt: skip


def _key_text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return field.label == FieldDescriptor.LABEL_REPEATED if repeated is None else bool(repeated)


def _protobuf_value(field: Any, value: Any) -> Any:
    if field.message_type:
        return protobuf_object(value)
    if field.enum_type:
        if field.enum_type.full_name == "google.protobuf.NullValue":
            return None
        member = field.enum_type.values_by_number.get(value)
        return member.name if member else value
    return value


def _context(topic: str) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE)
