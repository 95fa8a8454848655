"""Links from a micro-batch's span to the traces of its messages."""

import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluice import telemetry


def test_invalid_ids_are_not_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    valid = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    invalid = [
        ("hello", "world"),
        ("0af7", "b7"),
        (valid[0].upper(), valid[1]),
        ("٣" * 32, "٣" * 16),
    ]
    telemetry.record_batch(time.time_ns(), dict([valid, *invalid]), offsets=7)
    span: ReadableSpan = exporter.get_finished_spans()[0]
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [valid[0]]
    assert span.attributes == {"sluice.offsets": 7}
