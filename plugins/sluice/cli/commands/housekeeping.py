"""Removing old reports and documents: ``housekeeping``."""

import click
from rich.table import Table

from sluice.cli.console import console
from sluice.settings import Settings, connection_from_environment
from sluice.store.clickhouse import connect
from sluice.store.ledger import Ledger
from sluice.store.retention import Retention


@click.command()
@click.option(
    "--keep-days",
    type=click.FloatRange(min=1),
    default=None,
    help="Days that are kept; SLUICE_KEEP_DAYS by default.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
def housekeeping(keep_days: float | None, dry_run: bool) -> None:
    """Remove reports, quality results and data documents that are old.

    What accounts for offsets stays, and so does every refused message.
    """
    settings = Settings()
    clickhouse = connect(connection_from_environment(settings.clickhouse_conn_id))
    Ledger(clickhouse, settings.database).create()
    days = keep_days or settings.keep_days
    with console.status("removing"):
        removed = Retention(clickhouse, settings.database).clean(days, dry_run)
    verb = "would go" if dry_run else "gone"
    table = Table("table", f"rows {verb}", title=f"older than {days:g} days")
    for each in removed:
        table.add_row(each.table, f"{each.rows:,}")
    console.print(table)
