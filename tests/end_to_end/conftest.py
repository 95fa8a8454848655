"""The real Airflow beside the real broker and the real engine."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from random import Random

import msgspec
import pytest

from local.airflow import Api
from local.loaders import loader_of as loader_for
from local.stack import Stack
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import discover
from sluice.contract import find as contract_of
from sluice.loader import Loader
from sluice.plan.run_owners import airflow_owner
from sluice.report.model import Report
from sluice.report.reporter import find_report
from sluice.sql import quote_identifier
from tests.receivers import Receiver, receiver

RunDag = Callable[..., tuple[str, str]]
Send = Callable[..., None]

RUN_SECONDS = 150
HOSTILE = "<script>alert('x')</script>"
POOL = "loads"
FOR_TESTS = {
    "SLUICE_POOL": POOL,
    # An hourly run would take messages that a test has produced for a run of its own.
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    # Other tests need the processors.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    # Tasks of an Airflow that was killed are found within seconds.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__METRICS__OTEL_ON": "True",
    "AIRFLOW__TRACES__OTEL_ON": "True",
    "OTEL_TRACES_EXPORTER": "otlp_proto_http",
}


class Triggered(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was triggered and has ended, and its report."""

    run_id: str
    state: str
    report: Report


@pytest.fixture(scope="session")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """What Airflow's metrics and spans are sent to."""
    with receiver(tmp_path_factory.mktemp("received")) as made:
        yield made


@pytest.fixture(scope="session")
def whole_stack(stack: Stack, received: Receiver) -> Iterator[Stack]:
    """Everything runs, and every topic exists."""
    stack.airflow_settings = FOR_TESTS | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
        "OPENLINEAGE_URL": received.url,
    }
    # No task is deferred, so no triggerer is needed.
    stack.airflow_components = ("api-server", "scheduler", "dag-processor")
    stack.start(("airflow", "kafka", "clickhouse"))
    for name in ("kafka", "clickhouse"):
        stack.services[name].wait()
    for topic in discover():
        loader_of(stack, topic).broker.create_topic(topic, 4)
    stack.services["airflow"].wait()
    _create_pool(stack)
    yield stack
    stack.stop(("airflow",))  # the receiver still gets what it sends at its end


def _create_pool(stack: Stack) -> None:
    """As an administrator does, with the command."""
    airflow = {"AIRFLOW_HOME": str(stack.folder / "airflow"), "SLUICE_POOL": POOL}
    subprocess.run(
        [sys.executable, "-m", "sluice", "init", "--slots", "4"],
        env={**os.environ, **stack.environment, **airflow},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def loader_of(stack: Stack, topic: str) -> Loader:
    """A loader in the databases that the stack's Airflow uses."""
    return loader_for(stack, contract_of(topic), "tests")


@pytest.fixture(scope="session")
def api(whole_stack: Stack) -> Api:
    """Airflow's API as the admin, once all DAGs are there."""
    made = whole_stack.api()
    dags = [f"{kind}_{topic}" for topic in discover() for kind in ("load", "replay")]

    def parsed() -> bool:
        assert made.import_errors() == []
        return all(map(made.has_dag, [*dags, "sluice_housekeeping"]))

    until(parsed, "the DAGs")
    return made


@pytest.fixture(scope="session")
def run_dag(api: Api) -> RunDag:
    """Triggers a DAG and waits; gives the run's id and its state."""

    def run(dag_id: str, **conf: object) -> tuple[str, str]:
        run_id = api.trigger(dag_id, conf)
        return run_id, wait_for_run(api, dag_id, run_id)

    return run


def wait_for_run(api: Api, dag_id: str, run_id: str) -> str:
    until(
        lambda: api.run_state(dag_id, run_id) not in ("queued", "running"), f"the end of {run_id}"
    )
    return api.run_state(dag_id, run_id)


def until(holds: Callable[[], bool], what: str, seconds: float = RUN_SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, f"waited {seconds} s for {what}"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def send(whole_stack: Stack) -> Send:
    """Produces samples to a topic of the project."""

    def produce_samples(topic: str, count: int, broken_share: float = 0.004) -> None:
        loader = loader_of(whole_stack, topic)
        made = make_samples(loader.contract, count, Random(count), broken_share)
        produce(loader.contract, loader.broker, made)

    return produce_samples


@pytest.fixture(scope="session")
def hostile(whole_stack: Stack) -> str:
    """Id of an order; before it comes one that is refused and has a script in all of its fields."""
    loader = loader_of(whole_stack, "orders")
    producer = loader.broker.producer()
    value = msgspec.json.encode({"order_id": HOSTILE, "customer_name": HOSTILE, HOSTILE: HOSTILE})
    headers: list[tuple[str, str | bytes | None]] = [(HOSTILE, HOSTILE)]
    producer.produce("orders", value, HOSTILE, headers=headers)
    good = example_message(loader.contract, Random(77))
    producer.produce("orders", msgspec.json.encode(good), headers=[("correlation_id", "c-77")])
    producer.flush()
    return str(msgspec.to_builtins(good)["order_id"])


@pytest.fixture(scope="session")
def orders_run(whole_stack: Stack, run_dag: RunDag, send: Send, hostile: str) -> Triggered:
    """A triggered run of ``load_orders`` for 3000 samples and the hostile messages."""
    send("orders", 3000)
    return _triggered(whole_stack, run_dag, "load_orders")


@pytest.fixture(scope="session")
def payments_run(whole_stack: Stack, run_dag: RunDag, send: Send) -> Triggered:
    """A triggered run of ``load_payments`` for 300 samples."""
    send("payments", 300)
    return _triggered(whole_stack, run_dag, "load_payments")


def _triggered(stack: Stack, run_dag: RunDag, dag_id: str) -> Triggered:
    run_id, state = run_dag(dag_id)
    return Triggered(run_id=run_id, state=state, report=report_of(stack, dag_id, run_id))


def report_of(stack: Stack, dag_id: str, run_id: str) -> Report:
    """The report of a run of a topic's DAG; the latest, if runs of the same id were deleted."""
    loader = loader_of(stack, dag_id.partition("_")[2])
    database = loader.ledger.database
    # The owner also has the time at which Airflow created the run.
    rows = loader.clickhouse.rows(
        f"SELECT owner FROM {database}.reports WHERE startsWith(owner, {{run:String}})"
        " ORDER BY at DESC LIMIT 1",
        {"run": f"{airflow_owner(dag_id, run_id)}#"},
    )
    assert rows, f"no report of {run_id}"
    report = find_report(loader.clickhouse, database, "", owner=rows[0]["owner"])
    assert report is not None
    return report


def rows_in_target(stack: Stack, topic: str) -> tuple[int, int]:
    """Rows of a topic's table, and the offsets that they have."""
    loader = loader_of(stack, topic)
    row = loader.clickhouse.rows(
        "SELECT count() AS rows, uniqExact(_topic, _partition, _offset) AS offsets"
        f" FROM {quote_identifier(loader.contract.table.name)}"
    )[0]
    return row["rows"], row["offsets"]


def verifier_of(stack: Stack, topic: str) -> Verifier:
    """Verifies what a topic's table holds."""
    loader = loader_of(stack, topic)
    return Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger)


def states_of(api: Api, dag_id: str, run_id: str) -> dict[str, str]:
    """State by task of a run whose tasks are not mapped to more than one."""
    return {task: state for task, _, state in api.task_states(dag_id, run_id)}


def log_of(api: Api, dag_id: str, run_id: str, task: str, map_index: int = -1) -> str:
    """What a task's first try has logged."""
    answer = api.client.get(
        f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/logs/1",
        params={"map_index": map_index, "full_content": True},
        headers={"Accept": "application/x-ndjson"},
    )
    answer.raise_for_status()
    return answer.text
