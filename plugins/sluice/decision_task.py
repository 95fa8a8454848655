"""The task in which a person decides about a held load, in Airflow's own form for that."""

from datetime import timedelta
from typing import Any

import structlog
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from sluice import on_airflow
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
        why = Param("", type="string", title="Why", description="Kept with the load.")
        why.source = "task"
        asked = {
            "subject": f"A load of topic {topic} is held back",
            "params": {"why": why},
            "response_timeout": timedelta(hours=hours) if hours else None,
        }
        super().__init__(**(kwargs | asked))  # of the DAG's own form, Airflow passes the fields
        self.topic, self.waits = topic, hours > 0

    def execute(self, context: Any) -> Any:
        """Ask, if there is something to decide."""
        loader = on_airflow.loader_of_run(self.topic)
        load_id = on_airflow.load_of_run(loader)
        load = loader.known(load_id)
        if load.state != "held":
            return None
        held = loader.ledger.events(load_id)[-1]["detail"].get("error", "")
        if not self.waits:
            raise AirflowFailException(held)
        # What the messages say stands in it, so it is shown as it is, and not as Markdown.
        indented = "\n".join(f"    {line}" for line in held.splitlines())
        self.body = (
            f"{indented}\n\nThe report of this run (tab *Load report*) has the details. *Release*"
            " publishes the load in spite of it; *Discard* gives it up, and the next load reads its"
            " offsets again. Other loads go on meanwhile."
        )
        log.warning("waits_for_a_decision", load_id=load_id)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Do what the person says; the answer, its author and the reason are kept."""
        from sluice import decisions

        loader = on_airflow.loader_of_run(self.topic)
        load = loader.planner.last()
        assert load is not None, "it was held, so it is in the ledger"
        load_id = load.load_id
        if load.state != "held":
            log.info("decided_meanwhile", load_id=load_id, state=load.state)
            return None  # publishing goes on with a released load, and refuses a discarded one
        if event.get("error_type") == "timeout":
            raise AirflowFailException(f"nobody has decided about load {load_id}")
        if "error" not in event:
            user = event["responded_by_user"] or {}
            who = user.get("name") or user.get("id") or "unknown"
            why = (event["params_input"] or {}).get("why") or "no reason given"
            decide = decisions.allow
            if event["chosen_options"] == [self.REJECT]:
                decide = decisions.discard
            on_airflow.told(lambda: decide(loader, load_id, who, why))
        return super().execute_complete(context, event)
