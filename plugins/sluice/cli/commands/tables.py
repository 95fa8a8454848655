"""Generates and migrates the tables of the contracts: ``ddl`` and ``migrate``."""

from pathlib import Path
from textwrap import indent

import click

from sluice.cli.console import build_loader, console, topics_argument
from sluice.cli.generated_files import check_files, folder_option, write_files
from sluice.contract import Contract, discover, find
from sluice.contract.ddl import ClickHouseSchemaMapper, file_text
from sluice.contract.discovery import project_folder
from sluice.contract.kafka_engine_ddl import KafkaTableSchema
from sluice.store.bookkeeping import BOOKKEEPING
from sluice.store.table_change import TableChange


@click.command()
@topics_argument
@click.option(
    "--check", is_flag=True, help="Fail and show the difference if sql/ is not up to date."
)
@click.option("--write", is_flag=True, help="Write the files.")
@folder_option("sql")
@click.option("--apply", "apply_", is_flag=True, help="Create the tables in ClickHouse.")
@click.option("--cluster", metavar="NAME", help="Print the DDL for a ClickHouse cluster.")
@click.option(
    "--kafka-engine",
    metavar="BROKERS",
    help="Print the DDL of ClickHouse's Kafka table engine instead.",
)
def ddl(
    topics: tuple[str, ...],
    check: bool,
    write: bool,
    folder: Path | None,
    apply_: bool,
    cluster: str | None,
    kafka_engine: str | None,
) -> None:
    """Print, check, write or apply the DDL of the contracts (all TOPICS by default)."""
    contracts = [find(topic) for topic in topics] or list(discover().values())
    sql = folder or project_folder() / "sql"
    if cluster:
        for contract in contracts:
            for statement in ClickHouseSchemaMapper.of(contract, cluster).create_tables():
                click.echo(statement.rstrip() + ";\n")
    elif kafka_engine:
        for contract in contracts:
            for statement in KafkaTableSchema(contract, kafka_engine).statements():
                click.echo(statement.rstrip() + ";\n")
    elif check:
        check_files(sql, _files(contracts, whole=not topics), "sluice ddl --write")
    elif write:
        write_files(sql, _files(contracts, whole=not topics))
    elif apply_:
        for contract in contracts:
            build_loader(contract).create_tables()
            console.print(f"table {contract.table.name} exists")
    else:
        click.echo("\n".join(file_text(contract) for contract in contracts), nl=False)


def _files(contracts: list[Contract], whole: bool) -> dict[str, str]:
    """The generated files by name.

    Args:
        whole: whether to include Sluice's own tables, which belong to no topic.
    """
    files = {f"{contract.topic}.sql": file_text(contract) for contract in contracts}
    return files | ({BOOKKEEPING.name: BOOKKEEPING.read_text()} if whole else {})


@click.command()
@topics_argument
@click.option("--plan", is_flag=True, help="Show the changes without applying them.")
def migrate(topics: tuple[str, ...], plan: bool) -> None:
    """Change the tables to match their contracts (all TOPICS by default).

    New, renamed and wider columns, comments, codecs, defaults, indexes and settings are applied.
    Changes that would lose data, or that ClickHouse cannot make, are refused, with the manual
    steps. Loads apply new, renamed and wider columns by themselves.
    """
    refused = 0
    for contract in [find(topic) for topic in topics] or discover().values():
        loader = build_loader(contract)
        loader.ledger.create()
        migration = loader.migration
        if not migration.exists():
            loader.refuse_missing_table()
            click.echo(f"-- {migration.table} does not exist yet")
            for statement in loader.create_statements():
                click.echo(statement.rstrip() + ";\n")
            if not plan:
                loader.create_tables()
            continue
        steps = migration.steps()
        _show_steps(migration.table, steps)
        refused += sum(step.kind == "refused" for step in steps)
        if not plan:
            migration.apply([step for step in steps if step.kind in ("addition", "choice")])
    if refused:
        raise click.ClickException(f"{refused} differences need manual changes")


def _show_steps(table: str, steps: list[TableChange]) -> None:
    """Print a table's differences as SQL that can be run as it is."""
    if not any(step.kind != "note" for step in steps):
        click.echo(f"-- {table} matches its contract")
    for step in steps:
        label = {"refused": "refused: ", "note": "note: "}.get(step.kind, "")
        click.echo(f"-- {table}: {label}{step.why}")
        if step.kind == "refused":
            click.echo("-- run manually, while no load of the topic runs:")
        for sql in step.sql:
            text = f"{sql};"
            click.echo(indent(text, "-- ") if step.kind == "refused" else text)
