"""Runs a load from the command line, or shows what it would read; and the shared options."""

import click
from rich.table import Table

from sluice.cli.console import (
    console,
    progress_bar,
    show_other_offsets,
    show_report,
    show_reservations,
)
from sluice.cli.number_types import COUNT, PARTITION
from sluice.errors import SluiceError
from sluice.loader import Loader
from sluice.plan.reservations import find_reservations
from sluice.ranges import total
from sluice.store.request import Request, describe_request
from sluice.telemetry import span

MAX_RANGES = 20
"""Number of ranges that a dry run prints."""

partitions_option = click.option(
    "--partition",
    "partitions",
    multiple=True,
    type=PARTITION,
    help="Only this partition; repeatable.",
)
max_messages_option = click.option(
    "--max-messages",
    type=COUNT,
    default=0,
    help="Maximum number of offsets; 0 for all.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be read.")


def run_load(loader: Loader, request: Request) -> None:
    """Run a load with a progress bar, and print its report; then the next, if it left offsets to
    that.

    Resumes an interrupted load of the same request.
    """
    goes_on = _run_one(loader, request)
    while goes_on:
        goes_on = _run_one(loader, request, again=True)


def _run_one(loader: Loader, request: Request, again: bool = False) -> bool:
    """Run one load; returns whether the contract's limit has left offsets to the next."""
    with span("load", topic=loader.contract.topic):
        with console.status("planning"):
            plan = loader.plan(request, resume=True, again=again)
        if not plan.load_id:
            console.print(f"nothing new: every offset of {plan.topic} is accounted for")
            return False
        if done := loader.ledger.attempts.accepted(plan.topic, plan.load_id):
            console.print(
                f"resuming load {plan.load_id}: {len(done)} of {len(plan.chunks)} chunks are done"
            )
        try:
            with progress_bar() as bar:
                task = bar.add_task("reading", total=plan.offsets)
                for number in range(len(plan.chunks)):
                    loader.drain(plan.load_id, number, lambda count: bar.advance(task, count))
            with console.status("auditing"):
                loader.audit(plan.load_id)
            with console.status("publishing"):
                loader.publish(plan.load_id)
        except BaseException as error:
            _report_failure(loader, plan.load_id)
            if isinstance(error, KeyboardInterrupt):
                raise click.ClickException(
                    f"interrupted; load {plan.load_id} is kept, and the same command resumes it"
                ) from None
            raise
        report = loader.report(plan.load_id)
        show_report(report)
        return bool(report.survey.get("postponed"))


def _report_failure(loader: Loader, load_id: str) -> None:
    """Show the report of a load that failed; why it failed is told after it in any case."""
    try:
        show_report(loader.report(load_id))
    except SluiceError as error:
        console.print(f"the report could not be made: {error}", markup=False)


def show_preview(loader: Loader, request: Request) -> None:
    """Show what a load would read, what it would leave alone, and an estimate of its duration."""
    with console.status("planning"):
        selection = loader.preview(request).selection
    table = Table(
        "partition", "from", "to", "offsets", title=f"would read: {describe_request(request)}"
    )
    for r in selection.ranges[:MAX_RANGES]:
        table.add_row(*(f"{n:,}" for n in (r.partition, r.low, r.high, r.count)))
    console.print(table)
    if len(selection.ranges) > MAX_RANGES:
        console.print(f"and {len(selection.ranges) - MAX_RANGES:,} more ranges")
    show_other_offsets(selection.left_alone)
    if selection.elsewhere:
        show_reservations(find_reservations(loader.ledger, loader.contract.topic))
    offsets, pace = total(selection.ranges), loader.ledger.pace(loader.contract.topic)
    if pace is None:
        console.print(f"{offsets:,} offsets; there is no load yet to estimate the duration from")
        return
    megabytes = offsets * pace.bytes_per_offset / 1e6
    seconds = offsets / pace.offsets_per_second
    time = f"{seconds / 60:,.0f} minutes" if seconds > 120 else f"{seconds:,.0f} seconds"
    console.print(
        f"{offsets:,} offsets, about {megabytes:,.1f} MB; about {time} at the rate of the last"
        " loads"
    )
