"""Links of a micro-batch's span to whatever messages say of their traces."""

import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluice import telemetry as spans


def test_ids_that_are_none_make_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))
    good = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    bad = [("hello", "world"), ("0af7", "b7"), (good[0].upper(), good[1]), ("٣" * 32, "٣" * 16)]
    spans.record_batch(time.time_ns(), dict([good, *bad]), offsets=7)
    made: ReadableSpan = exporter.get_finished_spans()[0]
    assert [f"{link.context.trace_id:032x}" for link in made.links] == [good[0]]
    assert made.attributes == {"sluice.offsets": 7}
