"""Refused messages of a topic, with the button that replays them."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sluice.airflow.pages.access import (
    CAN_READ_RUNS,
    User,
    contract_of,
    may_trigger,
    refusal_text,
)
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.responses import render_page
from sluice.store.quarantine import Quarantine
from sluice.store.request import RefusalFilter

MESSAGES = 100
"""Messages on one page."""

router = APIRouter()


@router.get("/quarantine/{dag_id}", dependencies=CAN_READ_RUNS)
def quarantine(
    request: Request,
    user: User,
    dag_id: str,
    status: str = "quarantined",
    reason: str = "",
    field: str = "",
    version: str = "",
    load_id: str = "",
) -> HTMLResponse:
    """Refused messages of a topic by reason, and the first of them whole."""
    contract, store = contract_of(dag_id), Store()
    chosen = RefusalFilter(
        topic=contract.topic,
        status=status,
        reason=reason,
        field=field,
        version=version,
        load_id=load_id,
    )
    conf = {"reason": reason, "field": field, "version": version, "load": load_id}
    refused = Quarantine(store.clickhouse, store.database)
    return render_page(
        request,
        "quarantine.html",
        topic=contract.topic,
        filter=chosen,
        groups=refused.groups(chosen),
        messages=list(refused.messages(chosen, MESSAGES)),
        most=MESSAGES,
        may_replay=may_trigger(user, contract.topic),
        refusal_text=refusal_text(user, contract),
        conf={name: value for name, value in conf.items() if value},
    )
