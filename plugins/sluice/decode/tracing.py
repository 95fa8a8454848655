"""Correlation ids and trace context: producers attach them to messages, loads keep them with rows.

They travel in Kafka headers (``correlation_id``, ``traceparent``) or as fields of the message.
Headers take precedence, because that is where tracing tools write.
"""

import uuid
from typing import Any

import msgspec
from msgspec import Struct

from sluice.decode.failures import FAILURES
from sluice.decode.wire import HEADER_BYTES, UNTRACED, Headers, Tracing, read_headers
from sluice.telemetry import current_span_ids

FIELDS = ("correlation_id", "trace_id", "span_id")
"""Fields that a traced class adds to those of its base class."""

MARK = b'"correlation_id"'
"""Occurs in every message that carries its tracing in its body."""


class TracingHelper:
    """Adds tracing to messages; for producers."""

    @staticmethod
    def generate_correlation_id() -> str:
        """A new correlation id: a random UUID."""
        return str(uuid.uuid4())

    @staticmethod
    def add_tracing(message: Struct, correlation_id: str = "") -> Any:
        """A message with the same fields, a correlation id, and the current span's ids.

        Args:
            message: an instance of a class that has a subclass with the fields ``correlation_id``,
                ``trace_id`` and ``span_id``, as ``OrderEventMessage`` has
                ``TracedOrderEventMessage``.
            correlation_id: the correlation id of a request; if empty, a new one is generated.

        Returns:
            An instance of that subclass. Its trace id and span id are empty if no OpenTelemetry
            span is active.

        Raises:
            TypeError: the class has no traced subclass.
        """
        trace_id, span_id = current_span_ids()
        fields: dict[str, Any] = msgspec.structs.asdict(message)
        fields["correlation_id"] = correlation_id or TracingHelper.generate_correlation_id()
        if trace_id:
            fields |= {"trace_id": trace_id, "span_id": span_id}
        return _traced_class(type(message))(**fields)

    @staticmethod
    def headers(message: Struct) -> list[tuple[str, str | bytes | None]]:
        """The tracing of a traced message as Kafka headers, for consumers that do not decode it.

        They have the form that confluent-kafka's producer takes.
        """
        tracing = Tracing(**{name: getattr(message, name) for name in FIELDS})
        headers: list[tuple[str, str | bytes | None]] = [
            ("correlation_id", tracing.correlation_id.encode())
        ]
        if tracing.trace_id and tracing.span_id:
            headers.append(("traceparent", f"00-{tracing.trace_id}-{tracing.span_id}-01".encode()))
        return headers


def _traced_class(cls: type[Struct]) -> type[Struct]:
    if set(FIELDS) <= set(cls.__struct_fields__):
        return cls
    for subclass in cls.__subclasses__():
        if set(subclass.__struct_fields__) == {*cls.__struct_fields__, *FIELDS}:
            return subclass
    raise TypeError(
        f"{cls.__name__} has no subclass with the fields {', '.join(FIELDS)}, so it cannot carry"
        " tracing"
    )


class _Body(Struct, frozen=True, gc=False):
    correlation_id: str = ""
    trace_id: str = ""
    span_id: str = ""


_decode_body = msgspec.json.Decoder(_Body).decode


def read_tracing(headers: Headers | None, value: bytes) -> Tracing:
    """The tracing in a message's headers; if they have no correlation id, also that in its body."""
    tracing = read_headers(headers) if headers else UNTRACED
    if MARK in value and not tracing.correlation_id:
        return add_body_tracing(tracing, value)
    return tracing


def add_body_tracing(tracing: Tracing, value: bytes) -> Tracing:
    """The tracing of a message's headers, with its empty parts filled in from the message body."""
    payload = value[HEADER_BYTES:] if value[:1] == b"\x00" else value
    try:
        body = _decode_body(payload)
    except FAILURES:
        return tracing  # the message is invalid, or its field of that name is something else
    return Tracing(tracing.version, *(getattr(tracing, f) or getattr(body, f) for f in FIELDS))
