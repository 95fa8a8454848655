"""One DAG a topic: drain what is new into ClickHouse, hourly, or when triggered."""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable

from sluice.airflow.dag_factory import RUNS_AT_ONCE, add_tasks, default_args
from sluice.airflow.form import load_form
from sluice.contract import discover

for topic, contract in discover().items():
    with DAG(
        dag_id=f"load_{topic}",
        description=f"Topic {topic} into ClickHouse table {contract.table.name}",
        doc_md=f"""
Loads everything new of Kafka topic `{topic}` into ClickHouse table `{contract.table.name}`; or,
triggered by hand, a part of the topic. A run of a backfill loads the messages of its interval.

*plan* pins the offsets, *drain* reads and validates them, *audit* proves that every offset is
accounted for, *publish* makes the rows visible exactly once, *report* tells what happened.
Any task may be cleared and run again. Owner: {contract.owner}.
""",
        schedule=(
            CronDataIntervalTimetable(contract.schedule, timezone="UTC")
            if contract.schedule
            else None
        ),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=RUNS_AT_ONCE,
        params=load_form(contract),
        tags=["sluice", "load", contract.owner],
        default_args=default_args(contract),
    ):
        add_tasks(topic)
