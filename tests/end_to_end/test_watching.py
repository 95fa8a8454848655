"""What a receiver gets of a load that Airflow runs, and what no log must have."""

from functools import partial

from local.stack import Stack
from sluice.report.metrics import METRICS
from tests.end_to_end.conftest import Triggered, until
from tests.receivers import Receiver


def test_spans_metrics_and_lineage_of_a_load_are_received(
    received: Receiver, payments_run: Triggered
) -> None:
    assert payments_run.state == "success"
    report = payments_run.report

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


def test_no_password_is_in_any_log(whole_stack: Stack, payments_run: Triggered) -> None:
    secret = whole_stack.secrets["clickhouse"]
    logs = list(whole_stack.folder.rglob("*.log"))
    assert len(logs) > 10
    assert [path for path in logs if secret in path.read_text(errors="replace")] == []
