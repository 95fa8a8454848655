"""Parsing of Avro and Protobuf payloads with confluent-kafka's deserializers."""

from collections.abc import Callable
from typing import Any

from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.json_format import MessageToDict

from sluice.kafka.schema_registry import SchemaRegistry

ReadPayload = Callable[[bytes], Any]
"""Parses a message, including its registry header, to an object; passes on the deserializer's
exceptions."""


def avro_reader(registry: SchemaRegistry, topic: str) -> ReadPayload:
    """A parser of a topic's Avro payloads."""
    read, context = AvroDeserializer(registry.client), _context(topic)
    return lambda value: read(value, context)


def protobuf_reader(registry: SchemaRegistry, topic: str, message_class: type) -> ReadPayload:
    """A parser of a topic's Protobuf payloads, to objects by field name; absent fields have their
    default value.
    """
    options = {"use.deprecated.format": False}
    read = ProtobufDeserializer(message_class, options, registry.client)
    context = _context(topic)

    def read_object(value: bytes) -> Any:
        return MessageToDict(
            read(value, context),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )

    return read_object


def _context(topic: str) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE)
