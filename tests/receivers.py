"""What a receiver of OTLP and OpenLineage was sent, read back."""

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]


class Span(msgspec.Struct, frozen=True):
    """One span; ids in hexadecimal, links as (trace id, span id)."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, str]
    failed: bool


class Receiver:
    """A running receiver."""

    def __init__(self, port: int, path: Path) -> None:
        self.url, self._path = f"http://127.0.0.1:{port}", path

    def spans(self) -> list[Span]:
        """All spans so far."""
        return [
            Span(
                span["name"],
                _hex(span["traceId"]),
                _hex(span["spanId"]),
                _hex(span.get("parentSpanId", "")),
                [(_hex(link["traceId"]), _hex(link["spanId"])) for link in span.get("links", [])],
                _attributes(span),
                span.get("status", {}).get("code") == "STATUS_CODE_ERROR",
            )
            for received in self._received()
            for resource in received.get("resourceSpans", [])
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def metrics(self) -> dict[str, list[dict[str, str]]]:
        """Names of metrics so far, with the attributes of their points."""
        found: dict[str, list[dict[str, str]]] = {}
        for received in self._received():
            for resource in received.get("resourceMetrics", []):
                for scope in resource["scopeMetrics"]:
                    for metric in scope["metrics"]:
                        data: Any = metric.get("sum") or metric.get("gauge") or {}
                        points = [_attributes(point) for point in data.get("dataPoints", [])]
                        found.setdefault(metric["name"], []).extend(points)
        return found

    def lineage(self) -> list[dict[str, Any]]:
        """OpenLineage events so far."""
        return [event["lineage"] for event in self._received() if "lineage" in event]

    def _received(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    """A receiver on a free port, for as long as it is needed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = folder / "received.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.receiver_process", str(port), str(path)], cwd=ROOT
    )
    try:
        give_up = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < give_up
            time.sleep(0.05)
        yield Receiver(port, path)
    finally:
        process.terminate()
        process.wait(10)


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()


def _attributes(said: dict[str, Any]) -> dict[str, str]:
    return {a["key"]: str(next(iter(a["value"].values()))) for a in said.get("attributes", [])}
