"""For tests of the schema registry: payloads in all formats, and a link to it that can be cut."""

import contextlib
import json
import socket
import struct
import threading
import uuid
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sluice.contract import Contract


class Link:
    """A TCP connection to a server that a test can cut; then the server is unreachable.

    Attributes:
        url: the server's URL through the link.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._address = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        self.url = target._replace(netloc=f"127.0.0.1:{port}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and accept no more of them."""
        for connection in (self._listener, *self._connections):
            _shut(connection)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # raised when the link is cut
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._address)
                self._connections += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=_forward, args=ends, daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError), source:
        while data := source.recv(1 << 16):
            target.sendall(data)
        _shut(target)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def header(schema_id: int) -> bytes:
    """A registry header."""
    return b"\x00" + struct.pack(">I", schema_id)


ITEM = {
    "line_item_id": "L1",
    "product_id": "P",
    "product_title": "Lamp",
    "quantity": 2,
    "price": 1.5,
    "discount": 0.0,
}

AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "customer_name", "type": "string"},
        {
            "name": "line_items",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Item",
                    "fields": [
                        {"name": "line_item_id", "type": "string"},
                        {"name": "product_id", "type": "string"},
                        {"name": "product_title", "type": "string"},
                        {"name": "quantity", "type": "int"},
                        {"name": "price", "type": "double"},
                        {"name": "discount", "type": "double"},
                    ],
                },
            },
        },
        {"name": "total_price", "type": "double"},
        {"name": "notes", "type": "string"},
    ],
}
"""The Avro schema of version 1.0 of an order."""

AVRO_EMAIL = {"name": "customer_email", "type": "string"}
"""The field that version 1.1 added."""


def avro_value(client: SchemaRegistryClient, contract: Contract, *added: dict[str, Any]) -> bytes:
    """An order of version 1.0 with some added fields, as Avro; its schema gets registered."""
    schema = {**AVRO, "fields": [*AVRO["fields"], *added]}
    order: dict[str, Any] = {
        "order_id": "o-avro",
        "created_at": 1_700_000_000_123,
        "customer_name": "Ada",
        "line_items": [ITEM],
        "total_price": 3.0,
        "notes": "",
    }
    order |= {field["name"]: "a@b" for field in added}
    serialize = AvroSerializer(client, json.dumps(schema))
    value = serialize(order, SerializationContext(contract.topic, MessageField.VALUE))
    assert isinstance(value, bytes)
    return value


def proto_class(fields: dict[str, int]) -> Any:
    """The class of an order that protoc would generate.

    Args:
        fields: optional string field to add → its number.
    """
    name = f"m{uuid.uuid4().hex}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    string, double, message = 9, 1, 11

    def add(
        struct_: Any, number: int, field: str, type_: int, label: int = 1, **options: Any
    ) -> None:
        struct_.field.add(name=field, number=number, type=type_, label=label, **options)

    item = file.message_type.add(name="Item")
    for number, field in enumerate(("line_item_id", "product_id", "product_title"), 1):
        add(item, number, field, string)
    add(item, 4, "quantity", 3)  # int64, which is text in JSON
    add(item, 5, "price", double)
    add(item, 6, "discount", double)
    order = file.message_type.add(name="Order")
    for number, field in enumerate(("order_id", "customer_name", "notes"), 1):
        add(order, number, field, string)
    add(order, 4, "created_at", message, type_name=".google.protobuf.Timestamp")
    add(order, 5, "line_items", message, type_name=f".{name}.Item", label=3)
    add(order, 6, "total_price", double)
    for field, number in fields.items():
        add(order, number, field, string, proto3_optional=True, oneof_index=0)
        order.oneof_decl.add(name=f"_{field}")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.Order"))


def proto_value(client: SchemaRegistryClient, contract: Contract, **fields: str) -> bytes:
    """An order as Protobuf, of the contract's class; its schema gets registered."""
    assert contract.protobuf is not None
    order = contract.protobuf(order_id="o-proto", customer_name="Ada", total_price=3.0, **fields)
    order.created_at.FromMilliseconds(1_700_000_000_123)
    order.line_items.add(**ITEM)
    serialize = ProtobufSerializer(contract.protobuf, client, {"use.deprecated.format": False})
    value = serialize(order, SerializationContext(contract.topic, MessageField.VALUE))
    assert isinstance(value, bytes)
    return value
