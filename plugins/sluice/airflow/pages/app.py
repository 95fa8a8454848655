"""The pages shown within Airflow's UI, under Airflow's logins and permissions.

Who may read the runs of a topic's load DAG sees the topic; payloads of messages are for those who
may trigger it.
"""

import secrets
import uuid
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from msgspec import to_builtins

from sluice.airflow import tasks
from sluice.airflow.page_queries import CHARTED, RECENT, PageQueries
from sluice.audit.quality_results import QualityResults
from sluice.authoring import catalogue
from sluice.authoring.version_samples import samples_folder
from sluice.contract import Contract, discover
from sluice.contract.masking import mask
from sluice.errors import PlanError, SluiceError
from sluice.report import reporter
from sluice.report.find_message import FoundMessage, MessageFinder
from sluice.report.html import STATIC, markdown, render
from sluice.report.metrics import render_openmetrics
from sluice.settings import Settings
from sluice.store.clickhouse import connect
from sluice.store.ledger import Ledger
from sluice.store.quarantine import Quarantine
from sluice.store.request import RefusalFilter

CAN_READ_RUNS = [Depends(requires_access_dag("GET", DagAccessEntity.RUN))]
User = Annotated[BaseUser, Depends(get_user)]
CORRELATION_HEADER = "X-Correlation-ID"
MESSAGES = 100
"""Messages of the quarantine on one page."""


class Store:
    """One request's view of the Sluice database."""

    def __init__(self) -> None:
        settings = Settings()
        self.clickhouse = connect(tasks.connection(settings.clickhouse_conn_id))
        self.ledger = Ledger(self.clickhouse, settings.database)
        self.data = PageQueries(self.clickhouse, self.ledger)


def build_app() -> FastAPI:
    """The application mounted at ``/sluice``; each page asks Airflow who may see it."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)

    _prepare(app)

    @app.get("/run", response_class=HTMLResponse, dependencies=CAN_READ_RUNS)
    def run(request: Request, dag_id: str, run_id: str) -> HTMLResponse:
        return _report(request, dag_id, owner=tasks.owner_of_run(dag_id, run_id))

    @app.get("/load/{dag_id}/{load_id}", dependencies=CAN_READ_RUNS)
    def load(request: Request, dag_id: str, load_id: str) -> HTMLResponse:
        return _report(request, dag_id, load_id=load_id)

    @app.get("/")
    def topics(request: Request, user: User) -> HTMLResponse:
        seen = {topic: c.table.name for topic, c in discover().items() if _may(user, "GET", topic)}
        return _page(request, "topics.html", topics=Store().data.topics(seen))

    @app.get("/topic/{dag_id}", dependencies=CAN_READ_RUNS)
    def topic(request: Request, dag_id: str) -> HTMLResponse:
        name, data = _contract(dag_id).topic, Store().data
        loads = data.loads([name], CHARTED)
        recent = loads[:RECENT]
        return _page(
            request,
            "topic.html",
            topic=name,
            loads=recent,
            strips=data.strips(name),
            history=to_builtins(data.history(name, loads)),
            rules=data.rules(name, [load.load_id for load in recent]),
        )

    @app.get("/docs/{dag_id}/{load_id}", dependencies=CAN_READ_RUNS)
    def docs(request: Request, dag_id: str, load_id: str) -> HTMLResponse:
        store, name = Store(), _contract(dag_id).topic
        document = QualityResults(store.clickhouse, store.ledger.database).document(load_id, name)
        return _page(request, "docs.html", topic=name, load_id=load_id, document=document)

    @app.get("/schemas")
    def schemas(request: Request, user: User) -> HTMLResponse:
        seen = [c for topic, c in discover().items() if _may(user, "GET", topic)]
        return _page(request, "schemas.html", contracts=seen, topic="", text="")

    @app.get("/schemas/{dag_id}", dependencies=CAN_READ_RUNS)
    def schema(request: Request, dag_id: str) -> HTMLResponse:
        found = _contract(dag_id)
        text = markdown(catalogue.page(found, samples_folder()))
        return _page(request, "schemas.html", contracts=[], topic=found.topic, text=text)

    @app.get("/quarantine/{dag_id}", dependencies=CAN_READ_RUNS)
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
        name, store = _contract(dag_id).topic, Store()
        narrowed = {"reason": reason, "field": field, "version": version}
        wanted = RefusalFilter(topic=name, status=status, load_id=load_id, **narrowed)  # type: ignore[arg-type]
        refused = Quarantine(store.clickhouse, store.ledger.database)
        return _page(
            request,
            "quarantine.html",
            topic=name,
            wanted=wanted,
            kinds=refused.kinds(wanted),
            messages=list(refused.messages(wanted, MESSAGES)),
            most=MESSAGES,
            may_replay=_may(user, "POST", name),
            said=_said(user, _contract(dag_id)),
            conf={k: v for k, v in (narrowed | {"load": load_id}).items() if v},
        )

    @app.get("/where")
    def where(request: Request, user: User, topic: str = "", question: str = "") -> HTMLResponse:
        seen = {name: c for name, c in discover().items() if _may(user, "GET", name)}
        problem, places = "", []
        if question and topic in seen:
            name, _, value = question.partition("=")
            try:
                payloads = _may(user, "POST", topic)
                places = _find(seen[topic], name.strip(), value.strip(), payloads)
            except PlanError as error:
                problem = str(error)
        answer = _page(
            request,
            "where.html",
            topics=list(seen),
            topic=topic,
            question=question,
            places=places,
            problem=problem,
            said=_said(user, seen[topic]) if topic in seen else str,
        )
        if ids := {p.correlation_id for p in places if p.correlation_id.isprintable()} - {""}:
            answer.headers[CORRELATION_HEADER] = min(ids).encode("ascii", "replace").decode()[:200]
        return answer

    @app.get("/metrics")
    def metrics(user: User) -> Response:
        hidden = [topic for topic in discover() if not _may(user, "GET", topic)]
        if hidden:
            return PlainTextResponse(f"not allowed to read {', '.join(hidden)}", 403)
        store = Store()
        text = render_openmetrics(store.clickhouse, store.ledger.database)
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return Response(text, media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    return app


def _prepare(app: FastAPI) -> None:
    """What all pages have in common."""

    @app.exception_handler(SluiceError)
    def told(request: Request, error: SluiceError) -> HTMLResponse:
        status = 404 if isinstance(error, PlanError) else 503
        return _message(f"This cannot be shown: {error}", status)

    @app.middleware("http")
    async def correlate(request: Request, call_next: Callable[[Request], Any]) -> Response:
        """Every answer has a correlation id: of the message it is about, or the request's."""
        answer: Response = await call_next(request)
        asked = request.headers.get(CORRELATION_HEADER, "")
        given = asked if asked.isascii() and asked.isprintable() and len(asked) <= 200 else ""
        answer.headers.setdefault(CORRELATION_HEADER, given or str(uuid.uuid4()))
        return answer

    # The chart library and what draws with it; the same for everybody.
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _may(user: BaseUser, method: Any, topic: str) -> bool:
    """Whether Airflow lets a user read, or start, runs of a topic's load DAG."""
    return get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=f"load_{topic}"),
        user=user,
    )


def _said(user: BaseUser, contract: Contract) -> Callable[[str, str, str], str]:
    """Gives what was said of a refused message, as far as a user may see it."""
    if _may(user, "POST", contract.topic):
        return lambda reason, field, message: message
    return partial(mask, contract)


def _contract(dag_id: str) -> Contract:
    kind, _, topic = dag_id.partition("_")
    found = discover().get(topic)
    if found is None or kind not in ("load", "replay"):
        raise PlanError(f"{dag_id!r} is no DAG of a topic")
    return found


def _find(contract: Contract, name: str, value: str, payloads: bool) -> list[FoundMessage]:
    if not name or not value:
        raise PlanError("ask with a name and a value, such as order_id=o-17")
    store = Store()
    return MessageFinder(contract, store.clickhouse, store.ledger.database).find(
        name, value, payloads
    )


def _report(request: Request, dag_id: str, **which: str) -> HTMLResponse:
    store = Store()
    found = reporter.find_report(store.clickhouse, store.ledger.database, **which)
    if found is None or found.topic != _contract(dag_id).topic:
        return _message(
            "There is no report: the task 'report' makes it, and housekeeping removes old ones.",
            404,
        )
    docs = f"{_root(request)}/docs/load_{found.topic}/{found.load_id}"
    return HTMLResponse(reporter.render_report(found, docs), headers=_headers())


def _root(request: Request) -> str:
    """Where the pages are mounted."""
    return str(request.scope.get("root_path", ""))


def _page(request: Request, template: str, **values: Any) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    root = _root(request)
    values |= {"root": root, "api": f"{root.removesuffix('/sluice')}/api/v2", "nonce": nonce}
    return HTMLResponse(render(template, **values), headers=_headers(nonce))


def _headers(nonce: str = "") -> dict[str, str]:
    """Nothing is loaded from elsewhere, and of scripts only the page's own runs."""
    own = f"; style-src 'unsafe-inline' 'self'; script-src 'nonce-{nonce}'; connect-src 'self'"
    allowed = own if nonce else "; style-src 'unsafe-inline'"
    return {
        "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none';"
        f" frame-ancestors 'self'{allowed}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def _message(text: str, status: int) -> HTMLResponse:
    body = (
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'>"
        f"<p style='font-family:sans-serif'>{escape(text)}"
    )
    return HTMLResponse(body, status_code=status, headers=_headers())
