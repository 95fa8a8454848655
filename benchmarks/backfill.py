"""Measures a large backfill that is killed half-way and resumed: ``python -m benchmarks.backfill``.

Then estimates a backfill of 100 million messages from the measured cost per chunk. The backfill is
the ``sluice`` command, run in its own process against a stack that the benchmark starts.
"""

import os
import signal
import subprocess
import sys
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
from local.loaders import loader_of
from local.temporary import temporary_stack
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.sample_messages import SampleMessage, make_samples
from sluice.loader import Loader
from sluice.ranges import OffsetRange, chunk, total
from sluice.settings import Settings

PARTITIONS = 4
ESTIMATED_MESSAGES = 100_000_000
TABLES = ("load_ranges", "load_chunks", "load_skips", "load_accounts", "load_events")

console = Console(highlight=False)


class Run(msgspec.Struct, frozen=True):
    """One run of the command: its duration, and its peak resident memory in MB."""

    seconds: float
    megabytes: float


def run_command(environment: dict[str, str], until: Callable[[], bool] = lambda: False) -> Run:
    """Run the backfill; kill it as soon as ``until`` returns true."""
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "sluice"), "backfill", "orders", "--everything"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        if until():
            process.send_signal(signal.SIGKILL)
        time.sleep(0.25)
    process.wait()
    return Run(time.monotonic() - began, peak / 1e6)


def fill(loader: Loader, messages: int) -> None:
    """Produce messages by repeating 50,000 distinct samples."""
    samples: list[SampleMessage] = list(make_samples(orders, 50_000, Random(1)))
    producer = loader.broker.producer()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("producing", total=messages)
        for number in range(messages):
            sample = samples[number % len(samples)]
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


def count_rows(loader: Loader, name: str) -> int:
    """Count the rows of a ledger table."""
    result = loader.clickhouse.rows(f"SELECT count() AS n FROM {loader.ledger.database}.{name}")
    return int(result[0]["n"])


def estimate_chunks(count: int) -> Table:
    """Tabulate the chunks of a large backfill, for even and for skewed partitions."""
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
@click.option("--messages", default=5_000_000, show_default=True, help="Messages to backfill.")
def main(messages: int) -> None:
    """Kill a backfill half-way, resume it, audit it, and report what it cost."""
    with temporary_stack(console) as stack:
        loader = loader_of(stack, orders, "benchmark")
        loader.broker.create_topic("orders", PARTITIONS)
        fill(loader, messages)
        loader.create_tables()
        expected = -(-messages // Settings().chunk_offsets)
        environment = {**os.environ, **stack.connections}
        with console.status("first process, killed half-way"):
            killed = run_command(
                environment, lambda: count_rows(loader, "load_chunks") >= expected / 2
            )
        half = count_rows(loader, "load_chunks")
        with console.status("second process, resuming the load"):
            second = run_command(environment)
        with console.status("auditing"):
            verdict = Verifier(orders, loader.broker, loader.clickhouse, loader.ledger).run()
        _print_results(loader, messages, expected, half, (killed, second), len(verdict.findings))


def _print_results(
    loader: Loader, messages: int, chunks: int, half: int, runs: tuple[Run, Run], findings: int
) -> None:
    loads = [load for load in loader.ledger.loads_of("orders") if load.state == "published"]
    results = loader.ledger.attempts.accepted(loads[0].topic, loads[0].load_id).values()
    table = Table(title=f"{messages:,} messages in {chunks} chunks", show_header=False)
    for name, text in (
        ("killed after", f"{half} chunks, {runs[0].seconds:.0f} s"),
        ("finished in", f"{runs[1].seconds:.0f} s more; {len(loads)} load, {findings} findings"),
        ("peak memory", f"{max(run.megabytes for run in runs):.0f} MB"),
        ("read per chunk", f"{sum(r.bytes for r in results) / chunks / 1e6:.0f} MB"),
        ("time per chunk", f"{sum(r.seconds for r in results) / chunks:.1f} s"),
        ("CPU time per chunk", f"{sum(r.cpu_seconds for r in results) / chunks:.1f} s"),
        *((f"rows of {name}", f"{count_rows(loader, name):,}") for name in TABLES),
    ):
        table.add_row(name, text)
    console.print(table)
    console.print(estimate_chunks(ESTIMATED_MESSAGES))
    seconds = sum(r.seconds for r in results) / messages * ESTIMATED_MESSAGES
    published = sum(run.seconds for run in runs) / messages * ESTIMATED_MESSAGES
    console.print(
        f"{ESTIMATED_MESSAGES:,} messages at this rate: {seconds / 3600:.1f} h of draining with one"
        f" task at a time, {published / 3600:.1f} h in total; drain tasks can run in parallel"
    )


if __name__ == "__main__":
    main()
