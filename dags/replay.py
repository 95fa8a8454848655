"""One DAG a topic: validate messages in quarantine again, under today's contract."""

from datetime import UTC, datetime

from airflow.sdk import DAG

from sluice.airflow.dag_factory import RUNS_AT_ONCE, add_tasks, default_args
from sluice.airflow.form import replay_form
from sluice.contract import discover

for topic, contract in discover().items():
    with DAG(
        dag_id=f"replay_{topic}",
        description=f"Refused messages of topic {topic}, validated again",
        doc_md=f"""
Reads refused messages of topic `{topic}` out of quarantine, as they came, and validates them under
today's contract. What passes becomes rows of `{contract.table.name}` with its original offset; what
fails stays in quarantine. Replaying twice is harmless. Owner: {contract.owner}.
""",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=RUNS_AT_ONCE,
        params=replay_form(contract),
        tags=["sluice", "replay", contract.owner],
        default_args=default_args(contract),
    ):
        add_tasks(topic, what="quarantined")
