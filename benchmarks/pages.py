"""Measures each page with many loads in the ledger: ``python -m benchmarks.pages``."""

import contextlib
import logging
import os
import statistics
import time
from typing import Any
from unittest import mock

import click
from rich.console import Console
from rich.table import Table

from include.schemas.orders import contract
from local.loaders import loader_of
from local.temporary import temporary_stack
from sluice.errors import TopicRecreated
from sluice.loader import Loader
from sluice.store.request import Request

console = Console(highlight=False)

PARTITIONS, OFFSETS, REFUSED, RULES = 4, 1000, 3, 20
"""Per load: partitions; per partition: offsets and refused messages; per load: quality rules."""

AT = "toDateTime64('2026-01-01', 6, 'UTC') + toIntervalHour(number)"
ID = "'orders_' || leftPad(toString(number), 6, '0')"


@click.command()
@click.option("--loads", default=10_000, show_default=True, help="Loads in the ledger.")
@click.option("--repeat", default=7, show_default=True, help="Requests of each page.")
def main(loads: int, repeat: int) -> None:
    """Fill the ledger as hourly loads would, and request each page.

    Times are those of the application (queries and rendering), one request at a time, without
    Airflow's own access check. What a plan reads from the ledger is measured, too.
    """
    with temporary_stack(console) as stack:
        os.environ |= stack.connections | {"AIRFLOW_HOME": str(stack.folder / "airflow")}
        loader = loader_of(stack, contract, "benchmark")
        with console.status(f"inserting {loads:,} loads"):
            _fill(loader, loads)
        client = _client()
        last = f"orders_{loads - 1:06}"
        table = Table("", "median ms", "worst ms", title=f"{loads:,} loads")
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
            for _ in range(repeat):
                started = time.perf_counter()
                response = client.get(path)
                times.append(1000 * (time.perf_counter() - started))
                response.raise_for_status()
            table.add_row(path, f"{statistics.median(times):,.0f}", f"{max(times):,.0f}")
        started = time.perf_counter()
        with contextlib.suppress(
            TopicRecreated
        ):  # raised after the ledger was read, because the topic is empty
            loader.preview(Request())
        millis = 1000 * (time.perf_counter() - started)
        table.add_row("reading the ledger to plan a load", f"{millis:,.0f}", "")
        console.print(table)


def _client() -> Any:
    """Return a test client of the application whose every request is authorized."""
    from airflow.api_fastapi.core_api import security
    from fastapi.testclient import TestClient

    allowed = mock.patch.object(security, "requires_access_dag", lambda *_: lambda: None)
    anybody = mock.patch.object(security, "get_user", lambda: None)
    with allowed, anybody:
        from sluice.airflow.pages import access, app, database
    from sluice.settings import connection_from_environment

    mock.patch.object(access, "get_auth_manager", mock.Mock).start()  # allows everything
    mock.patch.object(database, "connection", connection_from_environment).start()
    logging.disable(logging.INFO)  # the client logs one line per request
    return TestClient(app.build_app())


def _fill(loader: Loader, loads: int) -> None:
    run, db = loader.clickhouse.execute, loader.ledger.database
    loader.broker.create_topic("orders", PARTITIONS)
    loader.create_tables()
    topic_id = loader.broker.topic("orders").id
    plan = (
        '\'{"topic_id": "' + topic_id + '", "kind": "load", "request": {}, "shape": "x",'
        ' "watermarks": {"0": [0, 1]}}\''
    )
    by_partition = f"numbers({loads}) ARRAY JOIN range({PARTITIONS}) AS p"
    low = f"number * {OFFSETS}"
    ranges = f"[arrayMap(p -> (p, {low}, {low} + {OFFSETS}), range({PARTITIONS}))]"
    events = {"reserved": plan, "audited": "'{}'", "publishing": "'{}'", "published": "'{}'"}
    for number, (state, detail) in enumerate(events.items()):
        run(
            f"INSERT INTO {db}.topic_log (topic, entry, load_id, state, owner, detail, chunks, at)"
            f" SELECT 'orders', {len(events)} * number + {number + 1}, {ID}, '{state}',"
            f" 'airflow/x', {detail}, {ranges if state == 'reserved' else '[]'},"
            f" {AT} + toIntervalSecond({number}) FROM numbers({loads})"
        )
    log = loader.ledger.log("orders")
    log.save_checkpoint(log.read())
    run(
        f"INSERT INTO {db}.load_accounts (load_id, topic, partition, planned, loaded, quarantined,"
        f" at) SELECT {ID}, 'orders', p, {OFFSETS}, {OFFSETS - REFUSED}, {REFUSED}, {AT}"
        f" FROM {by_partition}"
    )
    run(
        f"INSERT INTO {db}.load_chunks (load_id, topic, chunk, attempt, bytes, seconds,"
        f" cpu_seconds, batches, at) SELECT {ID}, 'orders', 0, '0-a', 1, 1, 1, 1, {AT}"
        f" FROM numbers({loads})"
    )
    run(
        f"INSERT INTO {db}.quarantine_rows (load_id, attempt, topic, partition, offset, timestamp,"
        " timestamp_ms, value, reason, field, message, version, at)"
        f" SELECT {ID}, '0-a', 'orders', p, {low} + q, {AT}, toUnixTimestamp64Milli({AT}),"
        f" 'e30=', 'missing_field', 'order_id', 'it is missing', '1.2', {AT}"
        f" FROM {by_partition} ARRAY JOIN range({REFUSED}) AS q"
    )
    names = (
        "[('sluice.messages', map('version', '1.0')), ('sluice.messages', map('version', '1.2')),"
        " ('sluice.quality.failed', map('severity', 'critical')),"
        " ('sluice.quality.failed', map('severity', 'warning')), ('sluice.upgraded', map()),"
        " ('sluice.loads', map('state', 'published', 'kind', 'load')),"
        " ('sluice.load.end', map()), ('sluice.read.bytes', map())]"
    )
    run(
        f"INSERT INTO {db}.metrics (load_id, topic, name, labels, value, at)"
        f" SELECT {ID}, 'orders', m.1, m.2, 5, {AT} FROM numbers({loads})"
        f" ARRAY JOIN arrayConcat({names}, arrayMap(p -> ('sluice.lag.offsets', map('partition',"
        f" toString(p))), range({PARTITIONS})), arrayMap(o -> ('sluice.offsets',"
        " map('outcome', o)), ['loaded', 'quarantined', 'tombstones', 'absent'])) AS m"
    )
    run(
        f"INSERT INTO {db}.quality_results (load_id, topic, audit, expectation, column,"
        " description, severity, success, element_count, unexpected_count, examples, at)"
        f" SELECT {ID}, 'orders', 'a', 'x', 'c', 'rule ' || toString(r), 'critical', 1, 1, 0, '[]',"
        f" {AT} FROM numbers({loads}) ARRAY JOIN range({RULES}) AS r"
    )
    run(
        f"INSERT INTO {db}.data_docs (load_id, topic, audit, document, at)"
        f" SELECT {ID}, 'orders', 'a', repeat('<p>a rule</p>', 1000), {AT} FROM numbers({loads})"
    )
    report = loader.report(f"orders_{loads - 1:06}")
    run(
        f"INSERT INTO {db}.reports (load_id, topic, owner, report, at)"
        f" SELECT {ID}, 'orders', 'airflow/load_orders/' || {ID}, report, {AT}"
        f" FROM numbers({loads - 1}) AS n CROSS JOIN (SELECT report FROM {db}.reports"
        f" WHERE load_id = '{report.load_id}') AS r"
    )


if __name__ == "__main__":
    main()
