"""Auditing what was loaded: ``verify``."""

import click
from rich.table import Table

from sluice.audit.verify.content import ContentCheck
from sluice.audit.verify.findings import Finding
from sluice.audit.verify.verifier import Verification, Verifier
from sluice.cli.console import build_loader, console, progress_bar, topic_argument
from sluice.contract import find
from sluice.decode.factory import build_decoder
from sluice.loader import Loader
from sluice.plan.bounds import resolve_bounds
from sluice.ranges import OffsetRange, intersect, merge, total
from sluice.records import Progress, retained_ranges

SHOWN = 20
"""Ranges that are printed of one finding."""


@click.command()
@topic_argument
@click.option("--from", "low", metavar="WHEN", help="First offset, or time of messages (ISO 8601).")
@click.option("--to", "high", metavar="WHEN", help="Offset, or time, to stop before.")
@click.option("--partition", "partitions", multiple=True, type=int, help="Only this; repeatable.")
@click.option("--messages", is_flag=True, help="Also read the topic, and miss no message of it.")
@click.option("--content", is_flag=True, help="Also decode the messages, and compare every row.")
def verify(
    topic: str,
    low: str | None,
    high: str | None,
    partitions: tuple[int, ...],
    messages: bool,
    content: bool,
) -> None:
    """Audit everything that was loaded of TOPIC, offset by offset; changes nothing.

    Holds ledger, target, quarantine and the topic's watermarks against each other, and names every
    offset that is missing, doubled or unexplained. Fails when there is one. Loads may run
    meanwhile; what they are publishing is left out.
    """
    loader = build_loader(find(topic))
    loader.ledger.create()
    within = resolve_bounds(loader.broker, loader.broker.topic(topic), low, high, partitions)
    verifier = Verifier(
        loader.contract,
        loader.broker,
        loader.clickhouse,
        loader.ledger,
        loader.settings.cluster,
        within,
    )
    published = merge(t.range for t in loader.ledger.held_ranges(topic) if t.published)
    asked = published if within is None else intersect(published, within)
    with progress_bar() as bar:
        task = bar.add_task("auditing the tables", total=total(asked))
        verdict = verifier.run(lambda done: bar.advance(task, done))
        findings = list(verdict.findings)
        if messages or content:
            task = bar.add_task("reading the topic", total=total(asked))
            findings += verifier.against_broker(lambda done: bar.advance(task, done))
        if content:
            task = bar.add_task("comparing rows", total=total(asked))
            findings += _content(loader, asked, lambda done: bar.advance(task, done))
    _show(verdict)
    for finding in findings:
        _tell(finding)
    if findings:
        raise click.ClickException(f"{len(findings)} findings")
    rate = verdict.offsets / verdict.seconds if verdict.seconds else 0
    console.print(
        f"every one of {verdict.offsets:,} published offsets is in exactly one place"
        f" ({verdict.seconds:.1f} s, {rate:,.0f} offsets/s)"
    )


def _content(loader: Loader, asked: list[OffsetRange], progress: Progress) -> list[Finding]:
    decoder = build_decoder(loader.contract, loader.registry)
    check = ContentCheck(loader.contract, loader.broker, loader.clickhouse, loader.ledger, decoder)
    topic = loader.broker.topic(loader.contract.topic)
    marks = loader.broker.watermarks(topic)
    return check.run(topic, intersect(asked, retained_ranges(marks)), progress)


def _show(verdict: Verification) -> None:
    table = Table(title=f"topic {verdict.topic}")
    columns = ("partition", "published", "loaded", "quarantined", "skipped", "not loaded yet")
    for column in columns:
        table.add_column(column, justify="right")
    for s in verdict.partitions:
        row = (s.partition, s.published, s.loaded, s.quarantined, s.skipped, s.open)
        table.add_row(*(f"{number:,}" for number in row))
    console.print(table)


def _tell(finding: Finding) -> None:
    click.echo(f"{finding.kind}: {finding.text}")
    for r in finding.ranges[:SHOWN]:
        click.echo(f"    partition {r.partition}, offsets {r.low} to {r.high - 1}")
    if len(finding.ranges) > SHOWN:
        click.echo(f"    and {len(finding.ranges) - SHOWN:,} more ranges")
