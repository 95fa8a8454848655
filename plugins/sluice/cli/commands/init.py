"""Prepares ClickHouse and Airflow for the first load: ``init``."""

import subprocess
import sys

import click

from sluice.cli.console import build_loader, console
from sluice.contract import discover
from sluice.settings import Settings

DESCRIPTION = "Drains and publishes of all Sluice topics"


@click.command()
@click.option(
    "--slots",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Tasks of the pool that run at once.",
)
def init(slots: int) -> None:
    """Create the Sluice database, the table of each contract, and the Airflow pool.

    The pool is the one that SLUICE_POOL names; without it, none is created. It is created by the
    command airflow, which must find the settings of your Airflow. You can repeat the command.
    """
    for topic, contract in discover().items():
        loader = build_loader(contract)
        with console.status(f"creating the table of {topic}"):
            loader.create_tables()
        console.print(f"table {loader.clickhouse.database}.{contract.table.name} is there")
    pool = Settings().pool
    if not pool:
        return
    with console.status("creating the pool"):
        result = subprocess.run(
            [sys.executable, "-m", "airflow", "pools", "set", pool, str(slots), DESCRIPTION],
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        last = (result.stderr or result.stdout).strip().splitlines()[-1:] or ["no output"]
        raise click.ClickException(f"the pool {pool!r} was not created: {last[0]}")
    console.print(f"the Airflow pool {pool} has {slots} slots")
