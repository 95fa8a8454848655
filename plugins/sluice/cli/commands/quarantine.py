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
from sluice.contract import find
from sluice.store.quarantine import Quarantine, export_record, printable
from sluice.store.request import RefusalFilter, Request

STATUSES = click.Choice(["quarantined", "loaded", "superseded", "pending", "dropped"])


@click.group()
def quarantine() -> None:
    """Look at messages that were refused, and replay them; they are kept whole."""


def narrowed_down(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that narrow down which messages, by what they are."""
    options = (
        click.option("--reason", default="", help="Only of this reason, such as missing_field."),
        click.option("--field", default="", help="Only about this field."),
        click.option("--version", default="", help="Only nearest to this version."),
        click.option("--load", "load_id", default="", help="Only of this load."),
        click.option("--partition", type=int, help="Only of this partition."),
        click.option("--from", "low", type=int, help="First offset."),
        click.option("--to", "high", type=int, help="Offset to stop before."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and by what became of them."""
    status = click.option(
        "--status",
        type=STATUSES,
        default="quarantined",
        show_default=True,
        help="Of published loads; loaded or refused again by a later one; of loads that are held or"
        " under way; or of abandoned ones.",
    )
    return narrowed_down(status(command))


def _open(topic: str) -> Quarantine:
    loader = build_loader(find(topic))
    loader.ledger.create()
    return Quarantine(loader.clickhouse, loader.ledger.database)


@quarantine.command("list")
@topic_argument
@filtered
def list_(topic: str, **narrowed: Any) -> None:
    """How many messages of TOPIC were refused, and why."""
    kinds = _open(topic).kinds(RefusalFilter(topic=topic, **narrowed))
    if not kinds:
        console.print(f"no {narrowed['status']} messages of {topic}")
        return
    table = Table()
    for column in ("count", "reason", "field", "version", "last", "for example"):
        table.add_column(column, no_wrap=column in ("count", "reason"))
    for kind in kinds:
        example = f"partition {kind.partition}, offset {kind.offset}: {kind.example}"
        last = f"{kind.last:%Y-%m-%d %H:%M}"
        cells = (kind.reason, kind.field, kind.version, last, example)
        table.add_row(f"{kind.count:,}", *(Text(printable(cell.encode())) for cell in cells))
    console.print(table)


@quarantine.command("show")
@topic_argument
@click.argument("partition", type=int)
@click.argument("offset", type=int)
@click.option("--status", type=STATUSES, default="quarantined", show_default=True)
def show(topic: str, partition: int, offset: int, status: str) -> None:
    """One refused message of TOPIC, whole; what is not printable is escaped."""
    wanted = RefusalFilter(
        topic=topic, partition=partition, low=offset, high=offset + 1, status=status
    )
    found = list(_open(topic).messages(wanted))
    if not found:
        raise click.ClickException(
            f"no {status} message of {topic} in partition {partition} at offset {offset};"
            f" 'sluice quarantine list {topic}' shows what there is"
        )
    for message in found:
        lines = {
            "reason": message.reason,
            "field": message.field,
            "said": message.message,
            "nearest version": message.version,
            "ClickHouse code": str(message.code or ""),
            "timestamp": message.timestamp.isoformat(),
            "load": message.load_id,
            "resolved by": message.resolved_by + (" (repaired)" if message.repaired else ""),
            "key": printable(message.key),
            **{
                f"header {printable(name.encode())}": printable(value)
                for name, value in message.headers
            },
        }
        for name, text in lines.items():
            if text:
                click.echo(f"{name:<16}{text}")
        click.echo(f"value, {len(message.value):,} bytes:\n{printable(message.value)}")


@quarantine.command("export")
@topic_argument
@click.argument("file", type=click.Path(dir_okay=False, writable=True))
@click.option("--most", default=0, help="At most so many; 0 is all.")
@filtered
def export(topic: str, file: str, most: int, **narrowed: Any) -> None:
    """Write refused messages of TOPIC to FILE, a JSON object a line; bytes as base64."""
    store = _open(topic)
    wanted = RefusalFilter(topic=topic, **narrowed)
    whole = sum(kind.count for kind in store.kinds(wanted))
    encode, count = msgspec.json.Encoder().encode, 0
    with progress_bar() as bar, Path(file).open("wb") as out:
        task = bar.add_task("writing", total=min(whole, most) if most else whole)
        for message in store.messages(wanted, most):
            out.write(encode(export_record(message)) + b"\n")
            count += 1
            bar.advance(task)
    console.print(f"wrote {count:,} messages to {file}")


@quarantine.command("replay")
@topic_argument
@narrowed_down
@max_messages_option
@dry_run_option
def replay(topic: str, max_messages: int, dry_run: bool, **narrowed: Any) -> None:
    """Validate refused messages of TOPIC again, under today's contract.

    What passes, as it is or after the contract's repair function, becomes rows with their original
    offsets. What fails stays in quarantine, with today's reason. Replaying twice is harmless.
    """
    partition = narrowed.pop("partition")
    request = Request(
        partitions=() if partition is None else (partition,),
        max_messages=max_messages,
        refused=RefusalFilter(topic=topic, **narrowed),
    )
    loader = build_loader(find(topic))
    if dry_run:
        show_preview(loader, request)
    else:
        run_load(loader, request)
