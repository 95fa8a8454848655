"""What the wire puts around a message: registry headers, byte order marks, Kafka headers."""

import re
from collections.abc import Sequence

import msgspec

from sluice.errors import Reason, Refusal

Headers = Sequence[tuple[str, bytes | None]]

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
HEADER_BYTES = 5
"""Magic byte 0 and a 4-byte schema id, big-endian (Confluent wire format)."""
_JSON_START = re.compile(rb"\s*[{\[\"0-9tfn-]")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The JSON of a message, and the registry's schema id when a header carried one."""

    data: bytes
    schema_id: int | None = None


class Tracing(msgspec.Struct, frozen=True, gc=False):
    """What the headers say of a message; every part is empty when they say nothing."""

    version: str = ""
    correlation_id: str = ""
    trace_id: str = ""
    span_id: str = ""


UNTRACED = Tracing()


def strip_envelope(value: bytes) -> Payload | Refusal:
    """Take off what surrounds the JSON, or say by name what the bytes are instead."""
    if not value:
        return Refusal(Reason.EMPTY_VALUE, "the value has no bytes (a tombstone is null)")
    if value[0] == 0:
        if len(value) <= HEADER_BYTES:
            return Refusal(Reason.UNKNOWN_WIRE_FORMAT, "a registry header with no payload")
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        payload = value[HEADER_BYTES:].removeprefix(_UTF8_MARK)
        if not _JSON_START.match(payload):
            return Refusal(
                Reason.UNKNOWN_WIRE_FORMAT,
                f"registry header with schema id {schema_id}, and a payload that is not JSON",
            )
        return Payload(payload, schema_id)
    if value.startswith(_UTF16_MARKS):
        return Refusal(Reason.BAD_ENCODING, "UTF-16 byte order mark; messages must be UTF-8")
    return Payload(value.removeprefix(_UTF8_MARK))


def read_headers(headers: Headers) -> Tracing:
    """Version, correlation id and W3C trace context from a message's Kafka headers.

    Recognised names, in any case: ``schema_version``, ``correlation_id`` or
    ``x-correlation-id``, ``traceparent``. Bytes that are not UTF-8 count as absent.
    """
    version = correlation_id = trace_id = span_id = ""
    for name, raw in headers:
        known = name.lower()
        if known not in ("schema_version", "correlation_id", "x-correlation-id", "traceparent"):
            continue
        try:
            text = (raw or b"").decode()
        except UnicodeDecodeError:
            continue
        if known == "schema_version":
            version = text
        elif known == "traceparent":
            if match := _TRACEPARENT.fullmatch(text):
                trace_id, span_id = match[1], match[2]
        else:
            correlation_id = text
    return Tracing(version, correlation_id, trace_id, span_id)
