"""What the fields of the trigger forms, backfills, cleared runs and decisions make a run load."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    DagRunTriggerException,
    TaskAwaitingInput,
)

import sluice.loader
from sluice.airflow import tasks
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import find
from sluice.decisions import release
from sluice.kafka.broker import Broker
from sluice.loader import Loader
from sluice.store.load_state import State
from tests.dag_runs import DagRun
from tests.loads import target, verdict

StartRun = Callable[..., DagRun]
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=50)


@pytest.fixture
def topic(project_with_topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic that the tasks find in the project's contracts; its quality rules are not run."""
    monkeypatch.setattr(sluice.loader, "Loader", partial(Loader, quality_rules=False))
    broker.create_topic(project_with_topic, 4)
    return project_with_topic


@pytest.fixture
def start(topic: str) -> StartRun:
    """Makes runs of the topic's DAGs that know of each other."""
    return partial(DagRun, topic, {})


@pytest.fixture
def send(topic: str, broker: Broker) -> Callable[..., None]:
    """Produces samples."""

    def produce_samples(count: int, broken_share: float = 0.004) -> None:
        contract = find(topic)
        produce(contract, broker, make_samples(contract, count, Random(count), broken_share))

    return produce_samples


@pytest.fixture
def send_at(topic: str, broker: Broker) -> Callable[..., None]:
    """Produces good messages whose timestamps lie in one hour."""

    def produce_samples(hour: datetime, count: int) -> None:
        producer = broker.producer()
        for number, sample in enumerate(make_samples(find(topic), count, Random(count), 0, 0)):
            at = hour + timedelta(hours=number / count)
            producer.produce(topic, sample.value, sample.key, timestamp=int(at.timestamp() * 1000))
        producer.flush()

    return produce_samples


def loaded(run: DagRun) -> int:
    return run.report().sum("loaded")


def test_the_form_narrows_a_load(start: StartRun, send: Callable[..., None]) -> None:
    send(400)
    run = start(partitions="1, 2", max_messages=20)
    assert run.run() == "success"
    report = run.report()
    assert {r.partition for r in report.ranges} == {1, 2}
    assert report.sum("planned") == 20
    far = max(r.high for r in report.ranges) + 1_000_000
    run = start(what="offsets", offsets=f"1: {far}-")
    assert run.run() == "success"
    assert run.report().ranges == []
    run = start(what="offsets", offsets=", ".join(f"{p}: 0-{far}" for p in range(4)))
    assert run.run() == "success"
    assert run.report().sum("planned") == 380


def test_a_backlog_is_loaded_in_several_runs(
    start: StartRun, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tasks, "find", lambda topic: msgspec.structs.replace(find(topic), max_offsets=300)
    )
    send(1_000)
    run, loads, waiting = start(partitions="0,1,2,3"), list[int](), list[int]()
    while True:
        assert run.run() == "success"
        report = run.report()
        loads.append(report.sum("planned"))
        waiting.append(report.survey.get("postponed", 0))
        if run.triggered is None:
            break
        assert any("wait for the next load" in line for line in report.advice)
        assert run.triggered.dag_run_id == f"after__{report.load_id}"
        assert run.xcoms["return_value"]["load_id"] == report.load_id
        # Clearing the last task triggers the same run again, which Airflow then has already.
        first = run.triggered
        with pytest.raises(DagRunTriggerException) as again:
            run.call(tasks.report)
        assert again.value.dag_run_id == first.dag_run_id
        assert (first.trigger_dag_id, first.skip_when_already_exists) == (run.info.dag_id, True)
        run = start(run_id=first.dag_run_id, **(first.conf or {}))
    assert (loads, waiting) == ([300, 300, 300, 100], [700, 400, 100, 0])
    assert verdict(run.loader()).findings == []


def test_a_range_of_time_its_replacement_and_the_rest(
    start: StartRun, send_at: Callable[..., None]
) -> None:
    send_at(HOUR, 50)
    window = {"from": HOUR.isoformat(), "to": (HOUR + timedelta(minutes=30)).isoformat()}
    dry = start(what="times", dry_run=True, **window)
    assert dry.run() == "success"
    assert {*dry.task_states.values()} == {"success", "skipped"}
    assert dry.task_states["publish"] == "skipped"
    preview = dry.report()
    assert (preview.state, sum(r.count for r in preview.ranges)) == ("dry run", 25)

    run = start(what="times", **window)
    assert run.run() == "success"
    report = run.report()
    assert (report.sum("loaded"), report.ranges) == (25, preview.ranges)

    ranges = ", ".join(f"{r.partition}: {r.low}-{r.high}" for r in report.ranges)
    again = start(what="offsets", offsets=ranges, existing="replace")
    assert again.run() == "success"
    report = again.report()
    assert (report.kind, report.sum("loaded")) == ("replace", 25)
    assert report.changes is not None
    assert report.changes.changed == 0

    rest = start(what="everything")
    assert rest.run() == "success"
    assert loaded(rest) == 25
    assert verdict(rest.loader()).findings == []


def test_a_plan_that_cannot_be_made_fails_its_run(start: StartRun) -> None:
    assert start().run() == "success"
    run = start(existing="replace")
    assert run.run() == "failed"
    failed = {name for name, state in run.task_states.items() if state == "failed"}
    assert failed == {"plan", "report"}
    assert "replace" in run.errors["plan"]


def test_a_cleared_run_changes_nothing(start: StartRun, send: Callable[..., None]) -> None:
    send(400)
    run = start()
    assert run.run() == "success"
    rows, report = target(run.loader()), run.report()
    assert run.assets == [
        {
            "load_id": report.load_id,
            "rows": report.sum("loaded"),
            "offsets": [str(r) for r in report.ranges],
        }
    ]
    send(300)
    assert run.run() == "success"
    assert target(run.loader()) == rows
    assert run.report().ranges == report.ranges
    other = start()
    assert other.run() == "success"
    assert target(other.loader())["rows"] > rows["rows"]
    nothing = start()
    assert nothing.run() == "success"
    assert ({*nothing.task_states.values()}, nothing.assets) == ({"skipped"}, [])


def test_a_backfill_leaves_other_messages_to_the_next_load(
    start: StartRun, send_at: Callable[..., None]
) -> None:
    hours = [HOUR + timedelta(hours=n) for n in range(2)]
    for number, hour in enumerate(hours):
        send_at(hour, 30 + number)
    send_at(HOUR - timedelta(hours=1), 7)
    runs = [start(run_type="backfill", logical_date=hour) for hour in hours]
    assert [run.run() for run in runs] == ["success"] * 2
    assert [(run.report().kind, loaded(run)) for run in runs] == [("load", 30), ("load", 31)]
    assert runs[0].run() == "success"
    assert (runs[0].report().kind, loaded(runs[0])) == ("replace", 30)
    rest = start()
    assert rest.run() == "success"
    assert loaded(rest) == 7
    assert verdict(rest.loader()).findings == []


@pytest.mark.parametrize("planned_first", ["new", "backfill"])
def test_a_backfill_beside_a_load_of_what_is_new(
    start: StartRun, send_at: Callable[..., None], planned_first: str
) -> None:
    """Neither takes offsets that the other has reserved and not published yet."""
    hours = [HOUR + timedelta(hours=n) for n in range(3)]
    for hour in hours:
        send_at(hour, 40)
    new = start()
    backfills = [start(run_type="backfill", logical_date=hour) for hour in hours]
    early, late = (
        ([new], backfills) if planned_first == "new" else (backfills[:2], [new, backfills[2]])
    )
    for run in early:
        run.plan()
    for run in [*late, *early]:
        assert run.run() == "success", run.errors
    assert sum(map(loaded, (new, *backfills))) == 120
    assert loaded(new) == (120 if planned_first == "new" else 40)
    assert verdict(new.loader()).findings == []


def test_an_hour_that_a_run_by_hand_holds_is_loaded_when_it_is_reprocessed(
    start: StartRun, send_at: Callable[..., None]
) -> None:
    """Its own hour: the interval that Airflow gives to such a run is that of the hour before."""
    run = start(logical_date=HOUR)
    assert run.run() == "success"
    send_at(HOUR - timedelta(hours=1), 11)
    send_at(HOUR, 12)
    assert run.reprocess() == "success"
    report = run.report()
    assert report.sum("loaded") == 12
    assert report.asked.startswith(f"from {HOUR.isoformat()}")
    assert verdict(run.loader()).findings == []


def test_the_form_replays_messages_in_quarantine(
    start: StartRun, send: Callable[..., None]
) -> None:
    send(400, broken_share=0.005)
    first = start()
    assert first.run() == "success"
    assert first.report().sum("quarantined") > 1
    replay = start(what="quarantined", max_messages=1)
    assert replay.run() == "success"
    report = replay.report()
    assert (report.kind, report.sum("planned"), report.sum("quarantined")) == ("replay", 1, 1)
    assert verdict(replay.loader()).findings == []


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The forms that Airflow would show."""
    requested: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail",
        lambda **detail: requested.append(detail),
    )
    return requested


@pytest.fixture
def held(start: StartRun, send: Callable[..., None], forms: list[dict[str, Any]]) -> DagRun:
    """A run whose load waits for a decision: two messages in five are refused."""
    send(200, broken_share=0.4)
    run = start()
    with pytest.raises(TaskAwaitingInput):
        run.run()
    return run


def test_a_load_stays_held_without_a_decision_about_it(
    held: DagRun, forms: list[dict[str, Any]]
) -> None:
    (form,) = forms
    report = held.report()
    assert form["options"] == ["Release", "Discard"]
    assert report.error in form["body"].replace("\n    ", "\n")
    assert form["params"]["load"]["value"] == report.load_id
    with pytest.raises(AirflowFailException, match="the decision was about load another"):
        held.answer("Release", why="", load="another")
    with pytest.raises(AirflowFailException, match="no one decided"):
        held.resume({"error": "timed out", "error_type": "timeout"})
    with pytest.raises(AirflowFailException, match="is held"):
        held.call(tasks.report)
    load = held.loader().last()
    assert load is not None
    assert load.state is State.HELD


def test_a_load_that_is_released_elsewhere_before_it_is_discarded(held: DagRun) -> None:
    load_id = held.report().load_id
    release(held.loader(), load_id, "tests", "from elsewhere")
    with pytest.raises(AirflowFailException, match="it was decided elsewhere"):
        held.answer("Discard", why="too late", load=load_id)
    held.call(tasks.report)
    report = held.report()
    assert (report.state, report.decision) == ("published", "released by tests: from elsewhere")


def test_without_hours_to_hold_a_held_load_fails_its_run_at_once(
    start: StartRun,
    send: Callable[..., None],
    forms: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_HOLD_HOURS", "0")
    send(200, broken_share=0.4)
    run = start()
    assert run.run() == "failed"
    assert run.task_states["decide"] == "failed"
    assert run.errors["decide"] == run.report().error
    assert forms == []
