"""Audits loaded data: ``verify``."""

import click
from rich.table import Table

from sluice.audit.verify.content import Comparison, ContentCheck
from sluice.audit.verify.findings import Finding
from sluice.audit.verify.verifier import Verification, Verifier
from sluice.cli.console import build_loader, console, progress_bar, topic_argument
from sluice.cli.load_options import partitions_option
from sluice.contract import find
from sluice.decode.factory import build_decoder
from sluice.loader import Loader
from sluice.plan.bounds import resolve_bounds
from sluice.ranges import OffsetRange, intersect, subtract, total
from sluice.records import Progress, retained_ranges

MAX_RANGES = 20
"""Number of ranges that are printed per finding."""


@click.command()
@topic_argument
@click.option("--from", "low", metavar="WHEN", help="First offset or time (ISO 8601).")
@click.option("--to", "high", metavar="WHEN", help="Offset or time to stop before.")
@partitions_option
@click.option(
    "--messages", is_flag=True, help="Also read the topic, to find messages that no table has."
)
@click.option("--content", is_flag=True, help="Also decode the messages and compare every row.")
def verify(
    topic: str,
    low: str | None,
    high: str | None,
    partitions: tuple[int, ...],
    messages: bool,
    content: bool,
) -> None:
    """Audit all loaded offsets of TOPIC. Reads only.

    Compares the ledger, the target table, the quarantine and the topic's watermarks. Lists every
    offset that is missing, doubled or unexplained, and fails if there are any. Loads can run at the
    same time; offsets that are being published are left out.
    """
    loader = build_loader(find(topic))
    loader.ledger.create()
    loader.refuse_missing_table()
    within = resolve_bounds(loader.broker, loader.broker.topic(topic), low, high, partitions)
    verifier = Verifier(
        loader.contract,
        loader.broker,
        loader.clickhouse,
        loader.ledger,
        loader.settings.cluster,
        within,
    )
    published = list(loader.ledger.state(topic).loaded)
    audited = published if within is None else intersect(published, within)
    with progress_bar() as bar:
        task = bar.add_task("auditing the tables", total=total(audited))
        verdict = verifier.run(lambda count: bar.advance(task, count))
        findings = list(verdict.findings)
        if messages or content:
            task = bar.add_task("reading the topic", total=total(audited))
            findings += verifier.against_broker(lambda count: bar.advance(task, count))
        compared: list[OffsetRange] = []
        if content:
            task = bar.add_task("comparing rows", total=total(audited))
            comparison = _compare_content(loader, audited, lambda count: bar.advance(task, count))
            findings += comparison.findings
            compared = comparison.compared
    _show_partitions(verdict)
    for finding in findings:
        _show_finding(finding)
    if findings:
        raise click.ClickException(f"{len(findings)} findings")
    rate = verdict.offsets / verdict.seconds if verdict.seconds else 0
    pace = f"({verdict.seconds:.1f} s, {rate:,.0f} offsets/s)"
    if verdict.offsets:
        console.print(f"{conclusion(verdict, compared, content)} {pace}", soft_wrap=True)
    else:
        where = "" if within is None else " in this range"
        console.print(f"nothing to verify: no load has published offsets of {topic}{where}")


def conclusion(verdict: Verification, compared: list[OffsetRange], content: bool) -> str:
    """What was checked when there are no findings, and no more than that.

    Args:
        compared: the offsets whose messages were compared with the rows.
    """
    if not verdict.without_row:
        return f"every one of {verdict.offsets:,} published offsets is in exactly one place"
    without_row = total(verdict.without_row)
    text = (
        f"{verdict.offsets - without_row:,} of {verdict.offsets:,} published offsets are in exactly"
        f" one place; {without_row:,} have no row of their own, because the table keeps only the"
        " newest row of a key"
    )
    unchecked = total(subtract(verdict.without_row, compared))
    if not unchecked:
        return f"{text}, and a newer row of their key is there"
    if not content:
        return f"{text}: --content checks that a newer row of their key is there"
    return (
        f"{text}. Of {unchecked:,} it was not checked that a newer row of their key is there: the"
        " topic no longer has their messages, or today's contract refuses them"
    )


def _compare_content(loader: Loader, audited: list[OffsetRange], progress: Progress) -> Comparison:
    decoder = build_decoder(loader.contract, loader.registry)
    check = ContentCheck(loader.contract, loader.broker, loader.clickhouse, loader.ledger, decoder)
    topic = loader.broker.topic(loader.contract.topic)
    marks = loader.broker.watermarks(topic)
    return check.run(topic, intersect(audited, retained_ranges(marks)), progress)


def _show_partitions(verdict: Verification) -> None:
    table = Table(title=f"topic {verdict.topic}")
    columns = ("partition", "published", "loaded", "quarantined", "skipped", "not loaded yet")
    for column in columns:
        table.add_column(column, justify="right")
    for s in verdict.partitions:
        row = (s.partition, s.published, s.loaded, s.quarantined, s.skipped, s.open)
        table.add_row(*(f"{number:,}" for number in row))
    console.print(table)


def _show_finding(finding: Finding) -> None:
    click.echo(f"{finding.kind}: {finding.text}")
    for r in finding.ranges[:MAX_RANGES]:
        click.echo(f"    partition {r.partition}, offsets {r.low} to {r.high - 1}")
    if len(finding.ranges) > MAX_RANGES:
        click.echo(f"    and {len(finding.ranges) - MAX_RANGES:,} more ranges")
