"""Deciding about a load that its audit holds: ``release``, ``discard``."""

import getpass
from collections.abc import Callable
from typing import Any

import click

from sluice.cli.console import build_loader, console, show_report
from sluice.contract import discover, find
from sluice.loader import Loader


def _decides(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("load_id"),
        click.option("--why", required=True, help="Kept with the load, and shown in its report."),
        click.option("--by", "who", default=getpass.getuser, help="Who decides; you by default."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_decides
def release(load_id: str, why: str, who: str) -> None:
    """Publish a held load LOAD_ID in spite of what held it.

    Its rows become visible, exactly once; what was refused stays in quarantine.
    """
    loader = _loader_of(load_id)
    with console.status("publishing"):
        loader.release(load_id, who, why)
    show_report(loader.report(load_id))


@click.command()
@_decides
def discard(load_id: str, why: str, who: str) -> None:
    """Give up a held load LOAD_ID: the next load reads its offsets again."""
    loader = _loader_of(load_id)
    loader.discard(load_id, who, why)
    loader.report(load_id)
    console.print(f"load {load_id} is given up; the next load of its topic reads its offsets again")


def _loader_of(load_id: str) -> Loader:
    """A loader of the topic that a load is of."""
    any_loader = build_loader(next(iter(discover().values())))
    any_loader.ledger.create()
    load = any_loader.ledger.load(load_id)
    if load is None:
        raise click.ClickException(
            f"the ledger knows no load {load_id}; 'sluice status' lists them"
        )
    return build_loader(find(load.topic))
