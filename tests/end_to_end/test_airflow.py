"""Loads run by the real Airflow."""

from typing import Any

import httpx
import pytest

from local.airflow import Api
from local.stack import Stack
from tests.end_to_end.conftest import (
    POOL,
    RunDag,
    Triggered,
    log_of,
    report_of,
    rows_in_target,
    states_of,
)

DAG = "load_orders"


@pytest.fixture(scope="module")
def empty_run(api: Api, run_dag: RunDag, orders_run: Triggered) -> str:
    """Id of a run that finds nothing new."""
    run_id, state = run_dag(DAG)
    assert state == "success", api.task_states(DAG, run_id)
    return run_id


def asset_events(api: Api, run_id: str) -> list[dict[str, Any]]:
    found: Any = api.client.get("/assets/events", params={"source_run_id": run_id}).json()
    return [event["extra"] for event in found["asset_events"]]


def test_a_triggered_run_loads_all_that_is_new(
    api: Api, whole_stack: Stack, orders_run: Triggered
) -> None:
    assert orders_run.state == "success", api.task_states(DAG, orders_run.run_id)
    report = orders_run.report
    assert report.state == "published"
    assert (report.sum("planned"), report.sum("difference")) == (3002, 0)
    assert len(report.versions) == 3
    assert report.reasons
    assert len(report.quality) > 15
    rows, offsets = rows_in_target(whole_stack, "orders")
    assert rows == offsets == report.sum("loaded")


def test_drains_and_publishes_share_the_pool_that_init_has_created(
    api: Api, orders_run: Triggered
) -> None:
    assert api.get(f"/pools/{POOL}")["slots"] == 4
    path = f"/dags/{DAG}/dagRuns/{orders_run.run_id}/taskInstances"
    tasks: Any = api.get(path)["task_instances"]
    pools = {task["task_id"]: task["pool"] for task in tasks}
    assert {name for name, pool in pools.items() if pool == POOL} == {"drain", "publish"}


def test_a_second_run_loads_nothing_and_skips_its_tasks(
    api: Api, whole_stack: Stack, orders_run: Triggered, empty_run: str
) -> None:
    states = states_of(api, DAG, empty_run)
    assert set(states.values()) == {"skipped"}
    assert "nothing new: every offset of orders" in log_of(api, DAG, empty_run, "plan")
    assert rows_in_target(whole_stack, "orders")[0] == orders_run.report.sum("loaded")


def test_a_load_that_publishes_rows_updates_the_topic_s_asset(
    api: Api, orders_run: Triggered, empty_run: str
) -> None:
    report = orders_run.report
    (event,) = asset_events(api, orders_run.run_id)
    assert (event["load_id"], event["rows"]) == (report.load_id, report.sum("loaded"))
    assert event["offsets"] == [str(r) for r in report.ranges]
    assert asset_events(api, empty_run) == []


def test_the_task_logs_have_the_steps_of_the_load(api: Api, orders_run: Triggered) -> None:
    run_id = orders_run.run_id
    assert "planned" in log_of(api, DAG, run_id, "plan")
    drained = log_of(api, DAG, run_id, "drain", 0)
    for word in ("batch", "chunk_drained", "rows_per_second", "staged"):
        assert word in drained, word
    assert "audited" in log_of(api, DAG, run_id, "audit")
    assert states_of(api, DAG, run_id)["decide"] == "success"
    assert "published" in log_of(api, DAG, run_id, "publish")


def test_a_dry_run_succeeds_and_reads_nothing(
    api: Api, whole_stack: Stack, run_dag: RunDag, orders_run: Triggered
) -> None:
    rows = rows_in_target(whole_stack, "orders")
    run_id, state = run_dag(DAG, what="everything", existing="replace", dry_run=True)
    assert state == "success", api.task_states(DAG, run_id)
    states = states_of(api, DAG, run_id)
    assert {name for name, state in states.items() if state != "skipped"} == {"plan", "report"}
    report = report_of(whole_stack, DAG, run_id)
    assert (report.state, report.ranges) == ("dry run", orders_run.report.ranges)
    assert rows_in_target(whole_stack, "orders") == rows


def test_a_plan_that_cannot_be_made_fails_the_run_with_a_sentence(
    api: Api, run_dag: RunDag
) -> None:
    run_id, state = run_dag(DAG, partitions="9")
    assert state == "failed"
    states = states_of(api, DAG, run_id)
    assert states["plan"] == states["report"] == "failed"
    log = log_of(api, DAG, run_id, "plan")
    assert "partition 9" in log
    assert "it has 0 to 3" in log


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        (DAG, {"partitions": "0-3"}),
        (DAG, {"max_messages": "many"}),
        (DAG, {"from": 3}),
        (DAG, {"offsets": "0-100"}),
        (DAG, {"what": "all"}),
        (DAG, {"existing": "merge"}),
        ("replay_orders", {"reason": "bad luck"}),
        ("replay_orders", {"dry_run": "maybe"}),
    ],
)
def test_the_forms_refuse_what_they_cannot_read(
    api: Api, dag_id: str, conf: dict[str, object]
) -> None:
    answer = api.client.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
    assert answer.status_code == 400


def test_the_report_page_is_for_those_who_may_read_runs(
    api: Api, whole_stack: Stack, orders_run: Triggered
) -> None:
    params = {"dag_id": DAG, "run_id": orders_run.run_id}
    page = f"{api.url}/sluice/run"
    assert httpx.get(page, params=params).status_code == 401
    viewer = Api(whole_stack.ports.airflow, "viewer", whole_stack.secrets["viewer"])
    for reader in (api, viewer):
        answer = httpx.get(page, params=params, headers=dict(reader.client.headers), timeout=30)
        assert answer.status_code == 200, answer.text
        assert orders_run.report.load_id in answer.text
        assert "http" not in answer.text.replace("http-equiv", "")
    params["run_id"] = "no such run"
    answer = httpx.get(page, params=params, headers=dict(api.client.headers), timeout=30)
    assert answer.status_code == 404
