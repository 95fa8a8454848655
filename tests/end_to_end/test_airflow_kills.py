"""Airflow's processes are killed in the middle of a load; every offset is loaded once."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from local.airflow import Api
from local.stack import Stack
from tests.end_to_end.conftest import Send, states_of, until, verifier_of, wait_for_run

DAG = "load_orders"
MESSAGES = 60_000


def task_processes(stack: Stack) -> Iterator[psutil.Process]:
    """Processes below the scheduler that are connected to the broker or to ClickHouse."""
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
        draining = states_of(api, DAG, run_id).get("drain") == "running"
        return draining and any(task_processes(stack))

    return busy


def check_orders(stack: Stack) -> None:
    """Everything of the topic is loaded, once, and is what the broker has."""
    verifier = verifier_of(stack, "orders")
    verification = verifier.run()
    assert [*verification.findings, *verifier.against_broker()] == []
    assert sum(s.open for s in verification.partitions) == 0


def test_a_task_whose_process_is_killed_is_tried_again(
    api: Api, whole_stack: Stack, send: Send
) -> None:
    send("orders", MESSAGES)
    run_id = api.trigger(DAG)
    until(busy_draining(whole_stack, api, run_id), "a drain in progress")
    for process in task_processes(whole_stack):
        process.kill()
    assert wait_for_run(api, DAG, run_id) == "success", api.task_states(DAG, run_id)
    check_orders(whole_stack)


@pytest.mark.timeout(400)
def test_a_run_continues_after_a_whole_airflow_was_killed(
    api: Api, whole_stack: Stack, send: Send
) -> None:
    """Scheduler, workers and all; the run is then cleared and run again, which changes nothing."""
    send("orders", MESSAGES)
    run_id = api.trigger(DAG)
    until(busy_draining(whole_stack, api, run_id), "a drain in progress")
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
    check_orders(whole_stack)
    cleared = again.client.post(
        f"/dags/{DAG}/clearTaskInstances",
        json={"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True},
    )
    assert cleared.status_code == 200, cleared.text
    assert wait_for_run(again, DAG, run_id) == "success"
    check_orders(whole_stack)
