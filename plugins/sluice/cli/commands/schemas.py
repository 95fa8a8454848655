"""Lists contracts and manages their documentation: ``topics`` and ``schema``."""

from pathlib import Path

import click
import msgspec
from rich.table import Table

from sluice.authoring.catalogue import pages
from sluice.authoring.lint import lint
from sluice.authoring.registration import register_versions
from sluice.authoring.version_samples import samples_folder, unreadable_versions, write_missing
from sluice.cli.console import console, topics_argument
from sluice.cli.generated_files import check_files, folder_option, write_files
from sluice.contract import discover, find
from sluice.contract.discovery import project_folder
from sluice.contract.json_schema import json_schema
from sluice.contract.type_page import type_page
from sluice.errors import RegistryError, SettingsError
from sluice.kafka.schema_registry import registry_from_environment


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
            contract.cron or "manual",
            contract.owner,
        )
    console.print(table)


@click.group()
def schema() -> None:
    """Check, write and register the documentation of the schemas."""


@schema.command("lint")
def schema_lint() -> None:
    """Fail if a schema class lacks a section, or the entry of an attribute or a version."""
    problems = [problem for contract in discover().values() for problem in lint(contract)]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.ClickException(f"{len(problems)} gaps in the documentation of the schemas")
    console.print("every schema is documented")


@schema.command("docs")
@click.option("--write", is_flag=True, help="Write the pages.")
@folder_option("docs/schemas")
def schema_docs(write: bool, folder: Path | None) -> None:
    """Check that the schema catalogue and docs/types.md are up to date, or write them."""
    docs = folder or project_folder() / "docs" / "schemas"
    files = pages(discover(), samples_folder())
    types = {"types.md": type_page()}
    obsolete = [path for path in sorted(docs.glob("*.md")) if path.name not in files]
    for path in obsolete:
        click.echo(f"{path.name} does not belong to a contract")
    if write:
        for path in obsolete:
            path.unlink()
        write_files(docs, files)
        write_files(docs.parent, types)
        return
    check_files(docs, files, "sluice schema docs --write")
    check_files(docs.parent, types, "sluice schema docs --write")
    if obsolete:
        raise click.ClickException("'sluice schema docs --write' removes them")


@schema.command("samples")
@click.option("--write", is_flag=True, help="Write the missing samples.")
def schema_samples(write: bool) -> None:
    """Check that the contracts read a sample of every released version."""
    contracts = discover().values()
    if write:
        for contract in contracts:
            for path in write_missing(contract, samples_folder()):
                console.print(f"wrote {path.parent.name}/{path.name}")
    problems = [
        problem
        for contract in contracts
        for problem in unreadable_versions(contract, samples_folder())
    ]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.ClickException(f"{len(problems)} versions are not readable")
    console.print("every released version can be read")


@schema.command("register")
@topics_argument
@click.option("--check", is_flag=True, help="Only check the compatibility of the current version.")
def schema_register(topics: tuple[str, ...], check: bool) -> None:
    """Register the versions of TOPICS (all by default) in the schema registry.

    SCHEMA_REGISTRY_URL is the registry's address. A version that breaks the compatibility of its
    subject is refused.
    """
    for contract in [find(topic) for topic in topics] or discover().values():
        registry = registry_from_environment(contract.subject)
        if registry is None:
            raise SettingsError("SCHEMA_REGISTRY_URL is not set, so there is no schema registry")
        if check:
            text = msgspec.json.encode(json_schema(contract, contract.version)).decode()
            if not registry.compatible(contract.subject, text):
                raise RegistryError(
                    f"version {contract.version.name} is not compatible with the latest schema of"
                    f" subject {contract.subject!r}",
                    topic=contract.topic,
                )
            console.print(f"{contract.subject}: version {contract.version.name} is compatible")
            continue
        for version, schema_id in register_versions(registry, contract).items():
            console.print(f"{contract.subject}  version {version}  id {schema_id}")
