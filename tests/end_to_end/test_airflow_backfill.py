"""Backfills and replays run by the real Airflow, each judged by the audit."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

import pytest

from local.airflow import Api
from local.stack import Stack
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.sample_messages import make_samples
from sluice.store.quarantine import Quarantine
from sluice.store.request import RefusalFilter
from tests.end_to_end.conftest import loader_of, report_of, until, wait_for_run

Run = Callable[..., tuple[str, str]]
Count = Callable[..., None]
DAG, REPLAY = "load_orders", "replay_orders"
FIRST = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=60)
hours = iter(range(0, 50, 5))
"""Each test has hours of its own, some days ago, within the topic's retention."""


@pytest.fixture
def hour() -> datetime:
    """Begin of four hours that no other test has messages in."""
    return FIRST + timedelta(hours=next(hours))


@pytest.fixture
def send_at(whole_stack: Stack) -> Count:
    """Produces orders whose timestamps lie in an hour; all of them good."""

    def produce(hour: datetime, count: int) -> None:
        loader = loader_of(whole_stack, "orders")
        producer = loader.broker.producer()
        made = make_samples(loader.contract, count, Random(count), 0, 0)
        for number, sample in enumerate(made):
            at = hour + timedelta(hours=number / count)
            producer.produce(
                "orders", sample.value, sample.key, timestamp=int(at.timestamp() * 1000)
            )
        producer.flush()

    return produce


def good(stack: Stack) -> None:
    loader = loader_of(stack, "orders")
    verifier = Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger)
    assert verifier.run().findings == []


def backfill(api: Api, first: datetime, last: datetime, behaviour: str = "none") -> None:
    """One of Airflow's own backfills, to its end."""
    asked = {
        "dag_id": DAG,
        "from_date": first.isoformat(),
        "to_date": last.isoformat(),
        "run_backwards": False,
        "dag_run_conf": {},
        "max_active_runs": 3,
        "reprocess_behavior": behaviour,
    }
    # With SQLite it is refused while tasks write, and may be there all the same: Airflow itself
    # asks for PostgreSQL.
    for _ in range(40):
        answer = api.client.post("/backfills", json=asked)
        if answer.status_code not in (409, 500, 503):
            break
        time.sleep(1)
        if going := running(api):
            number = going[0]
            break
    else:
        raise AssertionError(answer.text)
    if answer.status_code == 200:
        number = answer.json()["id"]

    def over() -> bool:
        return api.get(f"/backfills/{number}")["completed_at"] is not None

    until(over, f"the end of backfill {number}", 240)


def running(api: Api) -> list[int]:
    """Backfills of the DAG that are not over."""
    found = api.client.get("/backfills", params={"dag_id": DAG}).json().get("backfills", [])
    return [backfill["id"] for backfill in found if backfill["completed_at"] is None]


def runs_at(api: Api, *moments: datetime) -> list[dict[str, str]]:
    """The run of each logical date."""
    found = []
    for at in moments:
        answer = api.client.get(
            f"/dags/{DAG}/dagRuns",
            params={"logical_date_gte": at.isoformat(), "logical_date_lte": at.isoformat()},
        )
        runs = answer.json()["dag_runs"]
        assert len(runs) <= 1
        found += runs
    return found


def test_a_backfill_loads_each_hour_in_a_run_of_its_own_and_reprocessing_replaces(
    api: Api, whole_stack: Stack, run_dag: Run, send_at: Count, hour: datetime
) -> None:
    run_dag(DAG)
    moments = [hour + timedelta(hours=n) for n in range(3)]
    for number, at in enumerate(moments):
        send_at(at, 30 + number)
    send_at(hour - timedelta(hours=1), 7)
    backfill(api, moments[0], moments[-1])
    runs = runs_at(api, *moments)
    reports = [report_of(whole_stack, DAG, run["dag_run_id"]) for run in runs]
    assert [run["state"] for run in runs] == ["success"] * 3
    assert [(r.kind, r.sum("loaded")) for r in reports] == [("load", n) for n in (30, 31, 32)]
    good(whole_stack)

    backfill(api, moments[0], moments[1], "completed")
    reports = [report_of(whole_stack, DAG, run["dag_run_id"]) for run in runs]
    assert [(r.kind, r.sum("loaded")) for r in reports[:2]] == [("replace", 30), ("replace", 31)]
    assert reports[2].kind == "load"
    good(whole_stack)

    run_id, _ = run_dag(DAG)  # what no hour asked for is not forgotten
    assert report_of(whole_stack, DAG, run_id).sum("loaded") == 7


def test_a_backfill_beside_a_load_of_what_is_new(
    api: Api, whole_stack: Stack, run_dag: Run, send_at: Count, hour: datetime
) -> None:
    run_dag(DAG)
    moments = [hour + timedelta(hours=n) for n in range(3)]
    for at in moments:
        send_at(at, 40)
    run_id = api.trigger(DAG, {})
    backfill(api, moments[0], moments[-1])
    assert wait_for_run(api, DAG, run_id) == "success"
    owners = [run_id, *(run["dag_run_id"] for run in runs_at(api, *moments))]
    assert sum(report_of(whole_stack, DAG, owner).sum("loaded") for owner in owners) == 120
    good(whole_stack)


def test_an_hour_that_a_run_by_hand_holds_is_not_left_out(
    api: Api, whole_stack: Stack, run_dag: Run, send_at: Count, hour: datetime
) -> None:
    """Airflow's *none* skips its hour, and *completed* gives it the interval of the hour before."""
    run_dag(DAG)
    held = hour + timedelta(hours=1)
    answer = api.client.post(
        f"/dags/{DAG}/dagRuns", json={"logical_date": held.isoformat(), "conf": {}}
    )
    assert answer.status_code == 200, answer.text
    by_hand = answer.json()["dag_run_id"]
    assert wait_for_run(api, DAG, by_hand) == "success"
    send_at(hour, 11)
    send_at(held, 12)
    backfill(api, hour, held)
    (first, second) = runs_at(api, hour, held)
    assert second["dag_run_id"] == by_hand
    assert report_of(whole_stack, DAG, first["dag_run_id"]).sum("loaded") == 11
    assert report_of(whole_stack, DAG, by_hand).sum("loaded") == 0  # skipped: said in the guide
    backfill(api, held, held, "completed")
    (second,) = runs_at(api, held)
    assert second["data_interval_start"][:13] == f"{hour:%Y-%m-%dT%H}"  # Airflow's wrong interval
    report = report_of(whole_stack, DAG, by_hand)
    assert report.sum("loaded") == 12
    assert report.asked.startswith(f"from {held.isoformat()}")
    good(whole_stack)


def test_the_form_s_other_choices(
    api: Api, whole_stack: Stack, run_dag: Run, send_at: Count, hour: datetime
) -> None:
    run_dag(DAG)
    send_at(hour, 50)
    at = {"from": hour.isoformat(), "to": (hour + timedelta(minutes=30)).isoformat()}
    dry, state = run_dag(DAG, what="times", dry_run=True, **at)
    assert state == "success", api.task_states(DAG, dry)
    report = report_of(whole_stack, DAG, dry)
    assert (report.state, sum(r.count for r in report.ranges)) == ("dry run", 25)
    run_id, state = run_dag(DAG, what="times", **at)
    assert state == "success"
    done = report_of(whole_stack, DAG, run_id)
    assert (done.sum("loaded"), done.ranges) == (25, report.ranges)
    ranges = ", ".join(f"{r.partition}: {r.low}-{r.high}" for r in done.ranges)
    again, state = run_dag(DAG, what="offsets", offsets=ranges, existing="replace")
    assert state == "success", api.task_states(DAG, again)
    report = report_of(whole_stack, DAG, again)
    assert (report.kind, report.sum("loaded"), report.changes and report.changes.changed) == (
        "replace",
        25,
        0,
    )
    rest, state = run_dag(DAG, what="everything")
    assert (state, report_of(whole_stack, DAG, rest).sum("loaded")) == ("success", 25)
    wrong, state = run_dag(DAG, existing="replace")
    assert state == "failed"
    states = {task: state for task, _, state in api.task_states(DAG, wrong)}
    assert states["plan"] == "failed"
    good(whole_stack)


def test_a_replay(api: Api, whole_stack: Stack, run_dag: Run, send: Callable[..., None]) -> None:
    until(partial(api.has_dag, REPLAY), f"DAG {REPLAY}")
    send("orders", 900, broken_share=0.005)
    run_dag(DAG)
    loader = loader_of(whole_stack, "orders")
    kinds = Quarantine(loader.clickhouse, loader.ledger.database).kinds(
        RefusalFilter(topic="orders")
    )
    run_id, state = run_dag(REPLAY, reason=kinds[0].reason)
    assert state == "success", api.task_states(REPLAY, run_id)
    report = report_of(whole_stack, REPLAY, run_id)
    assert report.kind == "replay"
    assert report.sum("planned") == report.sum("quarantined") > 0
    good(whole_stack)
    from_form, state = run_dag(DAG, what="quarantined", max_messages=2)
    assert state == "success"
    assert report_of(whole_stack, DAG, from_form).sum("planned") == 2
    good(whole_stack)


@pytest.mark.parametrize("conf", [{"reason": "bad luck"}, {"dry_run": "maybe"}])
def test_the_replay_form_refuses_what_it_cannot_read(api: Api, conf: dict[str, object]) -> None:
    until(partial(api.has_dag, REPLAY), f"DAG {REPLAY}")
    answer = api.client.post(f"/dags/{REPLAY}/dagRuns", json={"logical_date": None, "conf": conf})
    assert answer.status_code == 400
