"""Loading a part of a topic: ``backfill``."""

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
@click.option("--from", "low", default="", metavar="WHEN", help="First offset, or time (ISO 8601).")
@click.option("--to", "high", default="", metavar="WHEN", help="Offset, or time, to stop before.")
@click.option(
    "--offsets",
    default="",
    metavar="RANGES",
    help="By partition, in place of --from and --to: '0: 100-200, 1: 50-'.",
)
@click.option("--everything", is_flag=True, help="Everything since the topic's beginning.")
@click.option(
    "--existing",
    type=click.Choice(["skip", "replace"]),
    default="skip",
    show_default=True,
    help="Leave alone what is loaded already, or load it anew and exchange the rows.",
)
@partitions_option
@max_messages_option
@dry_run_option
def backfill(topic: str, everything: bool, offsets: str, dry_run: bool, **asked: Any) -> None:
    """Load a part of TOPIC: between two offsets or times, or all that it still has.

    A time stands for the first message at or after it, in each partition. What another load is
    loading is left to it. A backfill that was interrupted goes on when it is started again.
    """
    if everything and (asked["low"] or asked["high"] or offsets):
        raise PlanError("--everything stands alone: leave out --from, --to and --offsets")
    if everything:
        asked["low"] = "0"
    request = Request(offsets=tuple(parse_offsets(offsets)), **asked)
    if not request.windowed and not request.partitions:
        raise PlanError(
            "say what to load: --from, --to, --offsets or --everything; 'sluice load' loads what"
            " is new"
        )
    loader = build_loader(find(topic))
    if dry_run:
        show_preview(loader, request)
    else:
        run_load(loader, request)
