"""Loads a part of a topic: ``backfill``."""

from typing import Any

import click

from sluice.cli.console import build_loader, topic_argument
from sluice.cli.load_options import (
    dry_run_option,
    max_messages_option,
    partitions_option,
    run_load,
    show_preview,
)
from sluice.contract import find
from sluice.errors import PlanError
from sluice.store.request import Request, parse_offsets


@click.command()
@topic_argument
@click.option("--from", "low", default="", metavar="WHEN", help="First offset or time (ISO 8601).")
@click.option("--to", "high", default="", metavar="WHEN", help="Offset or time to stop before.")
@click.option(
    "--offsets",
    default="",
    metavar="RANGES",
    help="Offsets by partition, instead of --from and --to: '0: 100-200, 1: 50-'.",
)
@click.option("--everything", is_flag=True, help="The whole topic, from its beginning.")
@click.option(
    "--existing",
    type=click.Choice(["skip", "replace"]),
    default="skip",
    show_default=True,
    help="Skip offsets that are loaded already, or load them again and replace their rows.",
)
@partitions_option
@max_messages_option
@dry_run_option
def backfill(topic: str, everything: bool, offsets: str, dry_run: bool, **options: Any) -> None:
    """Load a part of TOPIC: between two offsets or times, or all that it still has.

    A time means the first message at or after it in each partition. Offsets that another load has
    reserved are left to that load. Run the same command again to resume an interrupted backfill.
    """
    if everything and (options["low"] or options["high"] or offsets):
        raise PlanError("--everything excludes --from, --to and --offsets")
    if everything:
        options["low"] = "0"
    request = Request(offsets=tuple(parse_offsets(offsets)), **options)
    if not request.windowed and not request.partitions:
        raise PlanError(
            "choose what to load with --from, --to, --offsets or --everything; 'sluice load' loads"
            " new messages"
        )
    loader = build_loader(find(topic))
    if dry_run:
        show_preview(loader, request)
    else:
        run_load(loader, request)
