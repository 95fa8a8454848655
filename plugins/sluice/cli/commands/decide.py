"""Decides about a load: ``release``, ``discard``."""

import getpass
from collections.abc import Callable
from typing import Any

import click

from sluice import decisions
from sluice.cli.console import build_loader, console, show_report
from sluice.contract import discover, find
from sluice.loader import Loader


def _decides(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("load_id"),
        click.option("--why", required=True, help="The reason; shown in the load's report."),
        click.option("--by", "who", default=getpass.getuser, help="Who decides; by default you."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_decides
@click.option(
    "--unchecked",
    is_flag=True,
    help="Publish it although critical quality rules could not be checked.",
)
def release(load_id: str, why: str, who: str, unchecked: bool) -> None:
    """Publish the held load LOAD_ID, regardless of why it was held.

    Its rows become visible, exactly once. Refused messages stay in quarantine. A load that has
    passed its audit, or has begun to publish, is completed.
    """
    loader = _loader_of(load_id)
    with console.status("publishing"):
        decisions.release(loader, load_id, who, why, unchecked)
    show_report(loader.report(load_id))


@click.command()
@_decides
@click.option(
    "--run-is-over",
    is_flag=True,
    help="State that the load's run is over or was deleted, if that cannot be determined.",
)
def discard(load_id: str, why: str, who: str, run_is_over: bool) -> None:
    """Discard the load LOAD_ID: the next load reads its offsets again.

    The load is held, or its run is over or was deleted.
    """
    loader = _loader_of(load_id)
    decisions.discard(loader, load_id, who, why, run_is_over)
    loader.report(load_id)
    console.print(f"discarded load {load_id}; the next load of its topic reads its offsets again")


def _loader_of(load_id: str) -> Loader:
    """A loader for the topic of a load."""
    any_loader = build_loader(next(iter(discover().values())))
    any_loader.ledger.create()
    topic = any_loader.ledger.topic_of(load_id)
    if not topic:
        raise click.ClickException(f"the ledger has no load {load_id}; 'sluice status' lists loads")
    return build_loader(find(topic))
