"""Removes old reports and documents: ``housekeeping``."""

import click
from rich.table import Table

from sluice.cli.console import console
from sluice.cli.number_types import DAYS
from sluice.settings import Settings, connection_from_environment
from sluice.store.clickhouse import connect
from sluice.store.ledger import Ledger
from sluice.store.retention import Retention


@click.command()
@click.option(
    "--keep-days",
    type=DAYS,
    default=None,
    help="Number of days to keep; by default SLUICE_KEEP_DAYS.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
def housekeeping(keep_days: float | None, dry_run: bool) -> None:
    """Remove old reports, quality results and data documents.

    The records that account for offsets stay, and so does every refused message.
    """
    settings = Settings()
    clickhouse = connect(connection_from_environment(settings.clickhouse_conn_id))
    Ledger(clickhouse, settings.database).create()
    days = keep_days or settings.keep_days
    with console.status("removing"):
        removed = Retention(clickhouse, settings.database).clean(days, dry_run)
    status = "to remove" if dry_run else "removed"
    table = Table("table", f"rows {status}", title=f"older than {days:g} days")
    for rows in removed:
        table.add_row(rows.table, f"{rows.rows:,}")
    console.print(table)
