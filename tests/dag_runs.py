"""DAG runs whose tasks run in this process, with the context that Airflow would pass to them.

The broker and the engine are real. Airflow's scheduler is not there: its rules for a failed task
are in :meth:`DagRun.run`, and the tests in ``end_to_end`` run the same tasks under the real one.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
    DagRunTriggerException,
    ErrorType,
)
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context

from sluice.airflow import tasks
from sluice.airflow.decision import Decision
from sluice.airflow.form import load_form, replay_form
from sluice.contract import find
from sluice.loader import Loader
from sluice.report.model import Report
from sluice.report.reporter import find_report

numbers = itertools.count()


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a task reads of its DAG run."""

    dag_id: str
    run_id: str
    run_type: str
    logical_date: datetime | None
    run_after: datetime
    start_date: datetime
    conf: dict[str, Any] = {}
    clear_number: int = 0


BEFORE = {
    "plan": (),
    "drain": ("plan",),
    "audit": ("plan", "drain"),
    "decide": ("audit",),
    "publish": ("decide",),
    "report": (),  # it always runs
}
"""Task → the tasks directly before it."""


class DagRun:
    """One run of a topic's load or replay DAG.

    Args:
        states: state by run of all runs of a test, as Airflow's database has them.
        conf: the fields of the trigger form that are filled in.
    """

    def __init__(
        self,
        topic: str,
        states: dict[tuple[str, str], str],
        kind: str = "load",
        run_type: str = "manual",
        logical_date: datetime | None = None,
        run_id: str = "",
        run_after: datetime | None = None,
        **conf: Any,
    ) -> None:
        self.topic, self.states = topic, states
        self.what = "quarantined" if kind == "replay" else ""
        self.info = RunInfo(
            dag_id=f"{kind}_{topic}",
            run_id=run_id or f"{run_type}__{next(numbers)}",
            run_type=run_type,
            logical_date=logical_date,
            run_after=run_after or datetime.now(UTC),
            start_date=datetime.now(UTC),
            conf=conf,
        )
        contract = find(topic)
        params = ParamsDict(dict(replay_form(contract) if self.what else load_form(contract)))
        params.update(conf)
        self.params = params.validate()
        self.task_states: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.assets: list[dict[str, Any]] = []
        self.triggered: DagRunTriggerException | None = None
        self.xcoms: dict[str, Any] = {}
        states[self.key] = "running"

    @property
    def key(self) -> tuple[str, str]:
        return self.info.dag_id, self.info.run_id

    @property
    def owner(self) -> str:
        return tasks.owner_of_run(self.info)

    def reprocess(self) -> str:
        """Run the tasks again, as Airflow does when a backfill reprocesses the run."""
        self.info = msgspec.structs.replace(self.info, run_type="backfill")
        return self.run()

    @contextmanager
    def context(self) -> Iterator[Any]:
        """The current context of a task of this run."""
        events, instance = OutletEventAccessors(), _TaskInstance(self)
        alias = tasks.topic_alias(self.topic)
        context: Any = {
            "params": self.params,
            "dag_run": self.info,
            "ti": instance,
            "task_instance": instance,
            "outlet_events": events,
            "inlet_events": {alias: _SentEvents(self.assets)},
        }
        with set_current_context(context):
            yield context
        self.assets += [event.extra for event in events[alias].asset_alias_events]

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """Call one task of the run."""
        with self.context():
            return task(self.topic, *arguments)

    def plan(self) -> list[dict[str, Any]]:
        return list(self.call(tasks.plan, self.what))

    def drain(self, chunks: list[dict[str, Any]]) -> None:
        for chunk in chunks:
            self.call(tasks.drain, chunk)

    def decide(self) -> Any:
        """What the task ``decide`` does before a person is needed."""
        with self.context() as context:
            return Decision(task_id="decide", topic=self.topic).execute(context)

    def answer(self, option: str, **fields: str) -> Any:
        """What the task ``decide`` does when a person has filled in its form."""
        event = {
            "chosen_options": [option],
            "params_input": fields,
            "responded_by_user": {"id": "1", "name": "admin"},
            "responded_at": datetime.now(UTC),
        }
        return self.resume(event)

    def resume(self, event: dict[str, Any]) -> Any:
        """What the task ``decide`` does when Airflow resumes it."""
        with self.context() as context:
            return Decision(task_id="decide", topic=self.topic).execute_complete(context, event)

    def run(self) -> str:
        """Run all tasks; returns the state of the run, which is that of its last task.

        After a failed task the others do not run, except the report. A task is skipped if all tasks
        directly before it were.
        """
        chunks: list[dict[str, Any]] = []
        steps: dict[str, Callable[[], Any]] = {
            "plan": lambda: chunks.extend(self.plan()),
            "drain": lambda: self.drain(chunks),
            "audit": lambda: self.call(tasks.audit),
            "decide": self.decide,
            "publish": lambda: self.call(tasks.publish),
            "report": lambda: self.call(tasks.report),
        }
        self.task_states, self.errors = {}, {}
        for name, step in steps.items():
            if name != "report" and "failed" in self.task_states.values():
                self.task_states[name] = "upstream_failed"
                continue
            if {self.task_states[task] for task in BEFORE[name]} == {"skipped"}:
                self.task_states[name] = "skipped"
                continue
            try:
                step()
                self.task_states[name] = "success"
            except AirflowSkipException:
                self.task_states[name] = "skipped"
            except DagRunTriggerException as trigger:
                self.task_states[name], self.triggered = "success", trigger
            except AirflowFailException as error:
                self.task_states[name], self.errors[name] = "failed", str(error)
        self.states[self.key] = "failed" if self.task_states["report"] == "failed" else "success"
        return self.states[self.key]

    def loader(self) -> Loader:
        """The loader that the run's tasks use."""
        with self.context():
            return tasks.loader_of_run(self.topic)

    def report(self) -> Report:
        """The run's report, as its last task or its dry run has stored it."""
        loader = self.loader()
        report = find_report(
            loader.clickhouse, loader.ledger.database, loader.contract.topic, owner=self.owner
        )
        assert report is not None
        return report


class _TaskInstance:
    """What a task asks of its own instance."""

    def __init__(self, run: DagRun) -> None:
        self._run, self.id, self.try_number = run, uuid.uuid4(), 1

    def xcom_push(self, key: str, value: Any) -> None:
        self._run.xcoms[key] = value

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        if (dag_id, run_id) not in self._run.states:
            not_found = ErrorResponse(error=ErrorType.GENERIC_ERROR)
            raise AirflowRuntimeError(not_found)
        return self._run.states[dag_id, run_id]

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        assert (dag_id, run_ids) == (self._run.info.dag_id, [self._run.info.run_id])
        return {run_ids[0]: self._run.task_states}


class _SentEvents:
    """The asset events that Airflow has received from a run."""

    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self._sent = sent

    def after(self, at: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(extra=extra) for extra in self._sent]
