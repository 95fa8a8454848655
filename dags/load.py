"""One DAG per topic: loads new messages into ClickHouse, on a schedule or when triggered."""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable

from sluice.airflow.dag_factory import (
    MAX_ACTIVE_RUNS,
    MAX_ACTIVE_TASKS,
    add_tasks,
    default_args,
)
from sluice.airflow.dag_files import contracts_to_parse
from sluice.airflow.dag_ids import dag_id
from sluice.airflow.form import load_form

for topic, contract in contracts_to_parse("load").items():
    with DAG(
        dag_id=dag_id(topic),
        description=f"Loads topic {topic} into ClickHouse table {contract.table.name}",
        doc_md=f"""
Loads all new messages of Kafka topic `{topic}` into ClickHouse table `{contract.table.name}`.
Trigger it manually to load a part of the topic. A backfill run loads the messages of its data
interval.

*plan* fixes the offsets, *drain* reads and validates them, *audit* proves that every offset is
accounted for, *publish* makes the rows visible exactly once, *report* records what happened.
You can clear any task and run it again. Owner: {contract.owner}.
""",
        schedule=(
            CronDataIntervalTimetable(contract.cron, timezone="UTC") if contract.cron else None
        ),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=MAX_ACTIVE_RUNS,
        max_active_tasks=MAX_ACTIVE_TASKS,
        params=load_form(contract),
        tags=["sluice", "load", contract.owner],
        default_args=default_args(contract),
    ):
        add_tasks(topic)
