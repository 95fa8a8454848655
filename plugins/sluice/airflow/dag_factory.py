"""The tasks of a topic's DAGs, and their order."""

from datetime import timedelta
from typing import Any

from airflow.sdk import task

from sluice.airflow import tasks
from sluice.airflow.decision import Decision
from sluice.contract import Contract
from sluice.settings import Settings

MAX_ACTIVE_RUNS = 200
"""Active runs of a DAG: held ones wait for a day, and others must continue."""

UNLESS_SKIPPED = "none_failed_min_one_success"
"""Runs a task if no task before it has failed, and not all of them were skipped."""

MAX_ACTIVE_TASKS = 16
"""Tasks of a DAG that run at once, so that the chunks of one large load leave room for others."""


def default_args(contract: Contract) -> dict[str, Any]:
    """Arguments that the tasks of a topic's DAGs share."""
    return {
        "owner": contract.owner,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2,
    }


def add_tasks(topic: str, what: str = "") -> None:
    """Add the tasks of a load, within the ``with`` of a DAG.

    plan → drain (one per chunk) → audit → decide (waits only for held loads) → publish → report

    If plan is skipped because there is nothing new, all others are. If there is no chunk to drain,
    the others run.

    Args:
        what: what the DAG loads; empty when its form has the choice.
    """
    name = Settings().pool
    pool: dict[str, Any] = {"pool": name} if name else {}
    chunks = task(task_id="plan")(tasks.plan)(topic, what)
    drained = (
        task(task_id="drain", map_index_template="{{ label }}", **pool)(tasks.drain)
        .partial(topic=topic)
        .expand(chunk=chunks)
    )
    audited = task(task_id="audit", trigger_rule=UNLESS_SKIPPED)(tasks.audit)(topic)
    decided = Decision(task_id="decide", topic=topic, trigger_rule=UNLESS_SKIPPED)
    alias = tasks.topic_alias(topic)
    # The inlet lets the task read which events it has sent before.
    published = task(
        task_id="publish", trigger_rule=UNLESS_SKIPPED, inlets=[alias], outlets=[alias], **pool
    )(tasks.publish)(topic)
    reported = task(task_id="report", trigger_rule="all_done", retries=1)(tasks.report)(topic)
    chunks >> audited
    drained >> audited >> decided >> published >> reported
