"""Spans of a load, received by a process that implements OTLP."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

from opentelemetry.sdk.trace import TracerProvider

from sluice.authoring.examples import example_message
from sluice.contract import find
from sluice.decode.tracing import TracingHelper
from sluice.kafka.broker import Broker
from tests.commands import Run
from tests.receivers import receiver

ORDERS = find("orders")


def test_spans_of_a_load_are_linked_to_the_producers_traces(
    run: Run, broker: Broker, tmp_path: Path
) -> None:
    assert run("produce-samples", "orders", "--count", "200").exit_code == 0
    tracer = TracerProvider().get_tracer("shop")
    producer = broker.producer()
    with tracer.start_as_current_span("checkout") as span:
        traced = TracingHelper.add_tracing(example_message(ORDERS, Random(1)))
        producer.produce("orders", b"{}", headers=TracingHelper.headers(traced))
    producer.flush()
    context = span.get_span_context()
    producer_link = (f"{context.trace_id:032x}", f"{context.span_id:016x}")

    with receiver(tmp_path) as collector:
        subprocess.run(
            [sys.executable, "-m", "sluice", "load", "orders"],
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        spans = {span.name: span for span in collector.spans()}
    root = spans["sluice.load"]
    assert root.parent == ""
    for step in ("plan", "drain", "audit", "publish"):
        assert spans[f"sluice.{step}"].parent == root.span_id, step
        assert spans[f"sluice.{step}"].attributes["sluice.topic"] == "orders"
    batch = spans["sluice.micro_batch"]
    assert batch.parent == spans["sluice.drain"].span_id
    assert producer_link in batch.links
    assert int(batch.attributes["sluice.offsets"]) > 200
    assert len({span.trace_id for span in spans.values()}) == 1
    load_ids = {s.attributes.get("sluice.load_id") for n, s in spans.items() if n[-1] != "d"}
    assert len(load_ids - {None}) == 1


def test_the_span_of_a_failed_step_is_marked_failed(run: Run, tmp_path: Path) -> None:
    assert run("produce-samples", "orders", "--count", "1").exit_code == 0
    with receiver(tmp_path) as collector:
        result = subprocess.run(
            [sys.executable, "-m", "sluice", "load", "orders", "--partition", "99"],
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
            check=False,
            capture_output=True,
            text=True,
        )
        spans = {span.name: span for span in collector.spans()}
    assert result.returncode == 1
    assert "partition 99" in result.stderr
    assert "Traceback" not in result.stderr
    assert spans["sluice.plan"].failed
