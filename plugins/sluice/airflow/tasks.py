"""The tasks of a topic's DAGs, one function per task.

A task finds its load in the ledger by its DAG run, so it can be cleared and repeated at any time.
XComs carry only the labels of the chunks and counts.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import structlog
from airflow.sdk import Asset, AssetAlias, BaseHook, get_current_context
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
    DagRunTriggerException,
)
from airflow.sdk.observability import stats
from pydantic import SecretStr

from sluice.contract import find
from sluice.errors import BreakerTripped, QualityHeld, SluiceError
from sluice.plan.run_owners import airflow_owner, is_process_over, parse_airflow_owner
from sluice.ranges import merge, total
from sluice.settings import Connection, Settings

if TYPE_CHECKING:
    from sluice.loader import Loader
    from sluice.plan.range_pinning import Plan
    from sluice.report.metrics import MetricValue
    from sluice.store.load_state import Load

log = structlog.get_logger()
T = TypeVar("T")

LOGGED_RANGES = 50
LOGGED_TASKS = 10


def connection(conn_id: str) -> Connection:
    """An Airflow connection as the library's own type."""
    found = BaseHook.get_connection(conn_id)
    return Connection(
        host=found.host or "",
        port=found.port,
        login=found.login or "",
        password=SecretStr(found.password or ""),
        schema=found.schema or "",
        extra=found.extra_dejson,
    )


def topic_asset(topic: str) -> Asset:
    """The asset that a load updates when it has published rows; other DAGs can depend on it."""
    return Asset(name=f"sluice_{topic}", uri=f"x-sluice://{topic}")


def topic_alias(topic: str) -> AssetAlias:
    """Through which the events of the topic's asset are sent: Airflow keeps who has sent each."""
    return AssetAlias(f"sluice {topic}")


def plan(topic: str, what: str = "") -> list[dict[str, Any]]:
    """Pin and reserve the ranges of this run; returns a label per chunk, to map over.

    A dry run only stores a report of what would be read, and returns no chunk.

    Args:
        what: what the DAG loads; empty when its form has the choice.

    Raises:
        AirflowSkipException: there is nothing new, so the other tasks are skipped too.
    """
    planned = run_step(lambda: _plan(topic, what))
    if planned is None:
        return []
    if not planned.load_id:
        raise AirflowSkipException(f"nothing new: every offset of {topic} is accounted for")
    if not planned.offsets:
        log.info("nothing_to_load", topic=topic)
    return [
        {"load_id": planned.load_id, "number": number, "label": _label(ranges)}
        for number, ranges in enumerate(planned.chunks)
    ]


def _plan(topic: str, what: str) -> "Plan | None":
    from sluice.airflow import run_request

    context: Any = get_current_context()
    loader, run = loader_of_run(topic), context["dag_run"]
    loader.ledger.create()
    request = run_request.request_of_run(loader, run, _params(context), what)
    if _is_dry():
        preview = loader.report_dry_run(request)
        ranges = [str(r) for r in preview.ranges[:LOGGED_RANGES]]
        log.info("would_read", request=preview.asked, offsets=total(preview.ranges), ranges=ranges)
        return None
    planned = loader.plan(request, again=run_request.is_replanned(loader, run))
    if planned.load_id:
        run_request.log_reservations(loader, planned.load_id)
    return planned


def drain(topic: str, chunk: dict[str, Any]) -> int:
    """Read one chunk into the staging table; returns the number of micro-batches."""
    context: Any = get_current_context()
    context["label"] = chunk["label"]
    result = run_step(lambda: loader_of_run(topic).drain(chunk["load_id"], chunk["number"]))
    return result.batches


def audit(topic: str) -> None:
    """Check the accounting identity, the breaker and the quality rules.

    A load that is held does not fail here: in the next task a person decides.
    """
    loader = loader_of_run(topic)
    load_id = load_of_run(loader)

    def run() -> None:
        try:
            loader.audit(load_id)
        except (BreakerTripped, QualityHeld) as error:
            log.error("held", load_id=load_id, error=str(error))
            loader.write_report(load_id)

    run_step(run)


def publish(topic: str) -> None:
    """Make the load visible, exactly once, and update the topic's asset."""
    loader = loader_of_run(topic)
    load = loader.known(load_of_run(loader))
    run_step(lambda: loader.publish(load.load_id))
    rows = sum(account.loaded for account in loader.ledger.attempts.accounts(topic, load.load_id))
    if not rows or (load.state == "published" and _has_asset_event(topic, load)):
        return
    context: Any = get_current_context()
    ranges = merge(load.ranges)
    offsets = [str(r) for r in ranges[:LOGGED_RANGES]]
    extra = {"load_id": load.load_id, "rows": rows, "offsets": offsets}
    context["outlet_events"][topic_alias(topic)].add(topic_asset(topic), extra=extra)


def _has_asset_event(topic: str, load: "Load") -> bool:
    """Whether Airflow has an event of the load: an earlier try of this task has sent it."""
    context: Any = get_current_context()
    events = context["inlet_events"][topic_alias(topic)].after(load.planned_at.isoformat())
    return any(event.extra.get("load_id") == load.load_id for event in events)


def report(topic: str) -> dict[str, Any]:
    """Store the run's report; fails when a task has failed or the load is not published.

    This task always runs and is the last one; a DAG run takes the state of its last task.

    Raises:
        AirflowSkipException: plan was skipped, because there was nothing new.
        DagRunTriggerException: see :func:`go_on`.
    """
    states = _task_states()
    if states.get("plan") == "skipped":
        raise AirflowSkipException("nothing new")
    failed = _failed_tasks(states)
    if _is_dry():
        if failed:
            raise AirflowFailException(
                f"the dry run has no report: {failed} failed, and its log has the reason"
            )
        return {"dry_run": True}
    loader = loader_of_run(topic)

    def run() -> dict[str, Any]:
        load_id = load_of_run(loader, also_abandoned=True)
        stored = loader.report(load_id, partial(emit_metrics, topic))
        if stored.state != "published":
            raise AirflowFailException(f"load {load_id} is {stored.state}. {stored.error}")
        if failed:
            raise AirflowFailException(
                f"load {load_id} is published, but {failed} of this run failed: read the log, and"
                " clear it"
            )
        counts = {
            "load_id": load_id,
            "loaded": stored.sum("loaded"),
            "quarantined": stored.sum("quarantined"),
        }
        if stored.survey.get("postponed"):
            go_on(load_id, counts)
        return counts

    return run_step(run)


def go_on(load_id: str, counts: Mapping[str, Any]) -> NoReturn:
    """Trigger a run of the same DAG that loads what the contract's limit has left.

    Raises:
        DagRunTriggerException: makes Airflow trigger the run, and end this task. There is one run
            after a load, however often this is done.
    """
    context: Any = get_current_context()
    run = context["dag_run"]
    context["ti"].xcom_push(key="return_value", value=dict(counts))
    log.info("going_on", load_id=load_id)
    raise DagRunTriggerException(
        trigger_dag_id=run.dag_id,
        dag_run_id=f"after__{load_id}",
        conf=dict(run.conf or {}),
        reset_dag_run=False,
        skip_when_already_exists=True,
        wait_for_completion=False,
        allowed_states=[],
        failed_states=[],
        poke_interval=60,
        deferrable=False,
    )


def _task_states() -> dict[str, str]:
    """Task → state, of this run."""
    context: Any = get_current_context()
    run = context["dag_run"]
    states = context["ti"].get_task_states(run.dag_id, run_ids=[run.run_id])
    return dict(states.get(run.run_id, {}))


def _failed_tasks(states: Mapping[str, str]) -> str:
    """The tasks that failed, in words; empty if none did."""
    failed = sorted(name for name, state in states.items() if state == "failed")
    if not failed:
        return ""
    return f"{'task' if len(failed) == 1 else 'tasks'} {', '.join(failed[:LOGGED_TASKS])}"


def clean() -> dict[str, int]:
    """Remove old reports, results and documents of all topics; returns removed rows by table."""
    from sluice.store.clickhouse import connect
    from sluice.store.ledger import Ledger
    from sluice.store.retention import Retention

    settings = Settings()

    def run() -> dict[str, int]:
        clickhouse = connect(connection(settings.clickhouse_conn_id))
        Ledger(clickhouse, settings.database).create()
        removed = Retention(clickhouse, settings.database).clean(settings.keep_days)
        return {each.table: each.rows for each in removed}

    return run_step(run)


def emit_metrics(topic: str, values: "Sequence[MetricValue]") -> None:
    """Send a load's metrics through Airflow's own, to wherever those are configured to go."""
    from sluice.report.metrics import METRICS

    for value in values:
        tags = {"topic": topic, **value.labels}
        if METRICS[value.name].kind == "counter":
            stats.incr(value.name, value.value, tags=tags)  # type: ignore[arg-type]
        else:
            stats.gauge(value.name, value.value, tags=tags)


def owner_of_run(run: Any) -> str:
    """The owner that the ledger records for the loads of a DAG run, as Airflow describes it."""
    return airflow_owner(run.dag_id, run.run_id, run.run_after)


def loader_of_run(topic: str) -> "Loader":
    """The loader of a topic for the current task's run; heavy imports happen here, in the task."""
    from sluice.loader import Loader

    settings = Settings()
    context = get_current_context()
    run = context["dag_run"]
    return Loader(
        find(topic),
        connection(settings.kafka_conn_id),
        connection(settings.clickhouse_conn_id),
        settings,
        owner_of_run(run),
        is_over,
    )


def _is_dry() -> bool:
    return _params(get_current_context()).get("dry_run") is True


def _params(context: Any) -> dict[str, Any]:
    """The filled-in form; the run's configuration counts even where Airflow is set to ignore it."""
    return {**context["params"]} | (context["dag_run"].conf or {})


def load_of_run(loader: "Loader", also_abandoned: bool = False) -> str:
    """Id of the last load of the current task's run.

    Raises:
        AirflowSkipException: it is a dry run.
        AirflowFailException: the run has no load, or its load was abandoned.
    """
    if _is_dry():
        raise AirflowSkipException("a dry run: nothing was read")
    load = loader.last()
    if load is None:
        raise AirflowFailException("this run has no load: its plan task did not succeed")
    if load.state == "abandoned" and not also_abandoned:
        raise AirflowFailException(f"load {load.load_id} of this run was abandoned")
    return load.load_id


def is_over(owner: str) -> bool | None:
    """Whether the run or process that owns a load is over; None when it cannot be determined."""
    run = parse_airflow_owner(owner)
    if run is None:
        return is_process_over(owner)
    context: Any = get_current_context()
    this = context["dag_run"]
    if run.mark and run[:2] == (this.dag_id, this.run_id) and owner != owner_of_run(this):
        return True  # deleted: there is only one run of an id
    try:
        return context["ti"].get_dagrun_state(run.dag_id, run.run_id) in ("success", "failed")
    except AirflowRuntimeError:
        return None  # the run was deleted, or belongs to another Airflow


def run_step(run: Callable[[], T]) -> T:
    """Run a step; an error for which a retry is useless fails the task at once."""
    try:
        return run()
    except SluiceError as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def _label(ranges: Sequence[Any]) -> str:
    text = ", ".join(map(str, ranges[:3]))
    return text if len(ranges) <= 3 else f"{text} and {len(ranges) - 3} more"
