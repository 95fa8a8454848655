"""Payloads of messages whose registry header names their schema: JSON, Avro and Protobuf."""

from typing import Any

import msgspec

from sluice.contract import Contract
from sluice.contract.json_schema import VERSION_KEY
from sluice.contract.versions import version_class
from sluice.decode.avro_branches import Branches, OtherBranch
from sluice.decode.message_type import avro_name, is_union, protobuf_name, protobuf_payload
from sluice.decode.protobuf_difference import difference
from sluice.decode.protobuf_schema import written_schema
from sluice.decode.wire import HEADER_BYTES
from sluice.kafka.payload_formats import PayloadError, ReadPayload, avro_reader, protobuf_reader
from sluice.kafka.schema_registry import Registered, SchemaRegistry, UnknownSchema
from sluice.refusals import Reason, Refusal


class ParsedPayload(msgspec.Struct, frozen=True):
    """A payload parsed to an object.

    Attributes:
        value: the object that the deserializer returned.
        version: the contract version of its schema; empty if it cannot be determined.
    """

    value: Any
    version: str


class RegistryPayloads:
    """Parses payloads of one contract's topic with the schemas of a registry."""

    def __init__(self, contract: Contract, registry: SchemaRegistry) -> None:
        self._contract, self._registry = contract, registry
        self._versions: dict[int, str] = {}
        self._readers: dict[int, tuple[Registered, ReadPayload]] = {}
        self._branches = Branches(contract.message)
        self._fields = {
            frozenset(
                f.encode_name for f in msgspec.structs.fields(version_class(contract, v))
            ): v.name
            for v in contract.versions
        }

    def version(self, registered: Registered) -> str:
        """The contract version of a schema: the one that it names, or else the one with its fields.

        Empty if neither determines it; always empty for Protobuf.
        """
        if registered.id not in self._versions:
            self._versions[registered.id] = self._version_of(registered)
        return self._versions[registered.id]

    def schema(self, schema_id: int) -> Registered | Refusal:
        """The schema of an id, or a refusal of the message if the registry does not have it.

        Raises:
            RegistryError: the registry does not respond; the message may be valid.
        """
        try:
            return self._registry.by_id(schema_id)
        except UnknownSchema as error:
            return Refusal(Reason.UNKNOWN_WIRE_FORMAT, str(error))

    def parse(self, registered: Registered, value: bytes) -> ParsedPayload | Refusal:
        """Parse an Avro or Protobuf message.

        Args:
            value: the message's bytes, including the registry header.
        """
        protobuf = registered.type == "PROTOBUF"
        if protobuf and self._contract.protobuf is None:
            text = (
                f"the payload is Protobuf (schema id {registered.id}), but the contract of topic"
                f" {self._contract.topic!r} has no `protobuf` class"
            )
            return Refusal(Reason.UNKNOWN_WIRE_FORMAT, text)
        payload = protobuf_payload(value) if protobuf else value[HEADER_BYTES:]
        try:
            if refusal := self._other_type(registered, value):
                return refusal
            parsed = self._reader(registered)(payload)
        except OtherBranch as error:
            return Refusal(Reason.UNKNOWN_TYPE, f"{error} (schema id {registered.id})")
        except Exception as error:  # the formats' libraries raise any exception for invalid bytes
            deep = isinstance(error, RecursionError)
            text = (
                f"the payload cannot be read with schema id {registered.id} ({registered.type}):"
                f" {type(error).__name__}: {str(error)[:300]}"
            )
            return Refusal(Reason.TOO_DEEP if deep else Reason.UNKNOWN_WIRE_FORMAT, text)
        return ParsedPayload(parsed, self.version(registered))

    def _other_type(self, registered: Registered, value: bytes) -> Refusal | None:
        """A refusal of a payload whose type is not the contract's; None if it is, or if the schema
        has one type only and the contract does not name it.
        """
        record, message = self._contract.record, self._contract.message.__name__
        if registered.type == "AVRO":
            name = avro_name(registered.text, value)
            if record:
                expected, is_other = record, name != record
            else:
                expected = message
                is_other = is_union(registered.text) and name.rpartition(".")[2] != message
        else:
            name = protobuf_name(registered.text, value)
            expected = self._protobuf.DESCRIPTOR.full_name
            is_other = name != expected
        if not is_other:
            return None
        return Refusal(
            Reason.UNKNOWN_TYPE,
            f"the payload is of type {name or 'unknown'!r} (schema id {registered.id}); the"
            f" contract of topic {self._contract.topic!r} reads {expected!r}",
        )

    def _reader(self, registered: Registered) -> ReadPayload:
        known, reader = self._readers.get(registered.id, (None, None))
        if known is registered and reader:
            return reader
        if registered.type == "AVRO":
            reader = avro_reader(registered.text, registered.references, self._branches.resolve)
        else:
            self._check_class(registered)
            reader = protobuf_reader(self._protobuf)
        self._readers[registered.id] = (registered, reader)
        return reader

    @property
    def _protobuf(self) -> Any:
        """The contract's Protobuf class; parse() has refused a contract without one."""
        assert self._contract.protobuf is not None
        return self._contract.protobuf

    def _check_class(self, registered: Registered) -> None:
        """Refuse a writer's schema whose values the contract's class would read as others.

        Raises:
            PayloadError: names the field.
        """
        texts = (registered.text, *registered.references)
        written = {name: t for text in texts for name, t in written_schema(text).types.items()}
        if why := difference(written, self._protobuf.DESCRIPTOR):
            raise PayloadError(why)

    def _version_of(self, registered: Registered) -> str:
        if registered.type == "PROTOBUF":
            return ""
        try:
            schema = msgspec.json.decode(registered.text, type=dict[str, Any])
        except msgspec.MsgspecError:
            return ""
        known = {version.name for version in self._contract.versions}
        for key in (VERSION_KEY, "version", "schema_version"):
            if isinstance(name := schema.get(key), str) and name in known:
                return name
        # Anybody may register anything under these names.
        fields, properties = schema.get("fields"), schema.get("properties")
        names: list[Any] = []
        if isinstance(fields, list):
            names = [field.get("name") for field in fields if isinstance(field, dict)]
        elif isinstance(properties, dict):
            names = list(properties)
        return self._fields.get(frozenset(n for n in names if isinstance(n, str)), "")
