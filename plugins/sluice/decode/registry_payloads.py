"""Messages whose registry header names their schema: JSON, Avro and Protobuf payloads."""

from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.json_format import MessageToDict

from sluice.contract import Contract
from sluice.contract.json_schema import VERSION_KEY
from sluice.contract.versions import class_of
from sluice.errors import Reason, Refusal
from sluice.kafka.schema_registry import Registered, SchemaRegistry, UnknownSchema


class Parsed(msgspec.Struct, frozen=True):
    """A payload as an object.

    Attributes:
        value: what the deserializer made of it.
        version: the contract's version that its schema is; empty when there is no telling.
        strict: False when numbers may be text, as Protobuf's 64-bit integers are.
    """

    value: Any
    version: str
    strict: bool


class Payloads:
    """Reads payloads by the schema that their header names."""

    def __init__(self, contract: Contract, registry: SchemaRegistry) -> None:
        self._contract, self._registry = contract, registry
        self._context = SerializationContext(contract.topic, MessageField.VALUE)
        self._versions: dict[int, str] = {}
        self._readers: dict[int, tuple[Registered, Callable[[bytes], Any]]] = {}
        self._fields = {
            frozenset(f.encode_name for f in msgspec.structs.fields(class_of(contract, v))): v.name
            for v in contract.versions
        }

    def version(self, registered: Registered) -> str:
        """The contract's version that a schema is: by its name in it, else by its fields."""
        if registered.id not in self._versions:
            self._versions[registered.id] = self._version_of(registered)
        return self._versions[registered.id]

    def schema(self, schema_id: int) -> Registered | Refusal:
        """The schema of an id; an id that the registry does not have refuses the message.

        Raises:
            RegistryError: the registry does not answer: the message is not to blame.
        """
        try:
            return self._registry.by_id(schema_id)
        except UnknownSchema as error:
            return Refusal(Reason.UNKNOWN_WIRE_FORMAT, str(error))

    def parse(self, registered: Registered, value: bytes) -> Parsed | Refusal:
        """An Avro or Protobuf message, header and all, as an object."""
        protobuf = registered.type == "PROTOBUF"
        if protobuf and self._contract.protobuf is None:
            text = (
                f"a Protobuf payload (schema id {registered.id}), and the contract of"
                f" {self._contract.topic!r} names no protobuf class"
            )
            return Refusal(Reason.UNKNOWN_WIRE_FORMAT, text)
        try:
            parsed = self._reader(registered)(value)
        except Exception as error:  # the deserializers raise what their libraries raise
            text = (
                f"a payload that schema id {registered.id} ({registered.type}) does not read:"
                f" {type(error).__name__}: {str(error)[:300]}"
            )
            return Refusal(Reason.UNKNOWN_WIRE_FORMAT, text)
        return Parsed(parsed, self.version(registered), strict=not protobuf)

    def _reader(self, registered: Registered) -> Callable[[bytes], Any]:
        known, reader = self._readers.get(registered.id, (None, None))
        if known is registered and reader:
            return reader
        client, context = self._registry.client, self._context
        if registered.type == "AVRO":
            avro = AvroDeserializer(client)
            reader = lambda value: avro(value, context)  # noqa: E731
        else:
            options = {"use.deprecated.format": False}
            protobuf = ProtobufDeserializer(self._contract.protobuf, options, client)
            reader = lambda value: _as_object(protobuf(value, context))  # noqa: E731
        self._readers[registered.id] = (registered, reader)
        return reader

    def _version_of(self, registered: Registered) -> str:
        if registered.type == "PROTOBUF":
            return ""
        try:
            schema = msgspec.json.decode(registered.text, type=dict[str, Any])
        except msgspec.MsgspecError:
            return ""
        known = {version.name for version in self._contract.versions}
        for key in (VERSION_KEY, "version", "schema_version"):
            if schema.get(key) in known:
                return str(schema[key])
        fields = schema.get("fields")
        names = [f["name"] for f in fields] if fields else list(schema.get("properties", ()))
        return self._fields.get(frozenset(names), "")


def _as_object(message: Any) -> dict[str, Any]:
    """A Protobuf message by the names of its fields; absent ones as their defaults."""
    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found
