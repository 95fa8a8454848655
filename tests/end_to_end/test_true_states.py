"""Runs of the real Airflow show the true state, whatever was cleared, deleted or misspelt."""

import httpx
import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.decisions import release
from sluice.report.model import Report
from tests.end_to_end.conftest import (
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
NIGHTLY = "nightly"


def test_configurations_that_cannot_be_obeyed_fail_their_runs(
    api: Api, whole_stack: Stack, payments_run: Triggered
) -> None:
    rows = rows_in_target(whole_stack, "payments")
    confs: list[tuple[dict[str, object], str]] = [
        ({"dryrun": True}, "did you mean 'dry_run'"),
        ({"dry_run": True, "partitions": "9"}, "partition 9"),
    ]
    runs = [(api.trigger(DAG, conf), word) for conf, word in confs]
    for run_id, word in runs:
        assert wait_for_run(api, DAG, run_id) == "failed"
        states = states_of(api, DAG, run_id)
        assert (states["plan"], states["publish"], states["report"]) == (
            "failed",
            "upstream_failed",
            "failed",
        )
        assert word in log_of(api, DAG, run_id, "plan")
    assert rows_in_target(whole_stack, "payments") == rows


def test_a_cleared_publish_task_sends_no_second_asset_event(
    api: Api, payments_run: Triggered
) -> None:
    run_id = payments_run.run_id
    answer = api.client.post(
        f"/dags/{DAG}/clearTaskInstances",
        json={
            "dag_run_id": run_id,
            "task_ids": ["publish"],
            "include_downstream": True,
            "only_failed": False,
            "dry_run": False,
        },
    )
    assert answer.status_code == 200, answer.text
    assert wait_for_run(api, DAG, run_id) == "success"
    tries = api.get(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/publish")
    assert tries["try_number"] == 2
    sent = api.client.get("/assets/events", params={"source_run_id": run_id}).json()
    (event,) = sent["asset_events"]
    assert event["extra"]["load_id"] == payments_run.report.load_id


@pytest.fixture(scope="module")
def marked_failed(api: Api, whole_stack: Stack, payments_run: Triggered, send: Send) -> Report:
    """The report of a run that was marked failed while its load was held."""
    send("payments", 500, broken_share=0.4)
    assert trigger_nightly(api) == NIGHTLY
    until(
        lambda: states_of(api, DAG, NIGHTLY).get("decide") == "awaiting_input", "the nightly form"
    )
    report = report_of(whole_stack, DAG, NIGHTLY)
    api.client.patch(f"/dags/{DAG}/dagRuns/{NIGHTLY}", json={"state": "failed"}).raise_for_status()
    return report


def test_an_answer_after_a_run_was_marked_failed_leaves_the_load_held(
    api: Api, whole_stack: Stack, marked_failed: Report
) -> None:
    path = f"/dags/{DAG}/dagRuns/{NIGHTLY}/taskInstances/decide/-1/hitlDetails"
    form = api.get(path)
    assert f"After that, use `sluice release {marked_failed.load_id}`" in str(form["body"])
    params = {"why": "too late", "load": marked_failed.load_id}
    answer = api.client.patch(path, json={"chosen_options": ["Release"], "params_input": params})
    assert answer.status_code == 200, answer.text  # Airflow accepts it, and carries nothing out
    # The run itself may be called a success: Airflow skips its tasks before it marks it.
    assert states_of(api, DAG, NIGHTLY)["publish"] == "skipped"
    assert loader_of(whole_stack, "payments").known(marked_failed.load_id).state == "held"


@pytest.fixture(scope="module")
def deleted(api: Api, marked_failed: Report) -> Report:
    """The same, once that run has been deleted."""
    api.client.delete(f"/dags/{DAG}/dagRuns/{NIGHTLY}").raise_for_status()
    return marked_failed


def trigger_nightly(api: Api, **conf: object) -> str:
    answer = api.client.post(
        f"/dags/{DAG}/dagRuns",
        json={"logical_date": None, "dag_run_id": NIGHTLY, "conf": conf},
    )
    answer.raise_for_status()
    return str(answer.json()["dag_run_id"])


def test_a_new_run_with_the_id_of_a_deleted_one_obeys_its_own_configuration(
    api: Api, whole_stack: Stack, deleted: Report
) -> None:
    trigger_nightly(api, dry_run=True)
    assert wait_for_run(api, DAG, NIGHTLY) == "success"
    report = report_of(whole_stack, DAG, NIGHTLY)
    assert report.state == "dry run"
    (reservation,) = report.reservations
    assert (reservation.load_id, reservation.offsets) == (
        deleted.load_id,
        sum(r.count for r in deleted.ranges),
    )
    page = httpx.get(
        f"{api.url}/sluice/run",
        params={"dag_id": DAG, "run_id": NIGHTLY},
        headers=dict(api.client.headers),
        timeout=30,
    )
    assert page.status_code == 200
    assert f"sluice release {deleted.load_id}" in page.text
    # A clear does not make it another run.
    answer = api.client.post(f"/dags/{DAG}/dagRuns/{NIGHTLY}/clear", json={"dry_run": False})
    assert answer.status_code == 200, answer.text
    assert wait_for_run(api, DAG, NIGHTLY) == "success"
    assert report_of(whole_stack, DAG, NIGHTLY).owner == report.owner != deleted.owner

    release(loader_of(whole_stack, "payments"), deleted.load_id, "tests", "for the next tests")
