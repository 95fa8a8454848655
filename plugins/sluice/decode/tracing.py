"""Correlation ids and trace context: given to messages by producers, kept with rows by loads.

They travel in Kafka headers (``correlation_id``, ``traceparent``), or as fields of the message.
Headers win: they are what tools write.
"""

import uuid
from typing import Any

import msgspec
from msgspec import Struct
from opentelemetry import trace

from sluice.decode.failures import FAILURES
from sluice.decode.wire import HEADER_BYTES, UNTRACED, Headers, Tracing, read_headers

FIELDS = ("correlation_id", "trace_id", "span_id")
"""What a traced message has besides the fields of its class."""

MARK = b'"correlation_id"'
"""Occurs in every message that carries its tracing in its body."""


class TracingHelper:
    """Makes traced messages, for producers."""

    @staticmethod
    def generate_correlation_id() -> str:
        """A new correlation id: a random UUID."""
        return str(uuid.uuid4())

    @staticmethod
    def add_tracing(message: Struct, correlation_id: str = "") -> Any:
        """A message with the same fields, a correlation id, and the current span's ids.

        Args:
            message: of a class that has a subclass with the fields ``correlation_id``, ``trace_id``
                and ``span_id``, as ``OrderEventMessage`` has ``TracedOrderEventMessage``.
            correlation_id: one that came with a request; a new one when empty.

        Returns:
            A message of that subclass. Without a recording OpenTelemetry span its trace id and
            span id are empty.

        Raises:
            TypeError: the class has no traced subclass.
        """
        context = trace.get_current_span().get_span_context()
        fields: dict[str, Any] = msgspec.structs.asdict(message)
        fields["correlation_id"] = correlation_id or TracingHelper.generate_correlation_id()
        if context.is_valid:
            fields["trace_id"] = trace.format_trace_id(context.trace_id)
            fields["span_id"] = trace.format_span_id(context.span_id)
        return _traced_class(type(message))(**fields)

    @staticmethod
    def headers(message: Struct) -> list[tuple[str, str | bytes | None]]:
        """The Kafka headers that say the same, for consumers that do not look into messages.

        They have the form that confluent-kafka's producer takes.
        """
        said = Tracing(**{name: getattr(message, name) for name in FIELDS})
        headers: list[tuple[str, str | bytes | None]] = [
            ("correlation_id", said.correlation_id.encode())
        ]
        if said.trace_id and said.span_id:
            headers.append(("traceparent", f"00-{said.trace_id}-{said.span_id}-01".encode()))
        return headers


def _traced_class(cls: type[Struct]) -> type[Struct]:
    if set(FIELDS) <= set(cls.__struct_fields__):
        return cls
    for subclass in cls.__subclasses__():
        if set(subclass.__struct_fields__) == {*cls.__struct_fields__, *FIELDS}:
            return subclass
    raise TypeError(
        f"{cls.__name__} has no subclass with the fields {', '.join(FIELDS)} to carry its tracing"
    )


class _Body(Struct, frozen=True, gc=False):
    correlation_id: str = ""
    trace_id: str = ""
    span_id: str = ""


_decode_body = msgspec.json.Decoder(_Body).decode


def read_tracing(headers: Headers | None, value: bytes) -> Tracing:
    """What a message's headers say, and its body where they say nothing."""
    about = read_headers(headers) if headers else UNTRACED
    if MARK in value and not about.correlation_id:
        return add_body_tracing(about, value)
    return about


def add_body_tracing(about: Tracing, value: bytes) -> Tracing:
    """What the headers say, completed by what the body of a traced message says."""
    payload = value[HEADER_BYTES:] if value[:1] == b"\x00" else value
    try:
        body = _decode_body(payload)
    except FAILURES:
        return about  # another kind of field has this name, or the message is none
    return Tracing(about.version, *(getattr(about, f) or getattr(body, f) for f in FIELDS))
