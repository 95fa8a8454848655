"""Refused messages: ``quarantine list|show|export|replay``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from sluice.cli.console import build_loader, console, progress_bar, topic_argument
from sluice.cli.load_options import dry_run_option, max_messages_option, run_load, show_preview
from sluice.cli.number_types import COUNT, OFFSET, PARTITION
from sluice.contract import find
from sluice.store.quarantine import (
    Quarantine,
    RefusedMessage,
    export_record,
    printable,
    printable_text,
)
from sluice.store.request import RefusalFilter, Request

STATUSES = click.Choice(["quarantined", "loaded", "superseded", "pending", "dropped"])


@click.group()
def quarantine() -> None:
    """Show, export and replay refused messages."""


def refusal_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that filter refused messages."""
    options = (
        click.option("--reason", default="", help="Only with this reason, such as missing_field."),
        click.option("--field", default="", help="Only about this field."),
        click.option("--version", default="", help="Only with this nearest version."),
        click.option("--load", "load_id", default="", help="Only of this load."),
        click.option("--partition", type=PARTITION, help="Only of this partition."),
        click.option("--from", "low", type=OFFSET, help="First offset."),
        click.option("--to", "high", type=OFFSET, help="Offset to stop before."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def status_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options, and a filter by status."""
    status = click.option(
        "--status",
        type=STATUSES,
        default="quarantined",
        show_default=True,
        help="quarantined: refused by a published load; loaded, superseded: loaded or refused"
        " again by a later load; pending: refused by a held or running load; dropped: refused by"
        " a load that will never be published.",
    )
    return refusal_options(status(command))


def _open(topic: str) -> Quarantine:
    loader = build_loader(find(topic))
    loader.ledger.create()
    return Quarantine(loader.clickhouse, loader.ledger.database)


@quarantine.command("list")
@topic_argument
@status_option
def list_(topic: str, **filters: Any) -> None:
    """Show the number of refused messages of TOPIC by reason, field and version."""
    groups = _open(topic).groups(RefusalFilter(topic=topic, **filters))
    if not groups:
        console.print(f"no {filters['status']} messages of {topic}")
        return
    table = Table()
    for column in ("count", "reason", "field", "version", "last", "for example"):
        table.add_column(column, no_wrap=column in ("count", "reason"))
    for group in groups:
        example = f"partition {group.partition}, offset {group.offset}: {group.example}"
        last = f"{group.last:%Y-%m-%d %H:%M}"
        cells = (group.reason, group.field, group.version, last, example)
        table.add_row(f"{group.count:,}", *(Text(printable_text(cell)) for cell in cells))
    console.print(table)


@quarantine.command("show")
@topic_argument
@click.argument("partition", type=PARTITION)
@click.argument("offset", type=OFFSET)
@click.option("--status", type=STATUSES, default="quarantined", show_default=True)
def show(topic: str, partition: int, offset: int, status: str) -> None:
    """Show one refused message of TOPIC in full; bytes that are not printable are escaped."""
    wanted = RefusalFilter(
        topic=topic, partition=partition, low=offset, high=offset + 1, status=status
    )
    messages = list(_open(topic).messages(wanted))
    if not messages:
        raise click.ClickException(
            f"no {status} message of {topic} in partition {partition} at offset {offset};"
            f" 'sluice quarantine list {topic}' shows the refused messages"
        )
    for message in messages:
        lines = {
            "reason": message.reason,
            "field": message.field,
            "error": message.message,
            "nearest version": message.version,
            "ClickHouse code": str(message.code or ""),
            "timestamp": _timestamp_text(message),
            "load": message.load_id,
            "resolved by": message.resolved_by + (" (repaired)" if message.repaired else ""),
        }
        for name, text in lines.items():
            if text:
                click.echo(f"{name:<16}{printable_text(text)}")
        payload = [("key", message.key)]
        payload += [(f"header {printable_text(n)}", v) for n, v in message.headers]
        for name, data in payload:
            click.echo(f"{f'{name}, {_size(data)}':<16} {printable(data or b'')}".rstrip())
        click.echo(f"value, {_size(message.value)}:\n{printable(message.value or b'')}")


def _size(data: bytes | None) -> str:
    """The size of a key, a value or the value of a header; null differs from empty."""
    return "null" if data is None else f"{len(data):,} bytes"


def _timestamp_text(message: RefusedMessage) -> str:
    if message.timestamp_ms == round(message.timestamp.timestamp() * 1000):
        return message.timestamp.isoformat()
    if message.timestamp_ms == -1:
        return "none"
    return f"{message.timestamp_ms} (no time from 1970 to 2299 in milliseconds)"


@quarantine.command("export")
@topic_argument
@click.argument("file", type=click.Path(dir_okay=False, writable=True))
@click.option("--most", type=COUNT, default=0, help="Maximum number of messages; 0 for all.")
@status_option
def export(topic: str, file: str, most: int, **filters: Any) -> None:
    """Write refused messages of TOPIC to FILE, one JSON object per line; bytes are base64."""
    store = _open(topic)
    wanted = RefusalFilter(topic=topic, **filters)
    total = sum(group.count for group in store.groups(wanted))
    encode, count = msgspec.json.Encoder().encode, 0
    with progress_bar() as bar, Path(file).open("wb") as out:
        task = bar.add_task("writing", total=min(total, most) if most else total)
        for message in store.messages(wanted, most):
            out.write(encode(export_record(message)) + b"\n")
            count += 1
            bar.advance(task)
    console.print(f"wrote {count:,} messages to {file}")


@quarantine.command("replay")
@topic_argument
@refusal_options
@max_messages_option
@dry_run_option
def replay(topic: str, max_messages: int, dry_run: bool, **filters: Any) -> None:
    """Validate refused messages of TOPIC again, with the current contract.

    Valid messages, with or without the contract's repair function, become rows with their original
    offsets. Invalid ones stay in quarantine, with the current reason. Replaying twice is harmless.
    """
    partition = filters.pop("partition")
    request = Request(
        partitions=() if partition is None else (partition,),
        max_messages=max_messages,
        refused=RefusalFilter(topic=topic, **filters),
    )
    loader = build_loader(find(topic))
    if dry_run:
        show_preview(loader, request)
    else:
        run_load(loader, request)
