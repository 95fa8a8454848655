"""The task in which a person decides about a held load, with Airflow's own approval form."""

from datetime import timedelta
from typing import Any

import structlog
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException

from sluice.airflow import tasks
from sluice.settings import Settings
from sluice.store.load_state import State

log = structlog.get_logger()


class Decision(ApprovalOperator):
    """Waits, when the audit holds the load, until a person releases or discards it.

    It uses no worker while it waits, for ``SLUICE_HOLD_HOURS`` at most; with 0 a held load fails
    its run at once. A load that is not held passes.
    """

    APPROVE = "Release"
    REJECT = "Discard"

    def __init__(self, *, topic: str, **kwargs: Any) -> None:
        hours = Settings().hold_hours
        form = {
            "subject": f"A load of topic {topic} is held",
            "params": _fields(""),
            "response_timeout": timedelta(hours=hours) if hours else None,
        }
        super().__init__(**(kwargs | form))  # Airflow would pass the fields of the DAG's own form
        self.topic, self.waits = topic, hours > 0

    def execute(self, context: Any) -> Any:
        """Request a decision, if there is something to decide."""
        loader = tasks.loader_of_run(self.topic)
        load_id = tasks.load_of_run(loader)
        if loader.known(load_id).state is not State.HELD:
            return None
        held = loader.ledger.events(self.topic, load_id)[-1]
        if not self.waits:
            raise AirflowFailException(held.detail.error)
        # The text repeats contents of messages, so it is shown verbatim, and not as Markdown.
        verbatim = "\n".join(f"    {line}" for line in held.detail.error.splitlines())
        hours = (self.response_timeout or timedelta()) / timedelta(hours=1)
        self.body = (
            f"{verbatim}\n\nThe report of this run (tab *Load report*) has the details. *Release*"
            " publishes the load in spite of it. *Discard* gives it up, and the next load reads its"
            " offsets again. Other loads continue meanwhile.\n\nAn answer is carried out while this"
            f" task waits: for {hours:g} hours, unless somebody ends the task or the run by hand."
            f" After that, use `sluice release {load_id}` or `sluice discard {load_id}`. If this"
            " form appears again after an answer, that answer was not carried out: answer again."
        )
        self.params = _fields(load_id, unchecked=len(loader.auditor.unchecked(load_id)))
        log.warning("waits_for_a_decision", load_id=load_id)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Carry out the decision; who decided and why are recorded."""
        from sluice import decisions  # imports the loader, which is heavy

        loader = tasks.loader_of_run(self.topic)
        load_id = tasks.load_of_run(loader, also_abandoned=True)
        state = loader.known(load_id).state
        if "error" in event:
            if state is State.PUBLISHED:
                return None
            raise AirflowFailException(
                f"no one decided about load {load_id}: {event['error']} The load is {state}."
                f" 'sluice release {load_id}' or 'sluice discard {load_id}' decides now, and so"
                " does clearing this task; the next plan of the topic abandons the load"
            )
        form = event["params_input"] or {}
        # Airflow keeps the form of a task that was cleared, and its load may be another one now.
        if form.get("load", load_id) != load_id:
            raise AirflowFailException(
                f"the decision was about load {form['load']}, and this run's load is {load_id} now:"
                " read its report, and use 'sluice release' or 'sluice discard'"
            )
        discarded = event["chosen_options"] == [self.REJECT]
        if state is State.HELD:
            user = event["responded_by_user"] or {}
            who = user.get("name") or user.get("id") or "unknown"
            why = form.get("why") or "no reason given"
            if discarded:
                tasks.run_step(lambda: decisions.discard(loader, load_id, who, why))
            else:
                unchecked = form.get("unchecked") is True
                tasks.run_step(lambda: decisions.allow(loader, load_id, who, why, unchecked))
        elif discarded != (state is State.ABANDONED):
            raise AirflowFailException(f"load {load_id} is {state}: it was decided elsewhere")
        return super().execute_complete(context, event)


def _fields(load_id: str, unchecked: int = 0) -> ParamsDict:
    """The fields of the form. Without ``source`` Airflow adds those of the DAG's own form.

    Args:
        unchecked: number of critical rules that could not be checked; a release accepts them.
    """
    why = Param(
        "", type="string", title="Why", description="Recorded with the load.", source="task"
    )
    only: dict[str, Any] = {"enum": [load_id]} if load_id else {}
    about = "The load that you decide about."
    load = Param(load_id, about, source="task", type="string", title="Load", **only)
    fields = {"why": why, "load": load}
    if unchecked:
        fields["unchecked"] = Param(
            False,
            f"{unchecked} critical rules could not be checked. Without this, the load is not"
            " released.",
            source="task",
            type="boolean",
            title="Publish rows that these rules have not seen",
        )
    return ParamsDict(fields)
