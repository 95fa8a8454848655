"""The demo: starts the stack, produces samples, loads them, and prints each step and the report."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from rich.console import Console

from local.loaders import loader_of
from local.stack import Stack
from sluice.authoring.registration import register_versions
from sluice.authoring.sample_messages import make_samples, produce
from sluice.cli.console import progress_bar, show_report
from sluice.contract import find
from sluice.loader import Loader
from sluice.plan.run_owners import parse_airflow_owner
from sluice.report.model import Report
from sluice.report.reporter import find_report

DAG = "load_orders"
PARTITIONS = 4
LOAD_SECONDS = 300
REPORT_SECONDS = 60


def run_demo(stack: Stack, messages: int, console: Console, with_registry: bool = False) -> None:
    """Start services that are not running, produce, load with the DAG, and print the report."""
    began, began_at = time.monotonic(), datetime.now(UTC)

    def print_step(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {text}", soft_wrap=True)

    if with_registry:
        # First: the other services read its URL from their environment when they start.
        stack.start(("registry",))
        _wait(stack, "registry", console)
        print_step("the schema registry is ready")
    started = stack.start(("airflow", "clickhouse", "kafka"))
    print_step(f"starting {', '.join(started)}" if started else "the stack is already running")
    for name in ("clickhouse", "kafka"):
        _wait(stack, name, console)
    print_step("Kafka and ClickHouse are ready")
    # Every topic needs samples: Airflow runs each load DAG once when it first parses it.
    _produce(stack, "payments", messages // 10, print_step)
    loader = _produce(stack, "orders", messages, print_step)
    _wait(stack, "airflow", console)
    api = stack.api()
    with console.status("waiting for Airflow to parse the DAG files"):
        while not api.has_dag(DAG):
            if errors := api.import_errors():
                sys.exit(f"Airflow cannot parse the DAG files:\n{errors[0]}")
            time.sleep(0.5)
    run_id = api.trigger(DAG)
    print_step(f"Airflow is ready; triggered DAG {DAG}, run {run_id}")
    state = _watch(stack, run_id, console)
    print_step(f"the run has ended: {state}")
    with console.status("waiting for the reports"):
        reports = _wait_for_reports(began_at, loader)
    with_rows = [report for report in reports if report.ranges]
    for report in with_rows or reports[:1]:
        show_report(report)
    # The first time, Airflow's scheduled run may have loaded the samples.
    took = parse_airflow_owner(with_rows[-1].owner) if with_rows else None
    _print_addresses(stack, took.run_id if took else run_id, console)
    if state != "success":
        sys.exit(1)


def _wait_for_reports(began: datetime, loader: Loader) -> list[Report]:
    """Return the reports of all loads since the demo began, or those that exist after a minute."""
    deadline = time.monotonic() + REPORT_SECONDS
    while True:
        loads = [
            load
            for load in loader.ledger.loads_of("orders")
            if load.planned_at >= began and load.state != "abandoned"
        ]
        database = loader.ledger.database
        stored = [
            find_report(loader.clickhouse, database, load.topic, load.load_id) for load in loads
        ]
        reports = [report for report in stored if report is not None]
        if len(reports) == len(loads) or time.monotonic() > deadline:
            return reports[::-1]
        time.sleep(0.5)


def _produce(stack: Stack, topic: str, count: int, print_step: Callable[[str], None]) -> Loader:
    """Create a topic and its table, and produce samples."""
    loader = loader_of(stack, find(topic), "demo")
    if loader.broker.create_topic(topic, PARTITIONS):
        print_step(f"created topic {topic} with {PARTITIONS} partitions")
    loader.create_tables()
    ids = register_versions(loader.registry, loader.contract) if loader.registry else {}
    if ids:
        print_step(f"registered {len(ids)} schemas under {loader.contract.subject}")
    with progress_bar() as bar:
        task = bar.add_task("producing", total=count)
        samples = make_samples(loader.contract, count, Random(), schema_ids=ids)
        produce(loader.contract, loader.broker, samples, lambda done: bar.advance(task, done))
    versions = ", ".join(version.name for version in loader.contract.versions)
    print_step(f"produced {count:,} {topic}: versions {versions}, some broken, some tombstones")
    return loader


def _wait(stack: Stack, name: str, console: Console) -> None:
    with console.status(f"waiting for {name}") as status:
        stack.services[name].wait(lambda s: status.update(f"waiting for {name}, {s:.0f} s"))


def _watch(stack: Stack, run_id: str, console: Console) -> str:
    """Wait for the run to end, showing the state of its tasks."""
    api, deadline = stack.api(), time.monotonic() + LOAD_SECONDS
    with console.status("the load is queued") as status:
        while (state := api.run_state(DAG, run_id)) in ("queued", "running"):
            if time.monotonic() > deadline:
                sys.exit(f"the run is still {state} after {LOAD_SECONDS} s; see the Airflow UI")
            states = api.task_states(DAG, run_id)
            order = ("plan", "drain", "audit", "decide", "publish", "report")
            tasks = [(order.index(t), index, t, s) for t, index, s in states if t in order]
            status.update("  ".join(f"{t}:{s}" for *_, t, s in sorted(tasks) if s != "none"))
            time.sleep(0.5)
    return state


def _print_addresses(stack: Stack, run_id: str, console: Console) -> None:
    url = f"http://127.0.0.1:{stack.ports.airflow}"
    console.print(f"\nAirflow     {url}  (user admin, password {stack.secrets['admin']})")
    console.print(f"the load    {url}/dags/{DAG}/runs/{run_id}", soft_wrap=True)
    console.print(f"its report  {url}/dags/{DAG}/runs/{run_id}/plugin/sluice", soft_wrap=True)
    console.print(
        f"ClickHouse  http://127.0.0.1:{stack.ports.clickhouse}  (user default;"
        f" password in {stack.folder / 'stack.env'})",
        soft_wrap=True,
    )
    console.print("'make down' stops all services; 'make clean' also deletes their data")
