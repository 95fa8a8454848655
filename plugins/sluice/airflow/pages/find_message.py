"""Where is message X? By a column's value, a correlation id, or an offset."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sluice.airflow.pages.access import User, may_trigger, refusal_text, visible_contracts
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.responses import CORRELATION_HEADER, render_page
from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.report.find_message import FoundMessage, MessageFinder

router = APIRouter()


@router.get("/where")
def where(request: Request, user: User, topic: str = "", question: str = "") -> HTMLResponse:
    """Search a topic for messages."""
    contracts = visible_contracts(user)
    problem, messages = "", []
    if question and topic in contracts:
        try:
            messages = _find(contracts[topic], question, payloads=may_trigger(user, topic))
        except PlanError as error:
            problem = str(error)
    response = render_page(
        request,
        "find_message.html",
        topics=list(contracts),
        topic=topic,
        question=question,
        messages=messages,
        problem=problem,
        refusal_text=refusal_text(user, contracts[topic]) if topic in contracts else str,
    )
    if ids := {m.correlation_id for m in messages if m.correlation_id.isprintable()} - {""}:
        header = min(ids).encode("ascii", "replace").decode()[:200]
        response.headers[CORRELATION_HEADER] = header
    return response


def _find(contract: Contract, question: str, payloads: bool) -> list[FoundMessage]:
    name, _, value = (part.strip() for part in question.partition("="))
    if not name or not value:
        raise PlanError("write a name and a value, such as order_id=o-17")
    store = Store()
    return MessageFinder(contract, store.clickhouse, store.database).find(name, value, payloads)
