"""The tasks of a topic's DAGs, and how they hang together."""

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetAlias, task

from sluice.airflow import tasks
from sluice.airflow.decision import Decision
from sluice.contract import Contract

RUNS_AT_ONCE = 200
"""Runs of a DAG that may be under way: held ones wait for a day, and others must go on."""


def default_args(contract: Contract) -> dict[str, Any]:
    """What the tasks of a topic's DAGs have in common."""
    return {
        "owner": contract.owner,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2,
    }


def add_tasks(topic: str, what: str = "") -> None:
    """The tasks of a DAG, within its ``with``: those of a load, and a person's decision.

    plan, drain (one a chunk), audit, decide (only when the load is held), publish, report.

    Args:
        what: what the DAG loads; empty when its form asks.
    """
    chunks = task(task_id="plan")(tasks.plan)(topic, what)
    drained = (
        task(task_id="drain", map_index_template="{{ label }}")(tasks.drain)
        .partial(topic=topic)
        .expand(chunk=chunks)
    )
    audited = task(task_id="audit", trigger_rule="none_failed")(tasks.audit)(topic)
    decided = Decision(task_id="decide", topic=topic, trigger_rule="none_failed")
    published = task(
        task_id="publish", trigger_rule="none_failed", outlets=[AssetAlias(f"sluice {topic}")]
    )(tasks.publish)(topic)
    reported = task(task_id="report", trigger_rule="all_done", retries=1)(tasks.report)(topic)
    drained >> audited >> decided >> published >> reported
