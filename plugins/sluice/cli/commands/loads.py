"""Loads new messages, and shows loads: ``load``, ``status``, ``log``, ``report``."""

import re
from pathlib import Path

import click
import msgspec
from rich.table import Table

from sluice.cli.console import build_loader, console, show_report, topic_argument, topics_argument
from sluice.cli.load_options import max_messages_option, partitions_option, run_load
from sluice.contract import discover, find
from sluice.errors import SluiceError
from sluice.loader import Loader
from sluice.report.entry_text import describe_entry
from sluice.report.lag import measure_lag
from sluice.report.reporter import find_report, render_report
from sluice.settings import Settings
from sluice.store.request import Request


@click.command()
@topic_argument
@partitions_option
@max_messages_option
def load(topic: str, partitions: tuple[int, ...], max_messages: int) -> None:
    """Load all new messages of TOPIC: plan, drain, audit, publish, report."""
    run_load(build_loader(find(topic)), Request(partitions=partitions, max_messages=max_messages))


@click.command()
@topics_argument
def status(topics: tuple[str, ...]) -> None:
    """Show the progress, the lag and the last loads of TOPICS (all by default)."""
    failed = []
    for topic in topics or discover():
        try:
            loader = build_loader(find(topic))
            loader.ledger.create()
            _show_loads(loader)
            _show_lag(loader)
        except SluiceError as error:
            failed.append(topic)
            console.print(str(error), markup=False, soft_wrap=True)
    if failed:
        raise click.ClickException(f"not everything is known of {', '.join(failed)}")


def _show_lag(loader: Loader) -> None:
    topic = loader.contract.topic
    table = Table(title=f"{topic} → {loader.clickhouse.database}.{loader.contract.table.name}")
    columns = ("partition", "first offset", "end", "accounted for", "lag, messages", "lag, seconds")
    for column in columns:
        table.add_column(column, justify="right")
    for lag in measure_lag(topic, loader.broker, loader.ledger):
        row = (lag.partition, lag.low, lag.high, lag.published, lag.waiting)
        seconds = "?" if lag.seconds is None else f"{lag.seconds:,.0f}"
        table.add_row(*(f"{n:,}" for n in row), seconds)
    console.print(table)


def _show_loads(loader: Loader) -> None:
    topic = loader.contract.topic
    loads = loader.ledger.loads_of(topic)
    unfinished = [load_ for load_ in loads if load_.live]
    for title, chosen in (("unfinished loads", unfinished), ("last loads", loads[:5])):
        if chosen:
            console.print(f"{title} of {topic}")
        for load_ in chosen:
            console.print(
                f"  {load_.planned_at:%Y-%m-%d %H:%M:%S}  {load_.state:<10} {load_.load_id}"
                f"  {load_.owner}",
                soft_wrap=True,
            )


@click.command()
@topic_argument
@click.option(
    "--most", type=click.IntRange(1), default=50, show_default=True, help="Entries to show."
)
def log(topic: str, most: int) -> None:
    """Show the last entries of TOPIC's log: what happened to its loads, and who did it."""
    loader = build_loader(find(topic))
    loader.ledger.create()
    for entry in loader.ledger.log(topic).last_entries(most):
        lines = "".join(f"\n        {line}" for line in describe_entry(entry))
        console.print(
            f"{entry.number:>6}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.state:<11} {entry.load_id}"
            f"  {entry.owner}{lines}",
            markup=False,
            soft_wrap=True,
        )


@click.command()
@click.argument("load_id")
@click.option("--html", type=click.Path(dir_okay=False), help="Write an HTML page to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def report(load_id: str, html: str | None, as_json: bool) -> None:
    """Show the report of a load."""
    settings = Settings()
    loader = build_loader(next(iter(discover().values())))
    loader.ledger.create()
    stored_report = find_report(loader.clickhouse, settings.database, "", load_id=load_id)
    if stored_report is None:
        raise click.ClickException(f"no report of load {load_id}; 'sluice status' lists loads")
    if html:
        Path(html).write_text(render_report(stored_report))
        console.print(f"wrote {html}")
    elif as_json:
        text = msgspec.json.format(msgspec.json.encode(stored_report)).decode()
        # JSON escapes only the control characters below 32.
        click.echo(re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text))
    else:
        show_report(stored_report)
