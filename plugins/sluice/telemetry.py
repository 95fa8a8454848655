"""OpenTelemetry spans of a load's steps, linked to the traces of those who produced its messages.

Under Airflow they go where Airflow's own spans go (``[traces] otel_on``) and are children of its
tasks; on the command line to ``OTEL_EXPORTER_OTLP_ENDPOINT``. Else they cost nothing.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace

LINKS = 100
"""Producers' traces that a span of a micro-batch is linked to, at most; OpenTelemetry keeps 128."""

_tracer = trace.get_tracer("sluice")


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[trace.Span]:
    """A span around a step; an error that ends the step is recorded in it."""
    named = {f"sluice.{key}": value for key, value in attributes.items()}
    with _tracer.start_as_current_span(f"sluice.{name}", attributes=named) as made:
        yield made


def is_recording() -> bool:
    """Whether anybody keeps the current span."""
    return trace.get_current_span().is_recording()


def record_batch(started: int, producers: Mapping[str, str], **attributes: int) -> None:
    """The span of a micro-batch that ends now.

    Args:
        started: when it began, in nanoseconds since 1970.
        producers: trace id → span id, in hexadecimal, of some of its messages.
    """
    links = [trace.Link(c) for c in map(_context, producers.items()) if c is not None]
    named = {f"sluice.{key}": value for key, value in attributes.items()}
    _tracer.start_span(
        "sluice.micro_batch", links=links, attributes=named, start_time=started
    ).end()


_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_HEX = re.compile(r"[0-9a-f]+")


def _context(ids: tuple[str, str]) -> trace.SpanContext | None:
    """The span that ids name; in the body of a message they may be anything."""
    trace_id, span_id = ids
    if len(trace_id) != 32 or len(span_id) != 16 or not _HEX.fullmatch(trace_id + span_id):
        return None
    return trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_SAMPLED
    )


def export_from_environment() -> None:
    """Export spans by OTLP over HTTP when the environment names an endpoint; for the command line.

    The variables are OpenTelemetry's own: ``OTEL_EXPORTER_OTLP_ENDPOINT`` or
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_SERVICE_NAME``.
    """
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not any(os.environ.get(name) for name in names):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "sluice")})
    provider = TracerProvider(resource=resource)  # flushes when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
