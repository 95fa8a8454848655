"""A stack for one measurement: its own broker and engine, removed afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from local.stack import Ports, Stack


@contextmanager
def temporary_stack(console: Console) -> Iterator[Stack]:
    """Kafka and ClickHouse on free ports, in a new folder; stopped and removed at the end."""
    stack = Stack(Path(tempfile.mkdtemp(prefix="sluice-")), Ports.free())
    try:
        with console.status("starting Kafka and ClickHouse"):
            stack.up("kafka", "clickhouse")
        yield stack
    finally:
        stack.clean()
