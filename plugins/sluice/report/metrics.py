"""The metrics of each load: stored in ClickHouse by load, and emitted.

One list of names serves all consumers: Airflow's own metrics (StatsD or OpenTelemetry), the
OpenMetrics page for Prometheus, and the dashboard under ``docs/``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as PrometheusMetric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from sluice.report.lag import Lag
from sluice.report.model import Report
from sluice.sql import quote_identifier
from sluice.store.bookkeeping import OPEN_REFUSALS
from sluice.store.clickhouse import ClickHouse

OPENMETRICS_TYPE: str = CONTENT_TYPE_LATEST
"""Media type of :func:`render_openmetrics`."""


class Metric(msgspec.Struct, frozen=True):
    """A name that is emitted.

    Attributes:
        name: with dots, as StatsD and OpenTelemetry have it.
        kind: *counter*: summed over loads; *gauge*: the value of the last load counts.
        labels: besides ``topic``, which every metric has.
        help: what it is, and its unit.
    """

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str

    @property
    def family(self) -> str:
        """The name of its family in Prometheus."""
        return self.name.replace(".", "_")

    @property
    def exposed(self) -> str:
        """The name of its samples in Prometheus."""
        return self.family + ("_total" if self.kind == "counter" else "")


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "sluice.loads",
            "counter",
            ("state", "kind"),
            "Loads by the state and kind that they ended with.",
        ),
        Metric(
            "sluice.offsets",
            "counter",
            ("outcome",),
            "Offsets of published loads by outcome.",
        ),
        Metric("sluice.upgraded", "counter", (), "Rows whose messages came in an older version."),
        Metric(
            "sluice.messages", "counter", ("version",), "Rows by the version of their messages."
        ),
        Metric(
            "sluice.null.rows", "gauge", ("column",), "Rows of the last load with a null value."
        ),
        Metric("sluice.refused", "counter", ("reason",), "Messages refused, by reason."),
        Metric("sluice.read.bytes", "counter", (), "Bytes of the message values that were read."),
        Metric(
            "sluice.step.seconds", "counter", ("step",), "Seconds that the steps of loads took."
        ),
        Metric(
            "sluice.validation.seconds",
            "counter",
            (),
            "CPU seconds of reading and validating messages.",
        ),
        Metric("sluice.quality.failed", "counter", ("severity",), "Quality rules that failed."),
        Metric(
            "sluice.lag.offsets", "gauge", ("partition",), "Offsets that no load accounts for yet."
        ),
        Metric(
            "sluice.lag.seconds",
            "gauge",
            ("partition",),
            "Age in seconds of the first message that no load accounts for.",
        ),
        Metric(
            OPEN_REFUSALS,
            "gauge",
            (),
            "Messages in quarantine that no later load has read again.",
        ),
        Metric("sluice.load.end", "gauge", (), "When the last load ended, in seconds since 1970."),
    )
}
"""Every name that is emitted."""


class MetricValue(msgspec.Struct, frozen=True):
    """One value of one metric."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


Emit = Callable[[Sequence[MetricValue]], None]
"""Sends the metrics of a load somewhere."""


def metric_values(report: Report, lags: Sequence[Lag], open_: int) -> Iterator[MetricValue]:
    """The metrics of a load that has ended.

    Args:
        open_: messages of the topic that are in quarantine.
    """
    yield MetricValue(OPEN_REFUSALS, open_)
    yield MetricValue("sluice.loads", 1, {"state": report.state, "kind": report.kind})
    yield MetricValue("sluice.load.end", report.ended_at.timestamp())
    if report.state == "published":
        for outcome in ("loaded", "quarantined", "tombstones", "absent"):
            yield MetricValue("sluice.offsets", report.sum(outcome), {"outcome": outcome})
        yield MetricValue("sluice.upgraded", report.sum("upgraded"))
        for version, count in report.versions.items():
            yield MetricValue("sluice.messages", count, {"version": version})
        for column, count in report.nulls.items():
            yield MetricValue("sluice.null.rows", count, {"column": column})
    yield MetricValue("sluice.read.bytes", report.bytes)
    yield MetricValue("sluice.validation.seconds", report.cpu_seconds)
    reasons: dict[str, int] = {}
    for found in report.reasons:
        reasons[found.reason] = reasons.get(found.reason, 0) + found.count
    for reason, count in reasons.items():
        yield MetricValue("sluice.refused", count, {"reason": reason})
    for step in report.steps:
        yield MetricValue("sluice.step.seconds", step.seconds, {"step": step.name})
    for severity in ("critical", "warning"):
        failed = [q for q in report.quality if not q.success and q.severity == severity]
        yield MetricValue("sluice.quality.failed", len(failed), {"severity": severity})
    for lag in lags:
        where = {"partition": str(lag.partition)}
        yield MetricValue("sluice.lag.offsets", lag.waiting, where)
        if lag.seconds is not None:
            yield MetricValue("sluice.lag.seconds", lag.seconds, where)


def save_metrics(
    clickhouse: ClickHouse, database: str, report: Report, values: Iterable[MetricValue]
) -> None:
    """Store the metrics of a load; of each name and labels the last value counts.

    With each value its difference from the value before is stored, and ClickHouse adds these up.
    """
    table = f"{quote_identifier(database)}.metrics"
    stored = clickhouse.rows(
        "SELECT m.name AS name, m.labels AS labels, argMax(m.value, m.at) AS value,"
        f" max(m.saved) AS saved FROM {table} AS m WHERE m.topic = {{topic:String}}"
        " AND m.name IN {names:Array(String)} AND m.load_id = {load:String}"
        " GROUP BY name, labels",
        {"topic": report.topic, "names": list(METRICS), "load": report.load_id},
    )
    before = {(row["name"], tuple(row["labels"].items())): row["value"] for row in stored}
    saved = 1 + max((row["saved"] for row in stored), default=0)
    rows = [
        {
            "load_id": report.load_id,
            "topic": report.topic,
            "name": value.name,
            "labels": dict(value.labels),
            "value": value.value,
            "difference": value.value - before.get((value.name, tuple(value.labels.items())), 0),
            "saved": saved,
        }
        for value in values
    ]
    clickhouse.insert(table, rows, f"{report.load_id}/metrics/{saved}")


def save_no_refusals(clickhouse: ClickHouse, database: str, topic: str, entry: int) -> None:
    """Store that a topic has no message in quarantine, since it was forgotten.

    Args:
        entry: number of the entry in the topic's log that says so.
    """
    row = {"load_id": "", "topic": topic, "name": OPEN_REFUSALS, "value": 0, "saved": 1}
    token = f"{topic}/forgotten/{entry}"
    clickhouse.insert(f"{quote_identifier(database)}.metrics", [row], token)


def render_openmetrics(clickhouse: ClickHouse, database: str) -> str:
    """All metrics of all topics in the OpenMetrics text format."""
    rows = clickhouse.rows(
        "SELECT m.name AS name, m.topic AS topic, m.labels AS labels, sum(m.total) AS total,"
        f" argMaxMerge(m.last) AS last FROM {quote_identifier(database)}.metric_totals AS m"
        " GROUP BY name, topic, labels ORDER BY name, topic, labels"
    )
    registry = CollectorRegistry()
    registry.register(_StoredMetrics(rows))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text.decode()


class _StoredMetrics(Collector):
    """Rows of the table ``metrics`` as metric families."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows

    def collect(self) -> Iterator[PrometheusMetric]:
        for metric in METRICS.values():
            family = PrometheusMetric(metric.family, metric.help, metric.kind)
            for row in self._rows:
                if row["name"] == metric.name:
                    value = row["total"] if metric.kind == "counter" else row["last"]
                    labels = {"topic": row["topic"], **row["labels"]}
                    family.add_sample(metric.exposed, labels, value)
            yield family
