"""Where is message X? By a column's value, a correlation id, or an offset."""

from collections.abc import Mapping
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sluice.airflow.pages.access import User, may_trigger, refusal_text, visible_contracts
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.responses import CORRELATION_HEADER, render_page
from sluice.airflow.tasks import connection
from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.records import Watermarks
from sluice.report.find_message import MessageFinder
from sluice.report.found_message import GOOD, FoundMessage
from sluice.settings import Settings

router = APIRouter()

BROKER_SECONDS = 2
"""How long the page waits for the broker; without it, a page is shown that says so."""


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
        good=GOOD,
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
    finder = MessageFinder(
        contract,
        store.clickhouse,
        store.database,
        partial(_read_watermarks, contract.topic),
    )
    return finder.find(name, value, payloads)


def _read_watermarks(topic: str) -> Mapping[int, Watermarks]:
    """The topic's watermarks; asked only for an offset that no load holds."""
    from sluice.kafka.broker import Broker  # its library is needed for nothing else here

    settings = Settings().model_copy(update={"broker_seconds": BROKER_SECONDS})
    broker = Broker(connection(settings.kafka_conn_id), settings)
    return broker.watermarks(broker.topic(topic))
