"""Metrics, spans and lineage of a load that Airflow runs, as a receiver gets them."""

from collections.abc import Callable
from functools import partial

from local.stack import Stack
from sluice.report.metrics import METRICS
from tests.end_to_end.conftest import report_of, until
from tests.receivers import Receiver

DAG = "load_payments"
Run = Callable[..., tuple[str, str]]


def test_what_a_load_tells_reaches_those_who_watch(
    whole_stack: Stack, received: Receiver, run_dag: Run, send: Callable[..., None]
) -> None:
    run_dag(DAG)
    send("payments", 300)
    run_id, state = run_dag(DAG)
    assert state == "success"
    report = report_of(whole_stack, DAG, run_id)

    def mine(name: str) -> bool:
        return any(
            s.name == name and s.attributes.get("sluice.load_id") == report.load_id
            for s in received.spans()
        )

    for step in ("plan", "drain", "audit", "publish"):
        until(partial(mine, f"sluice.{step}"), f"the span of {step}", 30)
    spans = {span.span_id: span for span in received.spans()}
    (drain,) = (
        span
        for span in spans.values()
        if span.name == "sluice.drain" and span.attributes["sluice.load_id"] == report.load_id
    )
    trace = [span for span in spans.values() if span.trace_id == drain.trace_id]
    names = {span.name for span in trace}
    assert {f"sluice.{s}" for s in ("plan", "drain", "micro_batch", "audit", "publish")} <= names
    batch = next(span for span in trace if span.name == "sluice.micro_batch")
    assert batch.parent == drain.span_id

    emitted = {f"airflow.{name}" for name in METRICS} - {"airflow.sluice.null.rows"}
    until(lambda: emitted <= received.metrics().keys(), "the metrics", 30)
    for name in emitted:
        metric = METRICS[name.removeprefix("airflow.")]
        labels = [set(point) for point in received.metrics()[name]]
        assert {"topic", *metric.labels} in labels, (name, labels[:3])

    ended = [event for event in received.lineage() if event["eventType"] == "COMPLETE"]
    rows = [e["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] for e in ended]
    assert report.sum("loaded") in rows
