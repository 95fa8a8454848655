"""Payloads of a registry: a stand-in for its client, and classes and bytes of both formats."""

import base64
import io
import tempfile
import uuid
from pathlib import Path
from typing import Any

import fastavro
import grpc_tools
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from grpc_tools import protoc

from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.kafka.schema_registry import Registered

HEADER = b"\x00\x00\x00\x00\x07"
FIELD = descriptor_pb2.FieldDescriptorProto


class OneSchema:
    """Stands for the registry's client: it has one schema."""

    def __init__(self, type_: str, text: str, *references: str) -> None:
        self.registered = Registered(7, type_, text, references)

    def by_id(self, schema_id: int) -> Registered:
        return self.registered


def decoder(contract: Any, type_: str, text: str, *references: str) -> Decoder:
    registry: Any = OneSchema(type_, text, *references)
    return Decoder(contract, RegistryPayloads(contract, registry))


def record(*fields: dict[str, Any], name: str = "Event") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def written(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def class_of(syntax: str = "proto3", **fields: Any) -> Any:
    """A message class.

    Args:
        fields: name → the arguments of its descriptor.
    """
    package = f"m{uuid.uuid4().hex}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    file.syntax = syntax
    colour = file.enum_type.add(name="Colour")
    for number, name in enumerate(("NONE", "RED")):
        colour.value.add(name=name, number=number)
    message = file.message_type.add(name="Event")
    inner = message.nested_type.add(name="AttrsEntry")
    inner.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        inner.field.add(name=name, number=number, type=FIELD.TYPE_STRING, label=1)
    for number, (name, options) in enumerate(fields.items(), 1):
        made = {"number": number, "label": 1} | options
        if "type_name" in made:
            made["type_name"] = f".{package}.{made['type_name']}"
        message.field.add(name=name, **made)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Event"))
    made_class.text = base64.b64encode(file.SerializeToString()).decode()
    made_class.package = package
    return made_class


ATTRS = {"type": FIELD.TYPE_MESSAGE, "type_name": "Event.AttrsEntry", "label": 3}
COLOUR = {"type": FIELD.TYPE_ENUM, "type_name": "Colour"}


def compiled(source: str) -> Any:
    """The class of ``Event``, and its file's descriptor, as protoc makes them."""
    package = f"m{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "event.proto").write_text(source.replace("PACKAGE", package))
        out = Path(folder) / "event.pb"
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        arguments = [f"-I{folder}", f"-I{well_known}", f"--descriptor_set_out={out}", "event.proto"]
        assert protoc.main(["protoc", *arguments]) == 0
        file = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    pool = descriptor_pool.DescriptorPool()
    timestamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    pool.Add(timestamp)
    file.name = f"{package}.proto"
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Event"))
    made.package, made.text = package, base64.b64encode(file.SerializeToString()).decode()
    return made
