"""Airflow's processes are killed in the middle of a load; the run ends, and every offset once."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.audit.verify.verifier import Verifier
from tests.end_to_end.conftest import loader_of, until, wait_for_run

DAG = "load_orders"


def task_processes(stack: Stack) -> Iterator[psutil.Process]:
    """Processes below the scheduler that talk to the broker or to ClickHouse."""
    airflow = stack.services["airflow"].process()
    assert airflow is not None
    (scheduler,) = (c for c in airflow.children() if "scheduler" in c.cmdline())
    for process in scheduler.children(recursive=True):
        try:
            ports = {c.raddr.port for c in process.net_connections("tcp") if c.raddr}
        except psutil.Error:
            continue
        if ports & {stack.ports.kafka, stack.ports.clickhouse}:
            yield process


def busy_draining(stack: Stack, api: Api, run_id: str) -> Callable[[], bool]:
    def busy() -> bool:
        states = {task: state for task, _, state in api.task_states(DAG, run_id)}
        return states.get("drain") == "running" and any(task_processes(stack))

    return busy


def good(stack: Stack) -> None:
    loader = loader_of(stack, "orders")
    verifier = Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger)
    verdict = verifier.run()
    assert [*verdict.findings, *verifier.against_broker()] == []
    assert sum(s.open for s in verdict.partitions) == 0


def test_a_task_whose_process_is_killed_is_tried_again(
    api: Api, whole_stack: Stack, send: Callable[..., None]
) -> None:
    send("orders", 60_000)
    run_id = api.trigger(DAG)
    until(busy_draining(whole_stack, api, run_id), "a drain under way")
    for process in task_processes(whole_stack):
        process.kill()
    assert wait_for_run(api, DAG, run_id) == "success", api.task_states(DAG, run_id)
    good(whole_stack)


@pytest.mark.timeout(400)
def test_a_whole_airflow_that_dies_and_comes_back_goes_on(
    api: Api, whole_stack: Stack, send: Callable[..., None]
) -> None:
    """Scheduler, workers and all; the run is then cleared and run again, which changes nothing."""
    send("orders", 60_000)
    run_id = api.trigger(DAG)
    until(busy_draining(whole_stack, api, run_id), "a drain under way")
    airflow = whole_stack.services["airflow"].process()
    assert airflow is not None
    processes = [airflow, *airflow.children(recursive=True)]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)
    whole_stack.up("airflow")
    again = whole_stack.api()
    until(lambda: again.run_state(DAG, run_id) in ("success", "failed"), "the end of the run", 240)
    if again.run_state(DAG, run_id) == "failed":
        again.trigger(DAG)  # its offsets belong to the next run
    other = again.trigger(DAG)
    assert wait_for_run(again, DAG, other) == "success"
    good(whole_stack)
    cleared = again.client.post(
        f"/dags/{DAG}/clearTaskInstances",
        json={"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True},
    )
    assert cleared.status_code == 200, cleared.text
    assert wait_for_run(again, DAG, run_id) == "success"
    good(whole_stack)
