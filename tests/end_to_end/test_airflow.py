"""Loads run by the real Airflow."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from local.airflow import Api
from local.stack import Stack
from tests.end_to_end.conftest import log_of, report_of, rows_in_target, wait_for_run

Run = Callable[..., tuple[str, str]]
DAG = "load_orders"


def test_a_triggered_run_loads_all_that_is_new_and_a_second_one_nothing(
    api: Api, whole_stack: Stack, run_dag: Run, send: Callable[..., None]
) -> None:
    send("orders", 3000)
    before = rows_in_target(whole_stack, "orders")[0]
    run_id, state = run_dag(DAG)
    assert state == "success", api.task_states(DAG, run_id)
    report = report_of(whole_stack, DAG, run_id)
    assert report.state == "published"
    assert (report.sum("planned"), report.sum("difference")) == (3000, 0)
    assert len(report.versions) == 3
    assert report.reasons
    assert len(report.quality) > 15
    rows, offsets = rows_in_target(whole_stack, "orders")
    assert rows == offsets == before + report.sum("loaded")

    again, state = run_dag(DAG)
    assert state == "success"
    assert report_of(whole_stack, DAG, again).ranges == []
    assert rows_in_target(whole_stack, "orders") == (rows, offsets)


def test_a_load_that_publishes_rows_updates_the_topic_s_asset(
    api: Api, whole_stack: Stack, run_dag: Run, send: Callable[..., None]
) -> None:
    def events(run_id: str) -> list[dict[str, Any]]:
        found: Any = api.client.get("/assets/events", params={"source_run_id": run_id}).json()
        return [event["extra"] for event in found["asset_events"]]

    send("orders", 30, broken_share=0.0)
    run_id, _ = run_dag(DAG)
    report = report_of(whole_stack, DAG, run_id)
    (told,) = events(run_id)
    assert (told["load_id"], told["rows"]) == (report.load_id, report.sum("loaded"))
    assert told["offsets"] == [str(r) for r in report.ranges]
    nothing, _ = run_dag(DAG)
    assert events(nothing) == []


def test_the_task_logs_tell_the_story(
    api: Api, run_dag: Run, send: Callable[..., None], whole_stack: Stack
) -> None:
    send("orders", 500, broken_share=0.005)
    run_id, _ = run_dag(DAG)
    assert "planned" in log_of(api, DAG, run_id, "plan")
    drained = log_of(api, DAG, run_id, "drain", 0)
    for word in ("batch", "chunk_drained", "rows_per_second", "staged"):
        assert word in drained, word
    assert "audited" in log_of(api, DAG, run_id, "audit")
    states = {task: state for task, _, state in api.task_states(DAG, run_id)}
    assert states["decide"] == "success"
    assert "published" in log_of(api, DAG, run_id, "publish")


def test_a_cleared_run_changes_nothing(
    api: Api, whole_stack: Stack, run_dag: Run, send: Callable[..., None]
) -> None:
    send("orders", 400)
    run_id, _ = run_dag(DAG)
    loaded, report = rows_in_target(whole_stack, "orders"), report_of(whole_stack, DAG, run_id)
    send("orders", 300)
    cleared = api.client.post(
        f"/dags/{DAG}/clearTaskInstances",
        json={"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True},
    )
    assert cleared.status_code == 200, cleared.text
    assert wait_for_run(api, DAG, run_id) == "success"
    assert rows_in_target(whole_stack, "orders") == loaded
    assert report_of(whole_stack, DAG, run_id).ranges == report.ranges
    _, state = run_dag(DAG)
    assert state == "success"
    assert rows_in_target(whole_stack, "orders")[0] > loaded[0]


def test_the_form_narrows_a_load(
    whole_stack: Stack, run_dag: Run, send: Callable[..., None]
) -> None:
    send("orders", 400)
    run_id, state = run_dag(DAG, partitions="1, 2", max_messages=20)
    assert state == "success"
    report = report_of(whole_stack, DAG, run_id)
    assert {r.partition for r in report.ranges} == {1, 2}
    assert report.sum("planned") == 20
    far = max(r.high for r in report.ranges) + 1_000_000
    run_id, state = run_dag(DAG, what="offsets", offsets=f"1: {far}-")
    assert state == "success"
    assert report_of(whole_stack, DAG, run_id).ranges == []
    every = ", ".join(f"{p}: 0-{far}" for p in range(4))
    run_id, state = run_dag(DAG, what="offsets", offsets=every)
    assert state == "success"
    assert report_of(whole_stack, DAG, run_id).sum("planned") == 380


@pytest.mark.parametrize(
    "conf",
    [
        {"partitions": "0-3"},
        {"max_messages": "many"},
        {"from": 3},
        {"offsets": "0-100"},
        {"what": "all"},
        {"existing": "merge"},
    ],
)
def test_the_form_refuses_what_it_cannot_read(api: Api, conf: dict[str, object]) -> None:
    answer = api.client.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": conf})
    assert answer.status_code == 400


def test_a_plan_that_cannot_be_made_fails_the_run_with_a_sentence(api: Api, run_dag: Run) -> None:
    run_id, state = run_dag(DAG, partitions="9")
    assert state == "failed"
    states = {task: state for task, _, state in api.task_states(DAG, run_id)}
    assert states["plan"] == states["report"] == "failed"
    assert "has no partition 9; it has 0 to 3" in log_of(api, DAG, run_id, "plan")


def test_the_report_page_is_for_those_who_may_read_runs(
    api: Api, whole_stack: Stack, run_dag: Run
) -> None:
    run_id, _ = run_dag(DAG)
    params = {"dag_id": DAG, "run_id": run_id}
    page = f"{api.url}/sluice/run"
    assert httpx.get(page, params=params).status_code == 401
    viewer = Api(whole_stack.ports.airflow, "viewer", whole_stack.secrets["viewer"])
    for reader in (api, viewer):
        answer = httpx.get(page, params=params, headers=dict(reader.client.headers), timeout=30)
        assert answer.status_code == 200, answer.text
        assert report_of(whole_stack, DAG, run_id).load_id in answer.text
        assert "http" not in answer.text.replace("http-equiv", "")
    params["run_id"] = "no such run"
    answer = httpx.get(page, params=params, headers=dict(api.client.headers), timeout=30)
    assert answer.status_code == 404


def test_no_password_is_in_any_log(api: Api, whole_stack: Stack) -> None:
    secret = whole_stack.secrets["clickhouse"]
    looked_at = 0
    for path in whole_stack.folder.rglob("*.log"):
        looked_at += 1
        assert secret not in path.read_text(errors="replace"), path
    assert looked_at > 10
