"""A large backfill, killed half-way and finished: ``python -m benchmarks.backfill``.

Then a backfill of 100 million messages on paper, from what a chunk has cost. The command runs as a
person runs it, in a process of its own, against a stack of the benchmark's own.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import click
import msgspec
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from include.schemas.orders import contract as orders
from local.stack import Ports, Stack
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.sample_messages import SampleMessage, make_samples
from sluice.loader import Loader
from sluice.ranges import OffsetRange, chunk, total
from sluice.settings import Settings, parse_connection

PARTITIONS = 4
PAPER = 100_000_000
TABLES = ("load_ranges", "load_chunks", "load_skips", "load_accounts", "load_events")

console = Console(highlight=False)


class Run(msgspec.Struct, frozen=True):
    """One process of the command: seconds it took, and its largest resident memory in MB."""

    seconds: float
    megabytes: float


def command(environment: dict[str, str], until: Callable[[], bool] = lambda: False) -> Run:
    """Run the backfill; kill it as soon as ``until`` holds."""
    began, largest = time.monotonic(), 0
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "sluice"), "backfill", "orders", "--everything"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            largest = max(largest, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        if until():
            process.send_signal(signal.SIGKILL)
        time.sleep(0.25)
    process.wait()
    return Run(time.monotonic() - began, largest / 1e6)


def fill(loader: Loader, messages: int) -> None:
    """Produce messages, of which 50,000 are distinct."""
    made: list[SampleMessage] = list(make_samples(orders, 50_000, Random(1)))
    producer = loader.broker.producer()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("producing", total=messages)
        for number in range(messages):
            sample = made[number % len(made)]
            while True:
                try:
                    producer.produce("orders", sample.value, sample.key, headers=sample.headers)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 10_000 == 0:
                producer.poll(0)
                bar.advance(task, 10_000)
    producer.flush()


def rows(loader: Loader, name: str) -> int:
    """Rows of a table of the ledger."""
    found = loader.clickhouse.rows(f"SELECT count() AS n FROM {loader.ledger.database}.{name}")
    return int(found[0]["n"])


def on_paper(count: int) -> Table:
    """Chunks of 100 million messages, evenly spread and skewed."""
    table = Table(
        "100 million messages", "chunks = tasks", "largest chunk", "partitions in one task"
    )
    even = [OffsetRange(p, 0, count // 12) for p in range(12)]
    skewed = [OffsetRange(0, 0, count * 9 // 10)]
    skewed += [OffsetRange(p, 0, count // 110) for p in range(1, 12)]
    for name, ranges in (("12 even partitions", even), ("one partition has 90 %", skewed)):
        chunks = chunk(ranges, Settings().chunk_offsets)
        largest = max(total(part) for part in chunks)
        most = max(len({r.partition for r in part}) for part in chunks)
        table.add_row(name, f"{len(chunks):,}", f"{largest:,}", str(most))
    return table


@click.command()
@click.option("--messages", default=5_000_000, show_default=True)
def main(messages: int) -> None:
    """Kill a backfill half-way, finish it, audit it, and say what it has cost."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-backfill-"))
    stack = Stack(folder, Ports.free())
    try:
        with console.status("starting Kafka and ClickHouse"):
            stack.up("kafka", "clickhouse")
        kafka, clickhouse = (
            parse_connection(stack.connections[f"AIRFLOW_CONN_{name}_DEFAULT"])
            for name in ("KAFKA", "CLICKHOUSE")
        )
        loader = Loader(orders, kafka, clickhouse, Settings(), "benchmark")
        loader.broker.create_topic("orders", PARTITIONS)
        fill(loader, messages)
        loader.create_tables()
        expected = -(-messages // Settings().chunk_offsets)
        environment = {**os.environ, **stack.connections}
        with console.status("first process, killed at half"):
            killed = command(environment, lambda: rows(loader, "load_chunks") >= expected / 2)
        half = rows(loader, "load_chunks")
        with console.status("second process, which goes on"):
            second = command(environment)
        with console.status("auditing"):
            verdict = Verifier(orders, loader.broker, loader.clickhouse, loader.ledger).run()
        _show(loader, messages, expected, half, (killed, second), len(verdict.findings))
    finally:
        stack.stop()
        stack.clean()


def _show(
    loader: Loader, messages: int, chunks: int, half: int, runs: tuple[Run, Run], findings: int
) -> None:
    loads = [load for load in loader.ledger.loads_of("orders") if load.state == "published"]
    results = loader.ledger.attempts.accepted(loads[0].load_id).values()
    table = Table(title=f"{messages:,} messages in {chunks} chunks", show_header=False)
    for name, text in (
        ("killed after", f"{half} chunks, {runs[0].seconds:.0f} s"),
        ("finished in", f"{runs[1].seconds:.0f} s more; {len(loads)} load, {findings} findings"),
        ("memory of the process", f"{max(run.megabytes for run in runs):.0f} MB"),
        ("a chunk reads", f"{sum(r.bytes for r in results) / chunks / 1e6:.0f} MB"),
        ("a chunk takes", f"{sum(r.seconds for r in results) / chunks:.1f} s"),
        ("of CPU", f"{sum(r.cpu_seconds for r in results) / chunks:.1f} s"),
        *((f"rows of {name}", f"{rows(loader, name):,}") for name in TABLES),
    ):
        table.add_row(name, text)
    console.print(table)
    console.print(on_paper(PAPER))
    seconds = sum(r.seconds for r in results) / messages * PAPER
    published = sum(run.seconds for run in runs) / messages * PAPER
    console.print(
        f"{PAPER:,} messages at this pace: {seconds / 3600:.1f} h of draining in one task at a"
        f" time, {published / 3600:.1f} h in all; drains of several tasks run side by side"
    )


if __name__ == "__main__":
    main()
