"""One DAG for all topics: removes old reports, quality results and data documents."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, task

from sluice.airflow import tasks

with DAG(
    dag_id="sluice_housekeeping",
    description="Removes old reports, quality results and data documents of all topics",
    doc_md="""
Removes what is older than `SLUICE_KEEP_DAYS` (90). The records that account for offsets are
kept, and so is every refused message. You can run it at any time, and as often as you like.
""",
    schedule=CronDataIntervalTimetable("30 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["sluice", "housekeeping"],
    default_args={"owner": "sluice", "retries": 2, "retry_delay": timedelta(minutes=1)},
):
    task(task_id="clean")(tasks.clean)()
