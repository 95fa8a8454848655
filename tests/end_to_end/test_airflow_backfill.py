"""A backfill and a replay run by the real Airflow, each checked by the verifier."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.authoring.sample_messages import make_samples
from sluice.report.model import Report
from tests.end_to_end.conftest import (
    RunDag,
    Triggered,
    loader_of,
    report_of,
    rows_in_target,
    until,
    verifier_of,
    wait_for_run,
)

DAG, REPLAY = "load_orders", "replay_orders"
FIRST = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=60)
HOURS = [FIRST + timedelta(hours=number) for number in range(3)]
"""Some days ago, within the topic's retention; no other test has messages in them."""


@pytest.fixture
def send_at(whole_stack: Stack) -> Callable[[datetime, int], None]:
    """Produces orders whose timestamps lie in an hour; all of them good."""

    def produce(hour: datetime, count: int) -> None:
        loader = loader_of(whole_stack, "orders")
        producer = loader.broker.producer()
        for number, sample in enumerate(make_samples(loader.contract, count, Random(count), 0, 0)):
            at = hour + timedelta(hours=number / count)
            producer.produce(
                "orders", sample.value, sample.key, timestamp=int(at.timestamp() * 1000)
            )
        producer.flush()

    return produce


def backfill(api: Api, hours: Sequence[datetime], behaviour: str = "none") -> None:
    """One of Airflow's own backfills, to the end of its runs."""
    body = {
        "dag_id": DAG,
        "from_date": hours[0].isoformat(),
        "to_date": hours[-1].isoformat(),
        "run_backwards": False,
        "dag_run_conf": {},
        "max_active_runs": 3,
        "reprocess_behavior": behaviour,
    }
    # With SQLite it is refused while tasks write, and may exist all the same: Airflow recommends
    # PostgreSQL.
    for _ in range(40):
        answer = api.client.post("/backfills", json=body)
        if answer.status_code not in (409, 500, 503):
            break
        time.sleep(1)
        if running := running_backfills(api):
            number = running[0]
            break
    else:
        raise AssertionError(answer.text)
    if answer.status_code == 200:
        number = answer.json()["id"]

    def over() -> bool:
        return all(run_at(api, hour)["state"] in ("success", "failed") for hour in hours)

    until(over, f"the runs of backfill {number}")
    # Airflow looks every 30 seconds only whether a backfill is over, and starts no other before.
    api.client.put(f"/backfills/{number}/cancel")


def running_backfills(api: Api) -> list[int]:
    """Backfills of the DAG that are not over."""
    answer = api.client.get("/backfills", params={"dag_id": DAG}).json()
    return [each["id"] for each in answer.get("backfills", []) if each["completed_at"] is None]


def run_at(api: Api, moment: datetime) -> dict[str, str]:
    """The one run of a logical date."""
    at = moment.isoformat()
    answer = api.client.get(
        f"/dags/{DAG}/dagRuns", params={"logical_date_gte": at, "logical_date_lte": at}
    )
    (run,) = answer.json()["dag_runs"]
    return dict(run)


@pytest.mark.timeout(400)
def test_a_backfill_loads_each_hour_in_its_own_run_and_reprocessing_replaces(
    api: Api,
    whole_stack: Stack,
    orders_run: Triggered,
    send_at: Callable[[datetime, int], None],
) -> None:
    """A run by hand has the logical date of the second hour.

    Airflow's *none* skips its hour, and *completed* gives it the interval of the hour before.
    """
    answer = api.client.post(
        f"/dags/{DAG}/dagRuns", json={"logical_date": HOURS[1].isoformat(), "conf": {}}
    )
    assert answer.status_code == 200, answer.text
    by_hand = answer.json()["dag_run_id"]
    assert wait_for_run(api, DAG, by_hand) == "success"
    for number, hour in enumerate(HOURS):
        send_at(hour, 30 + number)

    def reports(hours: Sequence[datetime]) -> list[Report]:
        return [report_of(whole_stack, DAG, run_at(api, hour)["dag_run_id"]) for hour in hours]

    backfill(api, HOURS)
    assert [run_at(api, hour)["state"] for hour in HOURS] == ["success"] * 3
    assert run_at(api, HOURS[1])["dag_run_id"] == by_hand
    loads = [(report.kind, report.sum("loaded")) for report in reports(HOURS[::2])]
    assert loads == [("load", 30), ("load", 32)]
    assert verifier_of(whole_stack, "orders").run().findings == []

    backfill(api, HOURS[:2], "completed")
    again = run_at(api, HOURS[1])
    assert again["dag_run_id"] == by_hand
    assert again["data_interval_start"][:13] == f"{HOURS[0]:%Y-%m-%dT%H}"  # not its own interval
    loads = [(report.kind, report.sum("loaded")) for report in reports(HOURS)]
    assert loads == [("replace", 30), ("load", 31), ("load", 32)]
    assert reports(HOURS)[1].asked.startswith(f"from {HOURS[1].isoformat()}")
    assert verifier_of(whole_stack, "orders").run().findings == []


def test_a_replay(api: Api, whole_stack: Stack, run_dag: RunDag, orders_run: Triggered) -> None:
    rows = rows_in_target(whole_stack, "orders")
    run_id, state = run_dag(REPLAY, reason=orders_run.report.reasons[0].reason)
    assert state == "success", api.task_states(REPLAY, run_id)
    report = report_of(whole_stack, REPLAY, run_id)
    assert report.kind == "replay"
    assert report.sum("planned") == report.sum("quarantined") > 0
    assert rows_in_target(whole_stack, "orders") == rows
    assert verifier_of(whole_stack, "orders").run().findings == []
