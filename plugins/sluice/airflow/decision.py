"""The task in which a person decides about a held load, in Airflow's own form for that."""

from datetime import timedelta
from typing import Any

import structlog
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException

from sluice.airflow import tasks
from sluice.settings import Settings

log = structlog.get_logger()


class Decision(ApprovalOperator):
    """Waits, when the audit holds the load, for a person to release or to discard it.

    It uses no worker while it waits, for ``SLUICE_HOLD_HOURS`` at most; with 0 a held load fails
    its run at once. A load that is not held passes.
    """

    APPROVE = "Release"
    REJECT = "Discard"

    def __init__(self, *, topic: str, **kwargs: Any) -> None:
        hours = Settings().hold_hours
        asked = {
            "subject": f"A load of topic {topic} is held back",
            "params": _fields(""),
            "response_timeout": timedelta(hours=hours) if hours else None,
        }
        super().__init__(**(kwargs | asked))  # of the DAG's own form, Airflow passes the fields
        self.topic, self.waits = topic, hours > 0

    def execute(self, context: Any) -> Any:
        """Ask, if there is something to decide."""
        loader = tasks.loader_of_run(self.topic)
        load_id = tasks.load_of_run(loader)
        load = loader.known(load_id)
        if load.state != "held":
            return None
        held = loader.ledger.events(load_id)[-1].detail.error
        if not self.waits:
            raise AirflowFailException(held)
        # What the messages say stands in it, so it is shown as it is, and not as Markdown.
        indented = "\n".join(f"    {line}" for line in held.splitlines())
        self.body = (
            f"{indented}\n\nThe report of this run (tab *Load report*) has the details. *Release*"
            " publishes the load in spite of it; *Discard* gives it up, and the next load reads its"
            " offsets again. Other loads go on meanwhile."
        )
        self.params = _fields(load_id)
        log.warning("waits_for_a_decision", load_id=load_id)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Do what the person says; the answer, its author and the reason are kept."""
        loader = tasks.loader_of_run(self.topic)
        load_id = tasks.load_of_run(loader, also_abandoned=True)
        state = loader.known(load_id).state
        if "error" in event:
            if state == "published":
                return None
            raise AirflowFailException(f"nobody has decided about load {load_id}: {event['error']}")
        answer = event["params_input"] or {}
        # Airflow keeps the question of a task that was cleared, and its load may be another now.
        if answer.get("load", load_id) != load_id:
            raise AirflowFailException(
                f"the answer was about load {answer['load']}, and this run's load is {load_id} now:"
                " look at its report, and use 'sluice release' or 'sluice discard'"
            )
        discarded = event["chosen_options"] == [self.REJECT]
        if state == "held":
            user = event["responded_by_user"] or {}
            who = user.get("name") or user.get("id") or "unknown"
            decide = loader.discard if discarded else loader.allow
            tasks.run_step(lambda: decide(load_id, who, answer.get("why") or "no reason given"))
        elif discarded != (state == "abandoned"):
            raise AirflowFailException(f"load {load_id} is {state}: it was decided elsewhere")
        return super().execute_complete(context, event)


def _fields(load_id: str) -> ParamsDict:
    """What the form asks for. Without the source Airflow asks for the DAG's own fields, too."""
    why = Param("", type="string", title="Why", description="Kept with the load.", source="task")
    only: dict[str, Any] = {"enum": [load_id]} if load_id else {}
    about = "What this is about."
    load = Param(load_id, about, source="task", type="string", title="Load", **only)
    return ParamsDict({"why": why, "load": load})
