"""Compares a whole load with its parts and a naive loop, in one run: ``python -m benchmarks.load``.

Every case runs in its own process, against a stack that the benchmark starts on free ports. CPU
time per row is given for the process of the case, the engine and the broker; all of them share the
machine's cores, which affects the elapsed time.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec
import psutil
from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from include.schemas.orders import contract as orders
from local.stack import Stack
from local.temporary import temporary_stack
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.kafka.broker import Broker
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.settings import Connection, Settings, parse_connection
from sluice.store.clickhouse import ClickHouse, connect

PARTITIONS = 4


class Case(msgspec.Struct, frozen=True):
    """Input of a case: the services, the number of rows, and the file of exported rows."""

    kafka: Connection
    clickhouse: Connection
    rows: int
    file: str


def consume_only(case: Case) -> int:
    """Read the topic as a load does, and drop the messages."""
    broker = Broker(case.kafka, Settings())
    topic = broker.topic("orders")
    ranges = [OffsetRange(p, w.low, w.high) for p, w in broker.watermarks(topic).items()]
    return sum(len(messages) for messages, _ in broker.read(topic, ranges))


def engine_only(case: Case) -> int:
    """Insert the exported rows (JSONEachRow) as fast as the engine accepts them."""
    clickhouse = connect(case.clickhouse)
    table = msgspec.structs.replace(orders.table, name="engine_only")
    clickhouse.execute(ClickHouseSchemaMapper(orders.message, table).create_table())
    body = bytearray()
    rows = number = 0
    with Path(case.file).open("rb") as file:
        for line in file:
            body += line
            rows += 1
            if len(body) > 16 << 20:
                _insert(clickhouse, body, number)
                body.clear()
                number += 1
    _insert(clickhouse, body, number)
    return rows


def _insert(clickhouse: ClickHouse, body: bytearray, number: int) -> None:
    clickhouse.insert_lines("engine_only", None, bytes(body), "JSONEachRow", f"part {number}")


def whole_load(case: Case) -> int:
    """Plan, drain, audit, publish and report."""
    loader = Loader(orders, case.kafka, case.clickhouse, Settings(), "benchmark")
    plan = loader.plan()
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    report = loader.report(plan.load_id)
    assert report.sum("difference") == 0
    return plan.offsets


class Address(BaseModel):
    street: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = "unknown"


class LineItem(BaseModel):
    line_item_id: str
    product_id: str
    product_title: str
    quantity: int = Field(ge=1, le=1_000_000)
    price: float = Field(ge=0)
    discount: float = Field(ge=0)


class Order(BaseModel):
    """The orders contract as a hand-written pydantic model."""

    order_id: str = Field(min_length=1, max_length=64)
    created_at: datetime
    customer_name: str = Field(min_length=1, max_length=255)
    customer_email: str = Field("", max_length=254)
    shipping_address: Address = Address()
    line_items: list[LineItem] = Field(min_length=1)
    total_price: float = Field(ge=0)
    notes: str = Field("", max_length=1000)


def naive_loop(case: Case, rows_per_insert: int = 1) -> int:
    """Run a typical hand-written loop: poll, json.loads, pydantic, client.insert."""
    clickhouse = connect(case.clickhouse).client
    clickhouse.command(
        "CREATE OR REPLACE TABLE naive (order_id String, created_at DateTime64(3, 'UTC'),"
        " customer_name String, customer_email String, street String, city String,"
        " postal_code String, country LowCardinality(String),"
        " line_items Array(Tuple(line_item_id String, product_id String, product_title String,"
        " quantity Int64, price Float64, discount Float64)), total_price Float64, notes String)"
        " ENGINE = MergeTree ORDER BY (created_at, order_id)"
    )
    consumer = Consumer(dict(case.kafka.extra) | {"group.id": "naive", "enable.auto.commit": False})
    consumer.assign([TopicPartition("orders", p, 0) for p in range(PARTITIONS)])
    rows: list[list[Any]] = []
    done = 0
    while done < case.rows:
        message = consumer.poll(5)
        if message is None or message.error():
            break
        done += 1
        value = message.value()
        try:
            order = Order.model_validate(json.loads(value or b""))
        except ValueError:
            continue
        address = order.shipping_address
        rows.append(
            [
                order.order_id,
                order.created_at,
                order.customer_name,
                order.customer_email,
                address.street,
                address.city,
                address.postal_code,
                address.country,
                [tuple(item.model_dump().values()) for item in order.line_items],
                order.total_price,
                order.notes,
            ]
        )
        if len(rows) >= rows_per_insert:
            clickhouse.insert("naive", rows)
            rows = []
    if rows:
        clickhouse.insert("naive", rows)
    consumer.close()
    return done


CASES: dict[str, Callable[[Case], int]] = {
    "consume only": consume_only,
    "whole load": whole_load,
    "engine only": engine_only,
    "naive loop, row by row": naive_loop,
    "naive loop, 1,000 rows": partial(naive_loop, rows_per_insert=1_000),
    "naive loop, 10,000 rows": partial(naive_loop, rows_per_insert=10_000),
}
NAIVE_ROWS = {
    "naive loop, row by row": 1_000,
    "naive loop, 1,000 rows": 100_000,
    "naive loop, 10,000 rows": 100_000,
}
"""The naive loops load fewer rows; with more rows they would not be faster."""


class Measurement(msgspec.Struct, frozen=True):
    """Cost of one case; ``cpu`` is the CPU time of its process in seconds."""

    rows: int
    seconds: float
    cpu: float
    megabytes: int


def _run_case(name: str, case: Case, results: Any) -> None:
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began, cpu = time.monotonic(), time.process_time()
    rows = CASES[name](case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    results.put(Measurement(rows, time.monotonic() - began, time.process_time() - cpu, peak))


def measure(name: str, case: Case) -> Measurement:
    """Run one case in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=_run_case, args=(name, case, results))
    child.start()
    measurement: Measurement = results.get(timeout=1800)
    child.join()
    return measurement


def cpu_of(process: psutil.Process | None) -> float:
    """CPU seconds that a running process has used."""
    assert process is not None
    times = process.cpu_times()
    return float(times.user + times.system)


@click.command()
@click.option(
    "--rows", default=2_000_000, show_default=True, help="Messages to produce into the topic."
)
def main(rows: int) -> None:
    """Measure a whole load and compare it with its parts and a naive loop."""
    console = Console(highlight=False, width=118)
    with temporary_stack(console) as stack:
        run(stack, rows, console)


def run(stack: Stack, rows: int, console: Console) -> None:
    """Produce the messages, measure every case, and print the table."""
    kafka = parse_connection(stack.connections["AIRFLOW_CONN_KAFKA_DEFAULT"])
    clickhouse = parse_connection(stack.connections["AIRFLOW_CONN_CLICKHOUSE_DEFAULT"])
    broker = Broker(kafka, Settings())
    broker.create_topic("orders", PARTITIONS)
    with console.status(f"producing {rows:,} messages"):
        produce(orders, broker, make_samples(orders, rows, Random(1)))
    file = str(stack.folder / "rows.json")
    results: dict[str, tuple[Measurement, float, float]] = {}
    for name in CASES:
        count = NAIVE_ROWS.get(name, rows)
        if name == "engine only":
            _export(stack, clickhouse, file)
        engine_process, kafka_process = (
            stack.services[service].process() for service in ("clickhouse", "kafka")
        )
        before = cpu_of(engine_process), cpu_of(kafka_process)
        with console.status(f"{name}: {count:,} rows"):
            measurement = measure(name, Case(kafka, clickhouse, count, file))
        results[name] = (
            measurement,
            cpu_of(engine_process) - before[0],
            cpu_of(kafka_process) - before[1],
        )
    _print(results, console)


def _export(stack: Stack, clickhouse: Connection, file: str) -> None:
    """Export the loaded rows to a file, as JSONEachRow."""
    client = connect(clickhouse).client
    with Path(file).open("wb") as out:
        for piece in client.raw_stream("SELECT * FROM orders", fmt="JSONEachRow"):
            out.write(piece)


def _print(results: dict[str, tuple[Measurement, float, float]], console: Console) -> None:
    table = Table(title="order events; everything runs on this machine")
    for column in (
        "case",
        "rows",
        "seconds",
        "rows/s",
        "× naive (1,000)",
        "CPU µs/row: process",
        "engine",
        "broker",
        "peak MB",
    ):
        table.add_column(column, justify="left" if column == "case" else "right")
    naive = results["naive loop, 1,000 rows"][0]
    for name, (m, engine, broker) in results.items():
        rate = m.rows / m.seconds
        table.add_row(
            name,
            f"{m.rows:,}",
            f"{m.seconds:.1f}",
            f"{rate:,.0f}",
            f"{rate / (naive.rows / naive.seconds):.1f}",
            *(f"{cpu / m.rows * 1e6:.2f}" for cpu in (m.cpu, engine, broker)),
            str(m.megabytes),
        )
    console.print(table)


if __name__ == "__main__":
    main()
