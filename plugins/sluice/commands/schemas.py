"""The contracts and their documentation: ``topics`` and ``schema``."""

import click
from rich.table import Table

from sluice.commands.shown import console
from sluice.contract import discover
from sluice.schema_lint import lint
from sluice.schema_samples import broken_promises, write_missing


@click.command()
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


@click.group()
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


@schema.command("samples")
@click.option("--write", is_flag=True, help="Write samples of the versions that have none.")
def schema_samples(write: bool) -> None:
    """Check that a sample of every released version can still be read."""
    contracts = discover().values()
    if write:
        for path in [path for contract in contracts for path in write_missing(contract)]:
            console.print(f"wrote {path.parent.name}/{path.name}")
    problems = [problem for contract in contracts for problem in broken_promises(contract)]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.ClickException(f"{len(problems)} versions are not readable")
    console.print("every released version can be read")
