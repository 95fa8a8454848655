"""What commands share: the console, a bar, a report in words, a loader from the environment."""

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sluice.contract import Contract
from sluice.loader import Loader
from sluice.plan import owners
from sluice.report.model import Report
from sluice.settings import Settings, connection_from_environment

console = Console(highlight=False)
LEFT_ALONE = {
    "replaced": "offsets of these were loaded already, and are loaded anew",
    "there": "offsets are loaded already, and left alone",
    "elsewhere": "offsets are being loaded by another load",
    "gone": "offsets are gone from the topic",
    "ahead": "offsets are beyond the topic's end",
    "unsearched": "offsets after the range of time were not looked through for late messages",
}
"""How the parts of a survey are told."""
topic_argument = click.argument("topic")
topics_argument = click.argument("topics", nargs=-1)


def progress_bar() -> Progress:
    """A bar of messages done, gone when it ends."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def build_loader(contract: Contract) -> Loader:
    """A loader over the connections that the environment names, owned by this process."""
    settings = Settings()
    return Loader(
        contract,
        connection_from_environment(settings.kafka_conn_id),
        connection_from_environment(settings.clickhouse_conn_id),
        settings,
        owners.process_owner(),
        owners.is_process_over,
    )


def show_report(found: Report) -> None:
    """Print a report's account, versions and refusals."""
    if not found.ranges:
        console.print(f"nothing new: every offset of {found.topic} is accounted for")
        return
    table = Table(title=f"load {found.load_id} into {found.table}: {found.state}")
    table.add_column("partition", justify="right")
    terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent")
    for term in terms:
        table.add_column(term, justify="right")
    for account in found.accounts:
        table.add_row(str(account.partition), *(f"{getattr(account, t):,}" for t in terms))
    table.add_section()
    table.add_row("all", *(f"{found.sum(t):,}" for t in terms))
    console.print(table)
    if found.versions:
        console.print("versions  " + "  ".join(f"{v}: {n:,}" for v, n in found.versions.items()))
    for reason in found.reasons:
        where = f" {reason.field}" if reason.field else ""
        console.print(
            f"refused   {reason.count:,} × {reason.reason}{where}, e.g. partition"
            f" {reason.partition}, offset {reason.offset}: {reason.message}",
            markup=False,
            soft_wrap=True,
        )
    for name, text in LEFT_ALONE.items():
        if count := found.survey.get(name):
            console.print(f"{count:>15,} {text}")
    if found.changes and found.changes.compared:
        columns = ", ".join(f"{c} {n:,}" for c, n in found.changes.columns.items()) or "none"
        console.print(
            f"changed   {found.changes.changed:,} of {found.changes.compared:,} rows that"
            f" were loaded anew; by column: {columns}"
        )
    if found.decision:
        console.print(found.decision, markup=False)
    if found.expired:
        console.print(f"expired   {found.expired:,} offsets were gone before they could be read")
    for step in found.steps:
        console.print(f"{step.name:<16}{step.seconds:8.2f} s  {step.rows_per_second:>9,} offsets/s")
