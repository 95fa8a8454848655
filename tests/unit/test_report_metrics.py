"""The metrics of a load, and the dashboard that uses them."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.audit.quality_results import RuleResult
from sluice.audit.refusal_reasons import ReasonCount
from sluice.report.lag import Lag
from sluice.report.metrics import METRICS, metric_values
from sluice.report.model import Report, StepTiming
from sluice.store.attempts import Account

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(**changed: Any) -> Report:
    fields: dict[str, Any] = {
        "load_id": "l", "topic": "t", "table": "d.t", "owner": "o", "state": "published",
        "error": "", "planned_at": NOW, "ended_at": NOW, "ranges": [], "filled": {}, "advice": [],
        "accounts": [
            Account(
                partition=p, planned=10, loaded=7, upgraded=2, quarantined=1, tombstones=1, absent=1
            )
            for p in (0, 1)
        ],
        "versions": {"1.0": 4, "1.1": 10},
        "reasons": [
            ReasonCount(reason="not_json", field=f, count=1, partition=0, offset=1, message="")
            for f in ("", "x")
        ],
        "quality": [
            RuleResult(
                expectation="anomaly", column="", description="", severity="warning", success=False
            )
        ],
        "steps": [StepTiming(name="drain", seconds=2.0)],
        "bytes": 100,
        "nulls": {"notes": 3},
        "cpu_seconds": 1.5,
    }  # fmt: skip
    return Report(**(fields | changed))


LAGS = [Lag(partition=0, low=0, high=9, published=4, waiting=5, seconds=60.0)]


def test_a_load_emits_all_documented_metrics() -> None:
    values = list(metric_values(report(), LAGS, 4))
    assert {value.name for value in values} == set(METRICS)
    for value in values:
        assert set(value.labels) == set(METRICS[value.name].labels), value
    by_name = {(v.name, *v.labels.values()): v.value for v in values}
    assert by_name["sluice.offsets", "loaded"] == 14
    assert by_name["sluice.refused", "not_json"] == 2
    assert by_name["sluice.quality.failed", "warning"] == 1
    assert by_name["sluice.lag.seconds", "0"] == 60


def test_an_unpublished_load_emits_no_offset_metrics() -> None:
    names = {value.name for value in metric_values(report(state="held"), [], 4)}
    assert "sluice.offsets" not in names
    assert {"sluice.loads", "sluice.refused"} <= names


def test_the_dashboard_queries_exactly_the_emitted_metrics() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queried = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"sluice_\w+", target["expr"])
    }
    assert queried == {metric.exposed for metric in METRICS.values()}
    assert len({panel["id"] for panel in panels}) == len(panels)
