"""OpenTelemetry spans of a load's steps, linked to the traces of the producers of its messages.

Under Airflow they are exported together with Airflow's own spans (``[traces] otel_on``) and are
children of its task spans. On the command line they are exported to
``OTEL_EXPORTER_OTLP_ENDPOINT``. Without either, no span is recorded.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace

LINKS = 100
"""Maximum number of producers' traces linked to the span of a micro-batch; OpenTelemetry's own
limit is 128."""

_tracer = trace.get_tracer("sluice")


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[trace.Span]:
    """A span around a step; it records an error that ends the step."""
    prefixed = {f"sluice.{key}": value for key, value in attributes.items()}
    with _tracer.start_as_current_span(f"sluice.{name}", attributes=prefixed) as current:
        yield current


def is_recording() -> bool:
    """Whether the current span is recorded."""
    return trace.get_current_span().is_recording()


def record_batch(started: int, producers: Mapping[str, str], **attributes: int) -> None:
    """Record the span of a micro-batch that ends now.

    Args:
        started: when it began, in nanoseconds since 1970.
        producers: trace id → span id, in hexadecimal, of some of its messages.
    """
    links = [trace.Link(c) for c in map(_context, producers.items()) if c is not None]
    prefixed = {f"sluice.{key}": value for key, value in attributes.items()}
    _tracer.start_span(
        "sluice.micro_batch", links=links, attributes=prefixed, start_time=started
    ).end()


_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_HEX = re.compile(r"[0-9a-f]+")


def _context(ids: tuple[str, str]) -> trace.SpanContext | None:
    """The span with the given ids; None if they are invalid, as they may be in a message body."""
    trace_id, span_id = ids
    if len(trace_id) != 32 or len(span_id) != 16 or not _HEX.fullmatch(trace_id + span_id):
        return None
    return trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_SAMPLED
    )


def current_span_ids() -> tuple[str, str]:
    """Trace id and span id of the current span in hexadecimal; empty if there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def export_from_environment() -> None:
    """Export spans with OTLP over HTTP if the environment names an endpoint; for the command line.

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
    provider = TracerProvider(resource=resource)  # exports the rest when the process exits
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
