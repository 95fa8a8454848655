"""The gate holds a load back, and a person decides in Airflow's own form for that."""

import time
from collections.abc import Callable

import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.report.model import Report
from tests.end_to_end.conftest import (
    loader_of,
    log_of,
    report_of,
    rows_in_target,
    until,
    wait_for_run,
)

DAG = "load_payments"
Run = Callable[..., tuple[str, str]]


@pytest.fixture
def held(
    api: Api, whole_stack: Stack, run_dag: Run, send: Callable[..., None]
) -> tuple[str, Report]:
    """A run that waits for a person: two messages in five are refused."""
    run_dag(DAG)
    send("payments", 500, broken_share=0.4)
    run_id = api.trigger(DAG)
    until(lambda: state_of(api, run_id, "decide") == "awaiting_input", "the question")
    return run_id, report_of(whole_stack, DAG, run_id)


def state_of(api: Api, run_id: str, task: str) -> str:
    return {name: state for name, _, state in api.task_states(DAG, run_id)}.get(task, "none")


def decide(api: Api, run_id: str, option: str, why: str, load: str) -> None:
    time.sleep(2)  # answered while the asking process still ends, Airflow asks again
    answer = api.client.patch(
        f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/decide/-1/hitlDetails",
        json={"chosen_options": [option], "params_input": {"why": why, "load": load}},
    )
    assert answer.status_code == 200, answer.text


def test_a_held_load_is_looked_at_and_released_while_others_go_on(
    api: Api, whole_stack: Stack, run_dag: Run, send: Callable[..., None], held: tuple[str, Report]
) -> None:
    run_id, report = held
    assert report.state == "held"
    assert "the contract's limit is 1.0%" in report.error
    asked = api.get(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/decide/-1/hitlDetails")
    assert asked["options"] == ["Release", "Discard"]
    assert report.error in str(asked["body"]).replace("\n    ", "\n")
    before = rows_in_target(whole_stack, "payments")

    send("payments", 300, broken_share=0.0)
    again, state = run_dag(DAG)
    assert state == "success", log_of(api, DAG, again, "audit")
    beside = report_of(whole_stack, DAG, again)
    assert beside.sum("planned") == 300

    decide(api, run_id, "Release", "broken on purpose", report.load_id)
    assert wait_for_run(api, DAG, run_id) == "success"
    report = report_of(whole_stack, DAG, run_id)
    assert (report.state, report.decision) == (
        "published",
        "released by admin: broken on purpose",
    )
    rows = rows_in_target(whole_stack, "payments")
    assert rows[0] == rows[1] == before[0] + beside.sum("loaded") + report.sum("loaded")


def test_a_held_load_is_discarded_and_its_offsets_are_read_again(
    api: Api, whole_stack: Stack, run_dag: Run, held: tuple[str, Report]
) -> None:
    run_id, report = held
    before = rows_in_target(whole_stack, "payments")
    decide(api, run_id, "Discard", "wrong producer", report.load_id)
    assert wait_for_run(api, DAG, run_id) == "failed"
    states = {name: state for name, _, state in api.task_states(DAG, run_id)}
    assert (states["decide"], states["publish"], states["report"]) == (
        "success",
        "skipped",
        "failed",
    )
    discarded = report_of(whole_stack, DAG, run_id)
    assert (discarded.state, discarded.decision) == (
        "abandoned",
        "discarded by admin: wrong producer",
    )
    assert rows_in_target(whole_stack, "payments") == before
    next_run = api.trigger(DAG)
    until(lambda: state_of(api, next_run, "decide") == "awaiting_input", "the question")
    again = report_of(whole_stack, DAG, next_run)
    assert again.ranges == report.ranges
    decide(api, next_run, "Release", "", report.load_id)  # an answer about another load
    assert wait_for_run(api, DAG, next_run) == "failed"
    assert "the answer was about load" in log_of(api, DAG, next_run, "decide")
    loader = loader_of(whole_stack, "payments")
    assert loader.known(again.load_id).state == "held"
    loader.release(again.load_id, "tests", "nobody else")


def test_a_load_that_is_released_elsewhere_while_its_run_asks(
    api: Api, whole_stack: Stack, held: tuple[str, Report]
) -> None:
    run_id, report = held
    loader_of(whole_stack, "payments").release(report.load_id, "tests", "from elsewhere")
    decide(api, run_id, "Discard", "too late", report.load_id)
    assert wait_for_run(api, DAG, run_id) == "success"
    assert "it was decided elsewhere" in log_of(api, DAG, run_id, "decide")
    after = report_of(whole_stack, DAG, run_id)
    assert (after.state, after.decision) == ("published", "released by tests: from elsewhere")
