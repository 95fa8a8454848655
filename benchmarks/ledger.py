"""What steps read of a ledger that is years old: ``python -m benchmarks.ledger``."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import history
from include.schemas.orders import contract as orders
from local.loaders import loader_of
from local.temporary import temporary_stack
from sluice.errors import TopicRecreated
from sluice.loader import Loader
from sluice.report.metrics import render_openmetrics
from sluice.store.quarantine import Quarantine
from sluice.store.request import RefusalFilter
from sluice.store.topic_log import TopicLog

console = Console(highlight=False)


@click.command()
@click.option(
    "--topics", default=500, show_default=True, type=click.IntRange(min=8), help="Topic 7 is read."
)
@click.option("--loads", default=2_600, show_default=True, help="Loads per topic.")
def main(topics: int, loads: int) -> None:
    """Fill the ledger as hourly loads of many topics would, and count what a load reads of it."""
    with temporary_stack(console) as stack:
        contract = msgspec.structs.replace(orders, topic="topic-7")
        loader = loader_of(stack, contract, "benchmark")
        with console.status(f"inserting {topics * loads:,} loads"):
            history.fill(loader, [f"topic-{number}" for number in range(topics)], loads)
        _measure(loader, topics, loads)


def _measure(loader: Loader, topics: int, loads: int) -> None:
    clickhouse, ledger = loader.clickhouse, loader.ledger
    topic, load_id = loader.contract.topic, history.load_id("topic-7", loads // 2)
    counts: list[int] = []
    query = clickhouse.client.query

    def counted(*arguments: Any, **named: Any) -> Any:
        result = query(*arguments, **named)
        counts.append(int(result.summary.get("read_rows", 0)))
        return result

    clickhouse.client.query = counted  # type: ignore[method-assign]
    quarantine = Quarantine(clickhouse, ledger.database)
    refused = RefusalFilter(topic=topic, status="quarantined")
    steps: dict[str, Callable[[], Any]] = {
        "state of the topic, first read": lambda: TopicLog(
            clickhouse, ledger.database, topic
        ).read(),
        "state of the topic, again": lambda: ledger.state(topic),
        "one load": lambda: ledger.load(topic, load_id),
        "history of a load": lambda: ledger.events(topic, load_id),
        "loads of a run": lambda: ledger.loads_of(topic, "airflow/load#17"),
        "all loads of the topic": lambda: ledger.loads_of(topic),
        "plan": lambda: _plan(loader),
        "report": lambda: loader.report(load_id),
        "quarantine of the topic, by reason": lambda: quarantine.groups(refused),
        "all metrics": lambda: render_openmetrics(clickhouse, ledger.database),
        "the view of all loads": lambda: clickhouse.rows(
            f"SELECT count() AS n FROM {ledger.database}.loads"
        ),
    }
    title = f"{topics * loads:,} loads of {topics} topics"
    table = Table("", "ms", "statements", "most rows read by one", title=title)
    ledger.state(topic)
    for name, step in steps.items():
        counts.clear()
        began = time.perf_counter()
        step()
        taken = (time.perf_counter() - began) * 1000
        most = max(counts, default=0)
        table.add_row(name, f"{taken:,.0f}", str(len(counts)), f"{most:,}")
    console.print(table)


def _plan(loader: Loader) -> None:
    """What a plan reads; it ends when it finds that the broker has none of the messages."""
    with contextlib.suppress(TopicRecreated):
        loader.planner.plan()


if __name__ == "__main__":
    main()
