"""The real Airflow beside the real broker and the real engine."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import discover
from sluice.contract import find as contract_of
from sluice.loader import Loader
from sluice.report.model import Report
from sluice.report.reporter import find_report
from sluice.settings import Settings, parse_connection
from sluice.sql import quote_identifier
from tests.receivers import Receiver, receiver

RUN_SECONDS = 150


@pytest.fixture(scope="session")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """What Airflow's metrics and spans are sent to."""
    with receiver(tmp_path_factory.mktemp("received")) as made:
        yield made


@pytest.fixture(scope="session")
def whole_stack(stack: Stack, received: Receiver) -> Iterator[Stack]:
    """Everything runs, and every topic exists."""
    stack.airflow_settings = {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
        "OPENLINEAGE_URL": received.url,
    }
    stack.start(("airflow", "kafka", "clickhouse"))
    for name in ("kafka", "clickhouse"):
        stack.services[name].wait()
    for topic in discover():
        loader_of(stack, topic).broker.create_topic(topic, 4)
    stack.services["airflow"].wait()
    yield stack
    stack.stop(("airflow",))  # what it sends at its end is received still


def loader_of(stack: Stack, topic: str) -> Loader:
    """A loader in the databases that the stack's Airflow uses."""
    return Loader(
        contract_of(topic),
        parse_connection(stack.connections["AIRFLOW_CONN_KAFKA_DEFAULT"]),
        parse_connection(stack.connections["AIRFLOW_CONN_CLICKHOUSE_DEFAULT"]),
        Settings(),
        "tests",
    )


@pytest.fixture(scope="session")
def api(whole_stack: Stack) -> Api:
    """Airflow's API as the admin, once all DAGs are there and their first runs are over."""
    made = whole_stack.api()
    for topic in discover():
        dag_id = f"load_{topic}"
        until(partial(parsed, made, dag_id), f"DAG {dag_id}")
        until(partial(first_run_over, made, dag_id), f"first run of {dag_id}")
    return made


def parsed(api: Api, dag_id: str) -> bool:
    """Whether the DAG is there; a file that cannot be imported ends the wait."""
    assert api.import_errors() == []
    return api.has_dag(dag_id)


def first_run_over(api: Api, dag_id: str) -> bool:
    """Whether the run that Airflow makes when it first sees the DAG has ended."""
    runs = api.get(f"/dags/{dag_id}/dagRuns")["dag_runs"]
    assert isinstance(runs, list)
    return bool(runs) and all(run["state"] in ("success", "failed") for run in runs)


@pytest.fixture
def run_dag(api: Api) -> Callable[..., tuple[str, str]]:
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
        time.sleep(0.3)


@pytest.fixture
def send(whole_stack: Stack) -> Callable[..., None]:
    """Produces samples to a topic of the project."""

    def produce_samples(topic: str, count: int, broken_share: float = 0.004) -> None:
        loader = loader_of(whole_stack, topic)
        made = make_samples(loader.contract, count, Random(count), broken_share)
        produce(loader.contract, loader.broker, made)

    return produce_samples


def report_of(stack: Stack, dag_id: str, run_id: str) -> Report:
    """The report of a run of a topic's DAG."""
    loader = loader_of(stack, dag_id.partition("_")[2])
    report = find_report(
        loader.clickhouse, loader.ledger.database, owner=f"airflow/{dag_id}/{run_id}"
    )
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


def log_of(api: Api, dag_id: str, run_id: str, task: str, map_index: int = -1) -> str:
    """What a task's first try has logged."""
    answer = api.client.get(
        f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/logs/1",
        params={"map_index": map_index, "full_content": True},
        headers={"Accept": "application/x-ndjson"},
    )
    answer.raise_for_status()
    return answer.text
