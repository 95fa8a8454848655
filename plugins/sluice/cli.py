"""The command line: the same loads as the DAGs, without Airflow."""

import difflib
import logging
import sys
from pathlib import Path
from random import Random
from typing import Any

import click
import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sluice import __version__, processes
from sluice.contract import Contract, discover, find
from sluice.ddl import file_text
from sluice.errors import SluiceError
from sluice.kafka_engine import KafkaTableSchema
from sluice.load import Loader
from sluice.planning import Request
from sluice.ranges import merge, total
from sluice.report import Report, page
from sluice.report import find as find_report
from sluice.samples import produce, samples
from sluice.schema_lint import lint
from sluice.settings import Settings, connection_from_environment

SQL = Path(__file__).resolve().parents[2] / "sql"

console = Console(highlight=False)
topic_argument = click.argument("topic")


class Told(click.Group):
    """A group whose known errors are shown as a sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a known error into a message."""
        try:
            return super().invoke(ctx)
        except SluiceError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Told, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("-v", "--verbose", is_flag=True, help="Show the log of every step.")
def main(verbose: bool) -> None:
    """Drain Kafka topics into ClickHouse in audited micro-batches.

    Kafka and ClickHouse are found by the environment variables AIRFLOW_CONN_KAFKA_DEFAULT and
    AIRFLOW_CONN_CLICKHOUSE_DEFAULT, in Airflow's own form, or in .env; those of the local
    stack are used when it was started here.
    """
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="%H:%M:%S"),
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.INFO if verbose else logging.ERROR
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@main.command()
def topics() -> None:
    """List the topics that have a contract."""
    table = Table("topic", "table", "version", "key", "schedule (UTC)", "owner")
    for contract in discover().values():
        table.add_row(
            contract.topic,
            contract.table.name,
            contract.version.name,
            contract.key,
            contract.schedule or "manual",
            contract.owner,
        )
    console.print(table)


@main.command()
@click.argument("topics", nargs=-1)
@click.option("--check", is_flag=True, help="Fail, showing the difference, when sql/ is stale.")
@click.option("--write", is_flag=True, help="Write the files under sql/.")
@click.option("--apply", "apply_", is_flag=True, help="Create the tables in ClickHouse.")
@click.option(
    "--kafka-engine", metavar="BROKERS", help="Print ClickHouse's own streaming path instead."
)
def ddl(
    topics: tuple[str, ...], check: bool, write: bool, apply_: bool, kafka_engine: str | None
) -> None:
    """Print, check, write or apply the DDL made from the contracts (all TOPICS by default)."""
    contracts = [find(topic) for topic in topics] or list(discover().values())
    if kafka_engine:
        for contract in contracts:
            for statement in KafkaTableSchema(contract, kafka_engine).statements():
                click.echo(statement.rstrip() + ";\n")
    elif check:
        _check_files(contracts)
    elif write:
        for contract in contracts:
            path = _sql_file(contract)
            path.write_text(file_text(contract))
            console.print(f"wrote {path.name}")
    elif apply_:
        for contract in contracts:
            _loader(contract).create_tables()
            console.print(f"{contract.table.name} is there")
    else:
        click.echo("\n".join(file_text(contract) for contract in contracts), nl=False)


def _sql_file(contract: Contract) -> Path:
    return SQL / f"{contract.topic}.sql"


def _check_files(contracts: list[Contract]) -> None:
    stale = False
    for contract in contracts:
        path = _sql_file(contract)
        now = path.read_text() if path.exists() else ""
        difference = difflib.unified_diff(
            now.splitlines(keepends=True),
            file_text(contract).splitlines(keepends=True),
            f"sql/{path.name}",
            f"contract of {contract.topic}",
        )
        for line in difference:
            stale = True
            click.echo(line, nl=False)
    if stale:
        raise click.ClickException("sql/ differs from the contracts; 'sluice ddl --write' mends it")
    console.print("sql/ is up to date with the contracts")


@main.group()
def schema() -> None:
    """Look after the documentation of the schemas."""


@schema.command("lint")
def schema_lint() -> None:
    """Fail when a schema class lacks a section, an attribute's words or a version's history."""
    problems = [problem for contract in discover().values() for problem in lint(contract)]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.ClickException(f"{len(problems)} gaps in the documentation of the schemas")
    console.print("every schema is documented")


@main.command()
@topic_argument
@click.option("--partition", "partitions", multiple=True, type=int, help="Only this; repeatable.")
@click.option("--max-messages", default=0, help="At most so many offsets; 0 is all.")
def load(topic: str, partitions: tuple[int, ...], max_messages: int) -> None:
    """Load everything new of TOPIC: plan, drain, audit, publish, report."""
    loader = _loader(find(topic))
    request = Request(partitions=partitions, max_messages=max_messages)
    with console.status("planning"):
        plan = loader.plan(request)
    try:
        with progress_bar() as bar:
            task = bar.add_task("reading", total=plan.offsets)
            for number in range(len(plan.chunks)):
                loader.drain(plan.load_id, number, lambda done: bar.advance(task, done))
        with console.status("auditing"):
            loader.audit(plan.load_id)
        with console.status("publishing"):
            loader.publish(plan.load_id)
    finally:
        report = loader.report(plan.load_id)
        show_report(report)


@main.command()
@click.argument("topics", nargs=-1)
def status(topics: tuple[str, ...]) -> None:
    """Show what is loaded of each topic, and what is not yet (all TOPICS by default)."""
    for contract in [find(topic) for topic in topics] or discover().values():
        _show_status(_loader(contract))


def _show_status(loader: Loader) -> None:
    loader.ledger.create()
    topic = loader.broker.topic(loader.contract.topic)
    marks = loader.broker.watermarks(topic)
    taken = loader.ledger.taken(topic.name)
    published = merge(r for _, state, r in taken if state == "published")
    table = Table(title=f"{topic.name} → {loader.clickhouse.database}.{loader.contract.table.name}")
    for column in ("partition", "first offset", "end", "accounted for", "not yet loaded"):
        table.add_column(column, justify="right")
    for partition, mark in marks.items():
        inside = [r for r in published if r.partition == partition]
        done = total(inside)
        ahead = sum(max(0, min(r.high, mark.high) - max(r.low, mark.low)) for r in inside)
        left = mark.high - mark.low - ahead
        row = (partition, mark.low, mark.high, done, left)
        table.add_row(*(f"{n:,}" for n in row))
    console.print(table)
    for load_ in loader.ledger.loads_of(topic.name)[:5]:
        console.print(
            f"  {load_.planned_at:%Y-%m-%d %H:%M:%S}  {load_.state:<10} {load_.load_id}"
            f"  {load_.owner}",
            soft_wrap=True,
        )


@main.command()
@click.argument("load_id")
@click.option("--html", type=click.Path(dir_okay=False), help="Write the page to this file.")
def report(load_id: str, html: str | None) -> None:
    """Show the report of a load."""
    settings = Settings()
    loader = _loader(next(iter(discover().values())))
    loader.ledger.create()
    found = find_report(loader.clickhouse, settings.database, load_id=load_id)
    if found is None:
        raise click.ClickException(f"no report of load {load_id}; 'sluice status' lists loads")
    if html:
        Path(html).write_text(page(found))
        console.print(f"wrote {html}")
    else:
        show_report(found)


@main.command("produce-samples")
@topic_argument
@click.option("--count", default=10_000, show_default=True, help="Messages to produce.")
@click.option("--partitions", default=4, show_default=True, help="Of the topic, if it is new.")
@click.option("--broken", default=0.004, show_default=True, help="Share of broken messages.")
@click.option("--tombstones", default=0.004, show_default=True, help="Share of null values.")
@click.option("--seed", type=int, help="For the same messages each time.")
def produce_samples(
    topic: str, count: int, partitions: int, broken: float, tombstones: float, seed: int | None
) -> None:
    """Produce sample messages of TOPIC: every version, some broken, some tombstones."""
    loader = _loader(find(topic))
    if loader.broker.create_topic(topic, partitions):
        console.print(f"created topic {topic} with {partitions} partitions")
    with progress_bar() as bar:
        task = bar.add_task("producing", total=count)
        made = samples(loader.contract, count, Random(seed), broken, tombstones)
        produce(loader.contract, loader.broker, made, lambda done: bar.advance(task, done))
    console.print(f"produced {count:,} messages to {topic}")


def show_report(found: Report) -> None:
    """Print a report's account, versions and refusals."""
    if not found.ranges:
        console.print(f"nothing new: every offset of {found.topic} is accounted for")
        return
    table = Table(title=f"load {found.load_id} into {found.table}: {found.state}")
    table.add_column("partition", justify="right")
    terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent")
    for term in terms:
        table.add_column(term, justify="right")
    for account in found.accounts:
        table.add_row(str(account.partition), *(f"{getattr(account, t):,}" for t in terms))
    table.add_section()
    table.add_row("all", *(f"{found.sum(t):,}" for t in terms))
    console.print(table)
    if found.versions:
        console.print("versions  " + "  ".join(f"{v}: {n:,}" for v, n in found.versions.items()))
    for reason in found.reasons:
        where = f" {reason.field}" if reason.field else ""
        console.print(
            f"refused   {reason.count:,} × {reason.reason}{where}, e.g. partition"
            f" {reason.partition}, offset {reason.offset}: {reason.message}",
            markup=False,
            soft_wrap=True,
        )
    for step in found.steps:
        console.print(f"{step.name:<16}{step.seconds:8.2f} s  {step.rows_per_second:>9,} offsets/s")


def _loader(contract: Contract) -> Loader:
    settings = Settings()
    return Loader(
        contract,
        connection_from_environment(settings.kafka_conn_id),
        connection_from_environment(settings.clickhouse_conn_id),
        settings,
        processes.owner(),
        processes.is_over,
    )


def progress_bar() -> Progress:
    """A bar of messages done, gone when it ends."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
