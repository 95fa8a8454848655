"""The envelope of a message: registry headers, byte order marks and Kafka headers."""

import re
from collections.abc import Sequence

import msgspec

from sluice.refusals import Reason, Refusal

Headers = Sequence[tuple[str, bytes | None]]

HEADER_BYTES = 5
"""Length of a registry header: magic byte 0 and a 4-byte big-endian schema id (Confluent)."""

LONG_HEADER_BYTES = 9
"""Length of a header with an 8-byte id, as Apicurio's serializers write by default."""

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_JSON_START = re.compile(rb"\s*[{\[\"0-9tfn-]")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The JSON of a message, and the schema id of its registry header, if it has one."""

    data: bytes
    schema_id: int | None = None


class Tracing(msgspec.Struct, frozen=True, gc=False):
    """Schema version, correlation id and trace context of a message; absent parts are empty."""

    version: str = ""
    correlation_id: str = ""
    trace_id: str = ""
    span_id: str = ""


UNTRACED = Tracing()


def strip_envelope(value: bytes) -> Payload | Refusal:
    """Remove what surrounds the JSON, or refuse bytes that cannot be JSON."""
    if not value:
        return Refusal(Reason.EMPTY_VALUE, "the value is empty (a tombstone would be null)")
    if value[0] == 0:
        if len(value) <= HEADER_BYTES:
            return Refusal(
                Reason.UNKNOWN_WIRE_FORMAT, "the value is a registry header without a payload"
            )
        if refusal := long_header(value):
            return refusal
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        payload = value[HEADER_BYTES:].removeprefix(_UTF8_MARK)
        if not _JSON_START.match(payload):
            return Refusal(
                Reason.UNKNOWN_WIRE_FORMAT,
                f"the registry header names schema id {schema_id}, but the payload is not JSON",
            )
        return Payload(payload, schema_id)
    if value.startswith(_UTF16_MARKS):
        return Refusal(
            Reason.BAD_ENCODING, "the value has a UTF-16 byte order mark; messages must be UTF-8"
        )
    return Payload(value.removeprefix(_UTF8_MARK))


def long_header(value: bytes) -> Refusal | None:
    """A refusal of a message whose header has an 8-byte id; None if it is Confluent's.

    No registry gives the id 0, so four bytes of 0 are the first half of a longer id.
    """
    if len(value) < LONG_HEADER_BYTES or any(value[:HEADER_BYTES]):
        return None
    schema_id = int.from_bytes(value[1:LONG_HEADER_BYTES], "big")
    return Refusal(
        Reason.UNKNOWN_WIRE_FORMAT,
        f"the registry header has an 8-byte id ({schema_id}), as Apicurio's serializers write by"
        " default; let them write Confluent's 4-byte ids:"
        " apicurio.registry.id-handler=io.apicurio.registry.serde.Legacy4ByteIdHandler",
    )


def read_headers(headers: Headers) -> Tracing:
    """Version, correlation id and W3C trace context from a message's Kafka headers.

    Recognised names, case-insensitive: ``schema_version``, ``correlation_id`` or
    ``x-correlation-id``, ``traceparent``. Values that are not UTF-8 are ignored.
    """
    version = correlation_id = trace_id = span_id = ""
    for key, raw in headers:
        name = key.lower()
        if name not in ("schema_version", "correlation_id", "x-correlation-id", "traceparent"):
            continue
        try:
            text = (raw or b"").decode()
        except UnicodeDecodeError:
            continue
        if name == "schema_version":
            version = text
        elif name == "traceparent":
            if match := _TRACEPARENT.fullmatch(text):
                trace_id, span_id = match[1], match[2]
        else:
            correlation_id = text
    return Tracing(version, correlation_id, trace_id, span_id)
