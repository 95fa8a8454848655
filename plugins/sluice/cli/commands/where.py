"""Finds a message: ``where``."""

import click
from rich.table import Table
from rich.text import Text

from sluice.cli.console import build_loader, console, topic_argument
from sluice.contract import find
from sluice.errors import PlanError
from sluice.report.find_message import MessageFinder
from sluice.store.quarantine import printable_text


@click.command()
@topic_argument
@click.argument("condition", metavar="NAME=VALUE")
def where(topic: str, condition: str) -> None:
    """Find a message of TOPIC: its offset, its load and run, or the reason of its refusal.

    NAME is a column of the table (order_id=o-17), correlation_id, or offset (offset=3:81234).
    For an offset there is always an answer, also if it was skipped, or no load has read it.
    """
    name, equals, value = condition.partition("=")
    if not equals or not value:
        raise PlanError(f"write a name and a value, such as order_id=o-17, not {condition!r}")
    loader = build_loader(find(topic))
    loader.ledger.create()
    finder = MessageFinder(
        loader.contract,
        loader.clickhouse,
        loader.ledger.database,
        lambda: loader.broker.watermarks(loader.broker.topic(topic)),
    )
    places = finder.find(name, value)
    if not places:
        raise click.ClickException(
            f"no row, no staged row and no refused message of {topic} has {condition};"
            f" 'sluice status {topic}' shows how far the topic is loaded"
        )
    for place in places:
        table = Table(show_header=False)
        sent = f", sent {place.timestamp:%F %T} UTC" if place.timestamp else ""
        lines = {
            "message": f"partition {place.partition}, offset {place.offset}{sent}",
            "status": place.status,
            "meaning": place.sentence,
            "since": f"{place.at:%F %T} UTC" if place.at else "",
            "load": place.load_id,
            "run": place.run,
            "correlation id": place.correlation_id,
            "refused": f"{place.reason} {place.field}".strip(),
            "error": place.message,
        }
        for label, text in lines.items():
            if text:
                table.add_row(label, Text(printable_text(text)))
        console.print(table)
