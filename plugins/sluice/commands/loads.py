"""Loading, and looking at loads: ``load``, ``backfill``, ``status``, ``report``."""

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from sluice.commands.shown import (
    console,
    loader_of,
    progress_bar,
    show_report,
    topic_argument,
    topics_argument,
)
from sluice.contract import discover, find
from sluice.ledger import PUBLISHED
from sluice.load import Loader
from sluice.planning import Request
from sluice.range_reader import kept
from sluice.ranges import merge, subtract, total
from sluice.report import find as find_report
from sluice.report import page
from sluice.settings import Settings

SHOWN = 20
"""Ranges that a dry run prints."""


partitions_option = click.option(
    "--partition", "partitions", multiple=True, type=int, help="Only this; repeatable."
)
most_option = click.option("--max-messages", default=0, help="At most so many offsets; 0 is all.")


@click.command()
@topic_argument
@partitions_option
@most_option
def load(topic: str, partitions: tuple[int, ...], max_messages: int) -> None:
    """Load everything new of TOPIC: plan, drain, audit, publish, report."""
    _run(loader_of(find(topic)), Request(partitions=partitions, max_messages=max_messages))


@click.command()
@topic_argument
@click.option("--from", "low", default="", metavar="WHEN", help="First offset, or time (ISO 8601).")
@click.option("--to", "high", default="", metavar="WHEN", help="Offset, or time, to stop before.")
@partitions_option
@most_option
@click.option("--dry-run", is_flag=True, help="Only show what would be read.")
def backfill(
    topic: str,
    low: str,
    high: str,
    partitions: tuple[int, ...],
    max_messages: int,
    dry_run: bool,
) -> None:
    """Load what lies between two offsets or times of TOPIC and is not loaded yet.

    A time stands for the first message at or after it, in each partition. What is loaded or being
    loaded already is left out, so a backfill that was interrupted can be started again.
    """
    loader = loader_of(find(topic))
    request = Request(partitions=partitions, max_messages=max_messages, low=low, high=high)
    if not dry_run:
        _run(loader, request)
        return
    loader.create_tables()
    found = loader.broker.topic(topic)
    ranges = loader.planner.wanted(found, loader.broker.watermarks(found), request)
    table = Table("partition", "from", "to", "offsets", title=f"a backfill of {topic} would read")
    for r in ranges[:SHOWN]:
        table.add_row(*(f"{n:,}" for n in (r.partition, r.low, r.high, r.count)))
    console.print(table)
    if len(ranges) > SHOWN:
        console.print(f"and {len(ranges) - SHOWN:,} more ranges")
    offsets, rate = total(ranges), loader.ledger.rate(topic)
    if rate:
        minutes = offsets / rate / 60
        console.print(
            f"{offsets:,} offsets; about {minutes:,.1f} minutes at the rate of the last loads"
        )
    else:
        console.print(f"{offsets:,} offsets; there is no load yet to tell the time from")


def _run(loader: Loader, request: Request) -> None:
    """A whole load, with a bar, and its report at the end."""
    with console.status("planning"):
        plan = loader.plan(request)
    try:
        with progress_bar() as bar:
            task = bar.add_task("reading", total=plan.offsets)
            for number in range(len(plan.chunks)):
                loader.drain(plan.load_id, number, lambda done: bar.advance(task, done))
        with console.status("auditing"):
            loader.audit(plan.load_id)
        with console.status("publishing"):
            loader.publish(plan.load_id)
    finally:
        report = loader.report(plan.load_id)
        show_report(report)


@click.command()
@topics_argument
def status(topics: tuple[str, ...]) -> None:
    """Show what is loaded of each topic, and what is not yet (all TOPICS by default)."""
    for contract in [find(topic) for topic in topics] or discover().values():
        _show_status(loader_of(contract))


def _show_status(loader: Loader) -> None:
    loader.ledger.create()
    topic = loader.broker.topic(loader.contract.topic)
    marks = loader.broker.watermarks(topic)
    taken = loader.ledger.taken(topic.name)
    published = merge(r for _, state, r in taken if state == PUBLISHED)
    waiting = subtract(kept(marks), published)
    starts = {r.partition: r.low for r in reversed(waiting)}
    since = loader.broker.times_at(topic, starts, marks)
    table = Table(title=f"{topic.name} → {loader.clickhouse.database}.{loader.contract.table.name}")
    columns = ("partition", "first offset", "end", "accounted for", "lag, messages", "lag, seconds")
    for column in columns:
        table.add_column(column, justify="right")
    for partition, mark in marks.items():
        done = total(r for r in published if r.partition == partition)
        left = total(r for r in waiting if r.partition == partition)
        row = (partition, mark.low, mark.high, done, left)
        behind = (
            f"{(datetime.now(UTC) - since[partition]).total_seconds():,.0f}"
            if partition in since
            else "0"
            if not left
            else "?"
        )
        table.add_row(*(f"{n:,}" for n in row), behind)
    console.print(table)
    loads = loader.ledger.loads_of(topic.name)
    unfinished = [load_ for load_ in loads if load_.live]
    for title, chosen in (("unfinished loads", unfinished), ("last loads", loads[:5])):
        if chosen:
            console.print(title)
        for load_ in chosen:
            console.print(
                f"  {load_.planned_at:%Y-%m-%d %H:%M:%S}  {load_.state:<10} {load_.load_id}"
                f"  {load_.owner}",
                soft_wrap=True,
            )


@click.command()
@click.argument("load_id")
@click.option("--html", type=click.Path(dir_okay=False), help="Write the page to this file.")
def report(load_id: str, html: str | None) -> None:
    """Show the report of a load."""
    settings = Settings()
    loader = loader_of(next(iter(discover().values())))
    loader.ledger.create()
    found = find_report(loader.clickhouse, settings.database, load_id=load_id)
    if found is None:
        raise click.ClickException(f"no report of load {load_id}; 'sluice status' lists loads")
    if html:
        Path(html).write_text(page(found))
        console.print(f"wrote {html}")
    else:
        show_report(found)
