"""One DAG per topic: validates messages in quarantine again, under the current contract."""

from datetime import UTC, datetime

from airflow.sdk import DAG

from sluice.airflow.dag_factory import (
    MAX_ACTIVE_RUNS,
    MAX_ACTIVE_TASKS,
    add_tasks,
    default_args,
)
from sluice.airflow.dag_files import contracts_to_parse
from sluice.airflow.dag_ids import dag_id
from sluice.airflow.form import replay_form

for topic, contract in contracts_to_parse("replay").items():
    with DAG(
        dag_id=dag_id(topic, "replay"),
        description=f"Validates refused messages of topic {topic} again",
        doc_md=f"""
Reads refused messages of topic `{topic}` from quarantine, unchanged, and validates them under the
current contract. A message that passes is loaded into `{contract.table.name}` with its original
offset; a message that fails stays in quarantine. Repeating a replay is harmless.
Owner: {contract.owner}.
""",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=MAX_ACTIVE_RUNS,
        max_active_tasks=MAX_ACTIVE_TASKS,
        params=replay_form(contract),
        tags=["sluice", "replay", contract.owner],
        default_args=default_args(contract),
    ):
        add_tasks(topic, what="quarantined")
