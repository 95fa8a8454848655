"""Avro and Protobuf messages of a sample, read with the schemas of the registry."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from sluice.authoring.new_topic.description import ProtobufClass
from sluice.authoring.new_topic.hints import NO_HINTS, Hints, avro_hints, protobuf_hints
from sluice.decode.message_type import message_indexes, protobuf_payload
from sluice.decode.wire import HEADER_BYTES
from sluice.errors import ContractError
from sluice.kafka.payload_formats import ReadPayload, avro_reader, protobuf_reader
from sluice.kafka.schema_registry import Registered, SchemaRegistry, UnknownSchema


class RegisteredMessages:
    """Reads the messages of one topic that have a registry header.

    Args:
        message_class: the generated Protobuf class; without it, the class is made of the
            descriptors in the registry.

    Attributes:
        hints: what the schemas of the messages read so far say.
        protobuf: where the Protobuf class is from; None if no message was Protobuf.
    """

    def __init__(
        self, registry: SchemaRegistry, topic: str, message_class: type | None = None
    ) -> None:
        self._registry, self._topic, self._class = registry, topic, message_class
        self._readers: dict[tuple[int, tuple[int, ...]], ReadPayload] = {}
        self.hints: Hints = NO_HINTS
        self.protobuf: ProtobufClass | None = None

    def parse(self, value: bytes) -> Any:
        """The object of a message; the name of a kind, if it cannot be read; None for JSON.

        Raises:
            RegistryError: the registry does not respond.
            ContractError: the messages are Protobuf, and no class is available.
        """
        try:
            registered = self._registry.by_id(int.from_bytes(value[1:HEADER_BYTES], "big"))
        except UnknownSchema:
            return "unknown_schema_id"
        if registered.type not in ("AVRO", "PROTOBUF"):
            return None
        protobuf = registered.type == "PROTOBUF"
        indexes = message_indexes(value) if protobuf else ()
        key = (registered.id, indexes)
        if key not in self._readers:
            self._readers[key] = self._reader(registered, indexes)
        try:
            payload = protobuf_payload(value) if protobuf else value[HEADER_BYTES:]
            return self._readers[key](payload)
        except Exception:  # the formats' libraries raise any exception for invalid bytes
            return f"unreadable_{registered.type.lower()}"

    def _reader(self, registered: Registered, indexes: tuple[int, ...]) -> ReadPayload:
        if registered.type == "AVRO":
            self.hints |= avro_hints(registered.text)
            return avro_reader(registered.text, registered.references)
        message_class: Any = self._class
        if message_class is not None:
            self.protobuf = ProtobufClass(message_class.__module__, message_class.__qualname__)
        else:
            message_class = self._made_class(registered, indexes)
        self.hints |= protobuf_hints(message_class.DESCRIPTOR)
        return protobuf_reader(message_class)

    def _made_class(self, registered: Registered, indexes: tuple[int, ...]) -> type:
        """A class of the registered descriptors."""
        files = self._files(registered)
        messages: Any = files[-1].message_type
        path: list[str] = []
        for index in indexes:
            path.append(messages[index].name)
            messages = messages[index].nested_type
        if package := files[-1].package:
            path[0] = f"{package}.{path[0]}"
        name = ".".join(path)
        if self.protobuf is not None and self.protobuf.path != tuple(path):
            raise ContractError(
                f"the topic has Protobuf messages of several types:"
                f" {'.'.join(self.protobuf.path)!r} and {name!r}; a contract has one, so name its"
                " class with --protobuf",
                topic=self._topic,
            )
        descriptors = descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()
        self.protobuf = ProtobufClass(descriptors=descriptors, path=tuple(path))
        pool = descriptor_pool.DescriptorPool()
        for file in files:
            pool.Add(file)
        descriptor = pool.FindMessageTypeByName(name)
        message_class: type = message_factory.GetMessageClass(descriptor)
        return message_class

    def _files(self, registered: Registered) -> list[Any]:
        """The descriptor of a schema's file, after those of the files that it imports."""
        text, references = registered.text, dict[str, tuple[str, int]]()
        try:
            # The client has cached the schema without its subject in the other format.
            subject = f"{self._topic}-value"
            schema = self._registry.client.get_schema(registered.id, subject, "serialized")
            text = schema.schema_str or text
            references = _references(schema)
        except Exception:  # a registry may refuse the option; then the text may do
            text = registered.text
        file = _descriptor_of(text)
        if file is None:
            raise ContractError(
                f"the messages are Protobuf, and the registry has no descriptor of schema id"
                f" {registered.id}, only its source: generate the class with protoc, and name it"
                " with --protobuf package.module:Class",
                topic=self._topic,
            )
        return [*self._imported(file, references, {file.name}), file]

    def _imported(
        self, file: Any, references: dict[str, tuple[str, int]], visited: set[str]
    ) -> Iterator[Any]:
        for name in file.dependency:
            if name in visited:
                continue
            visited.add(name)
            imported = self._dependency(name, references)
            yield from self._imported(imported, references, visited)
            yield imported

    def _dependency(self, name: str, references: dict[str, tuple[str, int]]) -> Any:
        if name in references:
            subject, version = references[name]
            try:
                schema = self._registry.client.get_version(subject, version, fmt="serialized")
                references |= _references(schema.schema)
                file = _descriptor_of(schema.schema.schema_str or "")
            except Exception:  # whatever the client raises; the import is missing then
                file = None
            if file is not None:
                file.name = name
                return file
        known = descriptor_pb2.FileDescriptorProto()
        try:
            descriptor_pool.Default().FindFileByName(name).CopyToProto(known)
        except KeyError:
            raise ContractError(
                f"the registry has no descriptor of {name!r}, which the Protobuf schema imports:"
                " generate the class with protoc, and name it with --protobuf package.module:Class",
                topic=self._topic,
            ) from None
        return known


def _references(schema: Any) -> dict[str, tuple[str, int]]:
    """The files that a registered schema imports: name → subject and version."""
    return {r.name: (r.subject, r.version) for r in schema.references or ()}


def _descriptor_of(text: str) -> Any:
    """The file descriptor that a registry has as base64; None if the text is a source."""
    try:
        data = base64.b64decode(text, validate=True)
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
    except (binascii.Error, ValueError, DecodeError):
        return None
    return file if file.message_type else None
