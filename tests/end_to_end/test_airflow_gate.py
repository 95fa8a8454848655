"""The audit holds a load, and a person decides with Airflow's own form."""

import time

import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.decisions import release
from sluice.errors import BreakerTripped
from sluice.report.model import Report
from tests.end_to_end.conftest import (
    RunDag,
    Send,
    Triggered,
    loader_of,
    log_of,
    report_of,
    rows_in_target,
    states_of,
    until,
    wait_for_run,
)

DAG = "load_payments"


@pytest.fixture
def held(api: Api, whole_stack: Stack, payments_run: Triggered, send: Send) -> tuple[str, Report]:
    """A run that waits for a decision: two messages in five are refused."""
    send("payments", 500, broken_share=0.4)
    run_id = api.trigger(DAG)
    until(
        lambda: states_of(api, DAG, run_id).get("decide") == "awaiting_input",
        f"the form of {run_id}",
    )
    return run_id, report_of(whole_stack, DAG, run_id)


def decide(api: Api, run_id: str, option: str, why: str, load: str) -> None:
    answer = api.client.patch(
        f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/decide/-1/hitlDetails",
        json={"chosen_options": [option], "params_input": {"why": why, "load": load}},
    )
    assert answer.status_code == 200, answer.text


def test_a_held_load_is_released_while_others_are_loaded(
    api: Api, whole_stack: Stack, run_dag: RunDag, send: Send, held: tuple[str, Report]
) -> None:
    run_id, report = held
    assert report.state == "held"
    assert "the contract's limit is 1.0%" in report.error
    form = api.get(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/decide/-1/hitlDetails")
    assert form["options"] == ["Release", "Discard"]
    assert report.error in str(form["body"]).replace("\n    ", "\n")
    before = rows_in_target(whole_stack, "payments")

    send("payments", 300, broken_share=0.0)
    other, state = run_dag(DAG)
    assert state == "success", log_of(api, DAG, other, "audit")
    beside = report_of(whole_stack, DAG, other)
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
    api: Api, whole_stack: Stack, held: tuple[str, Report]
) -> None:
    run_id, report = held
    before = rows_in_target(whole_stack, "payments")
    time.sleep(2)  # decided while the process of the task still ends, Airflow shows the form again
    decide(api, run_id, "Discard", "wrong producer", report.load_id)
    assert wait_for_run(api, DAG, run_id) == "failed"
    states = states_of(api, DAG, run_id)
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

    loader = loader_of(whole_stack, "payments")
    plan = loader.plan()
    assert sorted(r for part in plan.chunks for r in part) == sorted(report.ranges)
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    with pytest.raises(BreakerTripped):
        loader.audit(plan.load_id)
    release(loader, plan.load_id, "tests", "its offsets are for no other test")
