"""One DAG a topic: drain what is new into ClickHouse, hourly, or when triggered."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, task

from sluice import on_airflow
from sluice.contract import discover

for topic, contract in discover().items():
    with DAG(
        dag_id=f"load_{topic}",
        description=f"Topic {topic} into ClickHouse table {contract.table.name}",
        doc_md=f"""
Loads everything new of Kafka topic `{topic}` into ClickHouse table `{contract.table.name}`.

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
        params=on_airflow.form(contract),
        tags=["sluice", "load", contract.owner],
        default_args={
            "owner": contract.owner,
            "retries": 3,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": 2,
        },
    ):
        chunks = task(task_id="plan")(on_airflow.plan)(topic)
        drained = (
            task(task_id="drain", map_index_template="{{ label }}")(on_airflow.drain)
            .partial(topic=topic)
            .expand(chunk=chunks)
        )
        audited = task(task_id="audit", trigger_rule="none_failed")(on_airflow.audit)(topic)
        published = task(task_id="publish", trigger_rule="none_failed")(on_airflow.publish)(topic)
        reported = task(task_id="report", trigger_rule="all_done", retries=1)(on_airflow.report)(
            topic
        )
        drained >> audited >> published >> reported
