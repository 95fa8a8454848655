"""Measures each page with many loads in the ledger: ``python -m benchmarks.pages``."""

import logging
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import click
from rich.console import Console
from rich.table import Table

from benchmarks import history
from include.schemas.orders import contract
from local.loaders import loader_of
from local.temporary import temporary_stack

console = Console(highlight=False)


@click.command()
@click.option("--topics", default=500, show_default=True, type=click.IntRange(min=1))
@click.option("--loads", default=2_600, show_default=True, help="Loads of each topic.")
@click.option("--repeat", default=7, show_default=True, help="Requests of each page.")
def main(topics: int, loads: int, repeat: int) -> None:
    """Fill the ledger as hourly loads would, and request each page.

    Times are those of the application (queries and rendering), one request at a time, without
    Airflow's own access check. The first request of a page is apart: it imports what it needs.
    """
    with temporary_stack(console) as stack:
        os.environ |= stack.connections | {"AIRFLOW_HOME": str(stack.folder / "airflow")}
        names = _write_contracts(stack.folder / "contracts", topics)
        loader = loader_of(stack, contract, "benchmark")
        title = f"{topics * loads:,} loads of {topics} topics"
        with console.status(f"inserting {title}"):
            history.fill(loader, names, loads)
        client = _client()
        last = history.load_id("orders", loads - 1)
        table = Table("", "first ms", "median ms", "worst ms", title=title)
        for path in (
            "/",
            "/topic/load_orders",
            "/quarantine/load_orders",
            f"/load/load_orders/{last}",
            f"/docs/load_orders/{last}",
            "/where?topic=orders&question=offset=0:17",
            "/schemas/load_orders",
            "/metrics",
        ):
            times = []
            for _ in range(repeat + 1):
                started = time.perf_counter()
                response = client.get(path)
                times.append(1000 * (time.perf_counter() - started))
                response.raise_for_status()
            first, *later = times
            table.add_row(
                path, f"{first:,.0f}", f"{statistics.median(later):,.0f}", f"{max(later):,.0f}"
            )
        console.print(table)


class _Anyone:
    """Stands for Airflow's own check of the user."""

    def is_authorized_dag(self, **asked: Any) -> bool:
        return True


def _client() -> Any:
    """Return a test client of the application whose every request is authorized."""
    from airflow.api_fastapi.core_api import security
    from fastapi.testclient import TestClient

    allowed = mock.patch.object(security, "requires_access_dag", lambda *_: lambda: None)
    anybody = mock.patch.object(security, "get_user", lambda: None)
    with allowed, anybody:
        from sluice.airflow.pages import access, app, database
    from sluice.settings import connection_from_environment

    mock.patch.object(access, "get_auth_manager", _Anyone).start()
    mock.patch.object(database, "connection", connection_from_environment).start()
    logging.disable(logging.INFO)  # the client logs one line per request
    return TestClient(app.build_app())


def _write_contracts(folder: Path, topics: int) -> list[str]:
    """A package with a contract for each topic, which the environment names; the topics."""
    package = folder / "many_contracts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    names = ["orders", *(f"orders-{number:03}" for number in range(1, topics))]
    for number, name in enumerate(names):
        (package / f"contract_{number:03}.py").write_text(
            "import msgspec\n"
            "from include.schemas.orders import contract as orders\n"
            f"table = msgspec.structs.replace(orders.table, name='orders_{number:03}')\n"
            f"contract = msgspec.structs.replace(orders, topic={name!r}, table=table)\n"
        )
    sys.path.insert(0, str(folder))
    os.environ["SLUICE_CONTRACTS"] = package.name
    return names


if __name__ == "__main__":
    main()
