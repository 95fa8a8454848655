"""Running a whole load from the command line, or showing what one would read."""

import click
from rich.table import Table

from sluice.cli.console import LEFT_ALONE, console, progress_bar, show_report
from sluice.loader import Loader
from sluice.ranges import total
from sluice.store.request import Request, describe_request
from sluice.telemetry import span

SHOWN = 20
"""Ranges that a dry run prints."""

partitions_option = click.option(
    "--partition", "partitions", multiple=True, type=int, help="Only this; repeatable."
)
max_messages_option = click.option(
    "--max-messages",
    type=click.IntRange(min=0),
    default=0,
    help="At most so many offsets; 0 is all.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be read.")


def run_load(loader: Loader, request: Request) -> None:
    """A whole load, with a bar, and its report at the end.

    One of the same request that was interrupted is gone on with, where it stopped.
    """
    with span("load", topic=loader.contract.topic):
        with console.status("planning"):
            plan = loader.plan(request, resume=True)
        if done := loader.ledger.attempts.accepted(plan.load_id):
            console.print(
                f"going on with load {plan.load_id}: {len(done)} of {len(plan.chunks)} chunks"
            )
        try:
            with progress_bar() as bar:
                task = bar.add_task("reading", total=plan.offsets)
                for number in range(len(plan.chunks)):
                    loader.drain(plan.load_id, number, lambda done: bar.advance(task, done))
            with console.status("auditing"):
                loader.audit(plan.load_id)
            with console.status("publishing"):
                loader.publish(plan.load_id)
        except KeyboardInterrupt:
            raise click.ClickException(
                f"interrupted; load {plan.load_id} is kept as far as it came: the same command"
                " goes on with it"
            ) from None
        finally:
            report = loader.report(plan.load_id)
            show_report(report)


def show_preview(loader: Loader, request: Request) -> None:
    """What a load would read, what it would leave alone, and about how long it would take."""
    with console.status("asking"):
        selection = loader.preview(request).selection
    table = Table(
        "partition", "from", "to", "offsets", title=f"would read: {describe_request(request)}"
    )
    for r in selection.ranges[:SHOWN]:
        table.add_row(*(f"{n:,}" for n in (r.partition, r.low, r.high, r.count)))
    console.print(table)
    if len(selection.ranges) > SHOWN:
        console.print(f"and {len(selection.ranges) - SHOWN:,} more ranges")
    for name, count in selection.left_alone.items():
        console.print(f"{count:>15,} {LEFT_ALONE[name]}")
    offsets, pace = total(selection.ranges), loader.ledger.pace(loader.contract.topic)
    if pace is None:
        console.print(f"{offsets:,} offsets; there is no load yet to tell the time from")
        return
    megabytes = offsets * pace.bytes_per_offset / 1e6
    seconds = offsets / pace.offsets_per_second
    time = f"{seconds / 60:,.0f} minutes" if seconds > 120 else f"{seconds:,.0f} seconds"
    console.print(
        f"{offsets:,} offsets, about {megabytes:,.1f} MB; about {time} at the rate of the last"
        " loads"
    )
