"""The tasks of a topic's DAGs, one function per task.

A task finds its load in the ledger by its DAG run, so it can be cleared and repeated at any time.
XComs carry only the labels of the chunks and counts.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from airflow.sdk import Asset, AssetAlias, BaseHook, get_current_context
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
)
from airflow.sdk.observability import stats
from pydantic import SecretStr

from sluice.contract import find
from sluice.errors import BreakerTripped, QualityHeld, SluiceError
from sluice.ranges import merge, total
from sluice.settings import Connection, Settings

if TYPE_CHECKING:
    from sluice.loader import Loader
    from sluice.plan.range_pinning import Plan
    from sluice.report.metrics import MetricValue

log = structlog.get_logger()
T = TypeVar("T")

LOGGED_RANGES = 50


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


def plan(topic: str, what: str = "") -> list[dict[str, Any]]:
    """Pin and reserve the ranges of this run; returns a label per chunk, to map over.

    A dry run only stores a report of what would be read, and returns no chunk.

    Args:
        what: what the DAG loads; empty when its form has the choice.
    """
    planned = run_step(lambda: _plan(topic, what))
    if planned is None:
        return []
    if not planned.offsets:
        log.info("nothing_to_load", topic=topic)
    return [
        {"load_id": planned.load_id, "number": number, "label": _label(ranges)}
        for number, ranges in enumerate(planned.chunks)
    ]


def _plan(topic: str, what: str) -> "Plan | None":
    from sluice.airflow.form_request import parse_request

    context: Any = get_current_context()
    params = {**context["params"]} | ({"what": what} if what else {})
    loader, run = loader_of_run(topic), context["dag_run"]
    is_backfill = run.run_type == "backfill"
    if is_backfill:
        from sluice.airflow.backfill_interval import interval_params

        loader.ledger.create()
        loads = loader.ledger.loads_of(topic, loader.owner)
        loaded = any(load.state == "published" for load in loads)
        params = interval_params(params, loader.contract, run.logical_date, loaded)
    request = parse_request(topic, params)
    if params.get("dry_run"):
        preview = loader.report_dry_run(request)
        ranges = [str(r) for r in preview.ranges[:LOGGED_RANGES]]
        log.info("would_read", request=preview.asked, offsets=total(preview.ranges), ranges=ranges)
        return None
    return loader.plan(request, again=is_backfill)


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
    load_id = load_of_run(loader)
    run_step(lambda: loader.publish(load_id))
    rows = sum(account.loaded for account in loader.ledger.attempts.accounts(load_id))
    if rows:
        context: Any = get_current_context()
        ranges = merge(r for part in loader.ledger.chunks(load_id).values() for r in part)
        offsets = [str(r) for r in ranges[:LOGGED_RANGES]]
        extra = {"load_id": load_id, "rows": rows, "offsets": offsets}
        alias = AssetAlias(f"sluice {topic}")
        context["outlet_events"][alias].add(topic_asset(topic), extra=extra)


def report(topic: str) -> dict[str, Any]:
    """Store the run's report; fails when the load is not published, so that the run shows it.

    This task always runs and is the last one; a DAG run takes the state of its last task.
    """
    if _is_dry():
        return {"dry_run": True}
    loader = loader_of_run(topic)

    def run() -> dict[str, Any]:
        load_id = load_of_run(loader, also_abandoned=True)
        stored = loader.report(load_id, partial(emit_metrics, topic))
        if stored.state != "published":
            raise AirflowFailException(f"load {load_id} is {stored.state}. {stored.error}")
        return {
            "load_id": load_id,
            "loaded": stored.sum("loaded"),
            "quarantined": stored.sum("quarantined"),
        }

    return run_step(run)


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


def owner_of_run(dag_id: str, run_id: str) -> str:
    """The owner that the ledger records for the loads of a DAG run."""
    return f"airflow/{dag_id}/{run_id}"


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
        owner_of_run(run.dag_id, run.run_id),
        is_over,
    )


def _is_dry() -> bool:
    context: Any = get_current_context()
    return bool(context["params"].get("dry_run"))


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
    kind, _, rest = owner.partition("/")
    if kind == "airflow":
        dag_id, _, run_id = rest.partition("/")
        ti: Any = get_current_context()["ti"]
        try:
            return ti.get_dagrun_state(dag_id, run_id) in ("success", "failed")
        except AirflowRuntimeError:
            return None  # the run was deleted, or belongs to another Airflow
    from sluice.plan.run_owners import is_process_over

    return is_process_over(owner)


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
