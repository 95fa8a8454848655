"""A load's numbers by Airflow's StatsD, as they arrive over UDP."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from local.airflow import environment
from sluice.report.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]

EMIT = """
from airflow.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from sluice.airflow.tasks import emit_metrics
from sluice.report.metrics import METRICS, MetricValue
stats.initialize(
    factory=stats_utils.get_stats_factory(),
    export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
)
values = [MetricValue(m.name, 7, {label: "x" for label in m.labels}) for m in METRICS.values()]
emit_metrics("orders", values)
"""


def test_every_number_arrives_with_its_labels(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        statsd = {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(receiver.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }
        airflow = environment(ROOT, tmp_path, 1, {"admin": "x"})
        done = subprocess.run(
            [sys.executable, "-c", EMIT],
            env=os.environ | airflow | statsd,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        received: list[str] = []
        while len(received) < len(METRICS):
            line = receiver.recv(2000).decode()
            received += [line] if line.startswith("airflow.sluice.") else []  # Airflow has its own
    for line, metric in zip(received, METRICS.values(), strict=True):
        name, _, rest = line.partition(",")
        tags, _, value = rest.partition(":")
        assert name == f"airflow.{metric.name}"
        assert value == ("7|c" if metric.kind == "counter" else "7|g")
        assert set(tags.split(",")) == {"topic=orders", *(f"{label}=x" for label in metric.labels)}
