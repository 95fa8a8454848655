"""Shared by all commands: console, progress bar, report, and a loader from the environment."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sluice.contract import Contract
from sluice.loader import Loader
from sluice.plan import run_owners
from sluice.plan.reservations import Reservation
from sluice.report.model import Report
from sluice.settings import Settings, connection_from_environment
from sluice.store.quarantine import printable_text


class PrintableConsole(Console):
    """Escapes control characters in every text it prints: names and errors may be a sender's."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The text, as rich renders it."""
        return super().render_str(printable_text(text), **options)


console = PrintableConsole(highlight=False)
topic_argument = click.argument("topic")
topics_argument = click.argument("topics", nargs=-1)

_OTHER_OFFSETS = {
    "replaced": "of these offsets are loaded already, and are replaced",
    "there": "offsets are loaded already, and left alone",
    "elsewhere": "offsets are reserved by another load",
    "gone": "offsets are no longer in the topic",
    "ahead": "offsets are beyond the topic's end",
    "postponed": "offsets wait for the next load, since one load reads no more (max_offsets)",
    "unsearched": "offsets after the range of time were not searched for late messages",
}
"""The other offset counts of a plan, in the order of printing: name → description."""


def progress_bar() -> Progress:
    """A progress bar of messages; it disappears at the end."""
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
    """A loader with the connections of the environment, owned by this process."""
    settings = Settings()
    return Loader(
        contract,
        connection_from_environment(settings.kafka_conn_id),
        connection_from_environment(settings.clickhouse_conn_id),
        settings,
        run_owners.process_owner(),
        run_owners.is_process_over,
    )


def show_report(report: Report) -> None:
    """Print a report: accounts, versions, refusals, and what else it has."""
    if not report.ranges:
        _show_nothing_new(report)
        return
    _show_accounts(report)
    if report.versions:
        counts = (f"{version}: {count:,}" for version, count in report.versions.items())
        console.print("versions  " + "  ".join(counts))
    for reason in report.reasons:
        field = f" {reason.field}" if reason.field else ""
        console.print(
            f"refused   {reason.count:,} × {reason.reason}{field}, e.g. partition"
            f" {reason.partition}, offset {reason.offset}: {reason.message}",
            markup=False,
            soft_wrap=True,
        )
    show_other_offsets(report.survey)
    show_reservations(report.reservations)
    if report.changes and report.changes.compared:
        columns = ", ".join(f"{c} {n:,}" for c, n in report.changes.columns.items()) or "none"
        console.print(
            f"changed   {report.changes.changed:,} of {report.changes.compared:,} replaced rows;"
            f" by column: {columns}"
        )
    if report.decision:
        console.print(report.decision, markup=False)
    if report.expired:
        console.print(f"expired   {report.expired:,} offsets left the topic before the load")
    for step in report.steps:
        console.print(f"{step.name:<16}{step.seconds:8.2f} s  {step.rows_per_second:>9,} offsets/s")


def _show_nothing_new(report: Report) -> None:
    """State that nothing was read, and of which offsets that is not the whole truth."""
    if not report.is_all_loaded:
        console.print(f"nothing of {report.topic} was read: {report.asked}", markup=False)
        if report.waiting_before:
            console.print(f"{report.waiting_before:>15,} offsets of the topic are not loaded yet")
        show_other_offsets(report.survey)
        show_reservations(report.reservations)
    else:
        console.print(f"nothing new: every offset of {report.topic} is accounted for")


def show_reservations(reservations: Sequence[Reservation]) -> None:
    """Print which offsets other loads hold, and how to free them."""
    for reservation in reservations:
        console.print(str(reservation), markup=False, soft_wrap=True)


def _show_accounts(report: Report) -> None:
    table = Table(title=f"load {report.load_id} into {report.table}: {report.state}")
    table.add_column("partition", justify="right")
    terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent")
    for term in terms:
        table.add_column(term, justify="right")
    for account in report.accounts:
        table.add_row(str(account.partition), *(f"{getattr(account, t):,}" for t in terms))
    table.add_section()
    table.add_row("all", *(f"{report.sum(t):,}" for t in terms))
    console.print(table)


def show_other_offsets(counts: Mapping[str, int]) -> None:
    """Print the other offset counts of a plan by name; see ``Selection``."""
    for name, text in _OTHER_OFFSETS.items():
        if count := counts.get(name):
            console.print(f"{count:>15,} {text}")
