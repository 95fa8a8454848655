"""Runs show the true state: refused configurations, deleted runs, loads of others, asset events."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from msgspec import to_builtins

import sluice.loader
from sluice.airflow import tasks
from sluice.airflow.dag_ids import dag_id
from sluice.airflow.pages.queries import PageQueries, RuleRow
from sluice.airflow.pages.responses import TEMPLATES
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import find
from sluice.decisions import discard, release
from sluice.errors import LoadLost
from sluice.kafka.broker import Broker
from sluice.loader import Loader
from sluice.plan.bounds import resolve_bounds
from sluice.report.entry_text import describe_entry
from sluice.report.html import render
from sluice.store.load_state import Load, State
from tests.commands import Run
from tests.dag_runs import DagRun
from tests.loads import target, verdict

StartRun = Callable[..., DagRun]
Send = Callable[..., None]


@pytest.fixture
def topic(project_with_topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic that the tasks find in the project's contracts; its quality rules are not run."""
    monkeypatch.setattr(sluice.loader, "Loader", partial(Loader, quality_rules=False))
    broker.create_topic(project_with_topic, 2)
    return project_with_topic


@pytest.fixture
def states() -> dict[tuple[str, str], str]:
    """State by run, as Airflow's database has them; a deleted run is not there."""
    return {}


@pytest.fixture
def start(topic: str, states: dict[tuple[str, str], str]) -> StartRun:
    return partial(DagRun, topic, states)


@pytest.fixture
def send(topic: str, broker: Broker) -> Send:
    def produce_samples(count: int, broken_share: float = 0.0) -> None:
        contract = find(topic)
        produce(contract, broker, make_samples(contract, count, Random(count), broken_share, 0))

    return produce_samples


def last_load(run: DagRun) -> Load:
    load = run.loader().last()
    assert load is not None
    return load


def test_a_configuration_that_cannot_be_obeyed_fails_its_run_and_loads_nothing(
    start: StartRun, send: Send
) -> None:
    send(20)
    confs: list[tuple[dict[str, Any], str]] = [
        ({"dryrun": True}, "did you mean 'dry_run'"),
        ({"what": "times", "from": "2026-01-01", "until": "2026-01-02"}, "did you mean 'to'"),
        ({"what": "quarantined", "load": "no_such_load"}, "no_such_load"),
        ({"dry_run": True, "partitions": "9"}, "partition 9"),
    ]
    for conf, word in confs:
        run = start(**conf)
        assert run.run() == "failed"
        assert word in run.errors["plan"]
        assert run.task_states["report"] == "failed"
        assert run.loader().ledger.loads_of(run.topic) == []


def test_a_configuration_counts_even_where_airflow_ignores_it(start: StartRun, send: Send) -> None:
    """With ``dag_run_conf_overrides_params = False`` it is not among the params."""
    send(20)
    run = start(dry_run=True)
    run.params["dry_run"] = False
    assert run.run() == "success"
    assert run.report().state == "dry run"


def test_a_deleted_run_s_load_is_reported_and_discarded(
    start: StartRun, send: Send, states: dict[tuple[str, str], str], run: Run
) -> None:
    send(30)
    deleted = start()
    deleted.plan()
    load = last_load(deleted)
    with deleted.context(), pytest.raises(LoadLost, match="not over"):
        discard(deleted.loader(), load.load_id, "tests", "too early", run_is_over=True)
    del states[deleted.key]

    empty = start()
    assert empty.run() == "success"
    report = empty.report()
    assert report.ranges == []
    (reservation,) = report.reservations
    assert (reservation.load_id, reservation.offsets) == (load.load_id, 30)
    assert (reservation.since, reservation.owner) == (load.planned_at, deleted.owner)
    assert any(f"sluice discard {load.load_id} --run-is-over" in text for text in report.advice)
    dry = start(dry_run=True)
    assert dry.run() == "success"
    assert [each.load_id for each in dry.report().reservations] == [load.load_id]

    printed = run("load", load.topic).output
    assert f"30 offsets are held by load {load.load_id}" in printed
    assert "accounted for" not in printed
    refused = run("discard", load.load_id, "--why", "deleted").output
    assert "--run-is-over" in refused
    run("discard", load.load_id, "--why", "deleted", "--run-is-over", "--by", "me")
    assert deleted.loader().known(load.load_id).state is State.ABANDONED
    with pytest.raises(LoadLost, match="nothing to discard"):
        discard(deleted.loader(), load.load_id, "tests", "twice", run_is_over=True)
    again = start()
    assert again.run() == "success"
    assert again.report().sum("loaded") == 30
    assert again.report().reservations == []
    assert verdict(again.loader()).findings == []


def test_a_new_run_with_the_id_of_a_deleted_one_is_another_run(start: StartRun, send: Send) -> None:
    send(30)
    at = datetime.now(UTC) - timedelta(hours=1)
    first = start(run_id="nightly", run_after=at)
    assert first.run() == "success"
    send(11)
    second = start(run_id="nightly", dry_run=True)
    assert second.run() == "success"
    assert second.report().state == "dry run"
    assert first.report().sum("loaded") == 30

    unfinished = start(run_id="nightly", partitions="0")
    unfinished.plan()
    third = start(run_id="nightly")
    assert third.run() == "success"
    assert third.report().sum("loaded") == 11
    assert last_load(unfinished).state is State.ABANDONED

    send(12)  # the same moment, too: only its beginning is another
    fourth = start(run_id="nightly", run_after=third.info.run_after)
    assert fourth.run() == "success"
    assert fourth.report().sum("loaded") == 12
    assert verdict(fourth.loader()).findings == []


def test_the_asset_event_of_a_load_is_sent_once(start: StartRun, send: Send) -> None:
    send(30)
    run = start()
    run.drain(run.plan())
    run.call(tasks.audit)
    # Published, but not by a try of this task that succeeded: the event has not been sent.
    release(start().loader(), last_load(run).load_id, "tests", "by command")
    advice = run.loader().write_report(last_load(run).load_id).advice
    assert any("clear that task, if DAGs wait for the asset" in text for text in advice)
    for _ in range(2):
        run.call(tasks.publish)
        assert [event["rows"] for event in run.assets] == [30]


def test_a_failed_task_makes_its_run_fail(start: StartRun, send: Send) -> None:
    send(30)
    run = start()
    assert run.run() == "success"
    run.task_states = {"plan": "success", "drain_0": "failed", "drain_1": "failed"}
    with pytest.raises(AirflowFailException, match="tasks drain_0, drain_1 of this run failed"):
        run.call(tasks.report)
    assert run.report().state == "published"


@pytest.fixture
def held(start: StartRun, send: Send, monkeypatch: pytest.MonkeyPatch) -> DagRun:
    """A run whose load waits for a decision: two messages in five are refused."""
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **_: None
    )
    send(100, broken_share=0.4)
    run = start()
    with pytest.raises(TaskAwaitingInput):
        run.run()
    return run


def test_a_held_load_whose_run_was_marked_by_hand_is_reported(
    held: DagRun, start: StartRun, states: dict[tuple[str, str], str]
) -> None:
    states[held.key] = "success"
    load_id = last_load(held).load_id
    beside = start()
    assert beside.run() == "success"
    (reservation,) = beside.report().reservations
    assert (reservation.load_id, reservation.state) == (load_id, State.HELD)
    assert f"sluice release {load_id}" in str(reservation)
    assert f"sluice discard {load_id}" in str(reservation)
    release(beside.loader(), load_id, "tests", "after all")
    assert target(beside.loader())["rows"] == held.loader().write_report(load_id).sum("loaded")


def test_a_held_load_whose_task_was_marked_or_timed_out_says_where_it_stands(held: DagRun) -> None:
    load_id = last_load(held).load_id
    with pytest.raises(AirflowFailException, match="held"):
        held.call(tasks.publish)
    with pytest.raises(AirflowFailException, match="is held"):
        held.call(tasks.report)
    with pytest.raises(AirflowFailException) as raised:
        held.resume({"error": "timed out.", "error_type": "timeout"})
    assert f"sluice release {load_id}" in str(raised.value)
    assert "The load is held" in str(raised.value)


def test_a_decision_without_the_contract_is_repeated_and_not_lost(
    held: DagRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_id = last_load(held).load_id
    with monkeypatch.context() as away:
        away.setenv("SLUICE_CONTRACTS", "include.schemas")
        with pytest.raises(Exception, match=held.topic) as raised:
            held.answer("Release", why="on purpose", load=load_id)
    assert not isinstance(raised.value, AirflowFailException)  # so Airflow tries again, and asks
    assert last_load(held).state is State.HELD
    with pytest.raises(TaskAwaitingInput):
        held.decide()
    held.answer("Release", why="on purpose", load=load_id)
    held.call(tasks.publish)
    assert last_load(held).state is State.PUBLISHED


def test_the_topic_page_links_only_reports_that_exist(start: StartRun, send: Send) -> None:
    send(30)
    run = start()
    assert run.run() == "success"
    send(11)
    unfinished = start()
    unfinished.plan()
    loader = unfinished.loader()
    queries = PageQueries(loader.clickhouse, loader.ledger)
    loads = queries.loads(run.topic)
    reported = {load.load_id for load in loads if load.reported}
    assert reported == {last_load(run).load_id}
    rule = RuleRow(
        description="a rule",
        severity="warning",
        loads=1,
        failed=1,
        last_failed=last_load(unfinished).load_id,
        observed="seen",
    )
    page = render(
        "topic.html",
        folder=TEMPLATES,
        dag_of=dag_id,
        root="",
        nonce="",
        topic=run.topic,
        loads=loads,
        reported=reported,
        strips=queries.strips(run.topic),
        history=to_builtins(queries.history(run.topic, loads)),
        rules=[rule],
        entries=[(e, describe_entry(e)) for e in loader.ledger.log(run.topic).last_entries(9)],
    )
    assert "load: 30 offsets" in page
    assert f"/{last_load(run).load_id}" in page
    assert f"/{last_load(unfinished).load_id}" not in page


def test_times_before_1970_load_from_the_beginning(start: StartRun, send: Send) -> None:
    """Kafka would read the last millisecond of 1969 as the end of the topic."""
    send(30)
    run = start(what="times", **{"from": "1969-12-31T23:59:59.999Z"})
    assert run.run() == "success"
    assert run.report().sum("loaded") == 30
    loader = run.loader()
    topic = loader.broker.topic(run.topic)
    bounds = resolve_bounds(loader.broker, topic, "1969-12-31T23:59:59.999Z", None)
    assert bounds is not None
    assert {r.low for r in bounds} == {0}
