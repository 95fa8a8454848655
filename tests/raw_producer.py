"""Messages that the Python client cannot produce, sent by its own library: librdkafka."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import confluent_kafka

from sluice.settings import Connection

_TOPIC, _VALUE, _MSGFLAGS, _HEADERS, _COPY = 1, 4, 7, 10, 2
"""Kinds of arguments of rd_kafka_produceva, and its flag to copy the value."""


class _Value(ctypes.Union):
    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("memory", ctypes.c_void_p * 2),
        ("size", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("value", _Value))


def produce_raw(
    kafka: Connection, topic: str, value: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """Send a message whose header names are any bytes."""
    (path,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka*")
    library = ctypes.CDLL(str(path))

    def call(name: str, *arguments: Any) -> Any:
        function = getattr(library, name)
        function.restype = ctypes.c_void_p
        return function(*arguments)

    text = ctypes.create_string_buffer(512)
    config = ctypes.c_void_p(call("rd_kafka_conf_new"))
    servers = kafka.extra["bootstrap.servers"].encode()
    call("rd_kafka_conf_set", config, b"bootstrap.servers", servers, text, ctypes.c_size_t(512))
    client = ctypes.c_void_p(call("rd_kafka_new", 0, config, text, ctypes.c_size_t(512)))
    listed = ctypes.c_void_p(call("rd_kafka_headers_new", ctypes.c_size_t(len(headers))))
    for name, content in headers:
        sizes = ctypes.c_ssize_t(len(name)), ctypes.c_ssize_t(len(content))
        call("rd_kafka_header_add", listed, name, sizes[0], content, sizes[1])
    name_buffer, buffer = ctypes.create_string_buffer(topic.encode()), ctypes.c_char_p(value)
    arguments = (_Argument * 4)()
    arguments[0].kind, arguments[0].value.pointer = _TOPIC, ctypes.addressof(name_buffer)
    arguments[1].kind = _VALUE
    arguments[1].value.memory[0] = ctypes.cast(buffer, ctypes.c_void_p).value
    arguments[1].value.memory[1] = len(value)
    arguments[2].kind, arguments[2].value.number = _MSGFLAGS, _COPY
    arguments[3].kind, arguments[3].value.pointer = _HEADERS, listed.value
    assert call("rd_kafka_produceva", client, arguments, ctypes.c_size_t(4)) is None
    call("rd_kafka_flush", client, 10_000)
    call("rd_kafka_destroy", client)
