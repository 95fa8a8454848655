"""The report of a run or a load, and Great Expectations' document of its audit."""

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.models.dagrun import DagRun
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from sluice.airflow.dag_ids import dag_id as dag_id_of
from sluice.airflow.pages.access import CAN_READ_RUNS, contract_of
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.responses import message_page, render_page, root_path, security_headers
from sluice.airflow.tasks import owner_of_run
from sluice.audit.quality_results import QualityResults
from sluice.report.model import Report
from sluice.report.reporter import find_report, render_report
from sluice.store.load_state import Load

router = APIRouter()


@router.get("/run", response_class=HTMLResponse, dependencies=CAN_READ_RUNS)
def run(request: Request, session: SessionDep, dag_id: str, run_id: str) -> HTMLResponse:
    """The report of a DAG run: the run's tab *Load report*."""
    chosen = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    dag_run = session.scalar(chosen)
    if dag_run is None:
        return message_page("There is no such run.", 404)
    store, owner, topic = Store(), owner_of_run(dag_run), contract_of(dag_id).topic
    report = find_report(store.clickhouse, store.database, topic, owner=owner)
    if report is None:
        # Older versions recorded the run's id only, so this may be a deleted run of the same id.
        before = owner.partition("#")[0]
        earlier = find_report(store.clickhouse, store.database, topic, owner=before)
        if earlier and earlier.planned_at >= dag_run.run_after:
            report = earlier
    loads = store.ledger.loads_of(topic, owner)
    return _page(request, dag_id, report, loads[0] if loads else None)


@router.get("/load/{dag_id}/{load_id}", dependencies=CAN_READ_RUNS)
def load(request: Request, dag_id: str, load_id: str) -> HTMLResponse:
    """The report of a load."""
    store, topic = Store(), contract_of(dag_id).topic
    report = find_report(store.clickhouse, store.database, topic, load_id=load_id)
    return _page(request, dag_id, report, store.ledger.load(topic, load_id))


@router.get("/docs/{dag_id}/{load_id}", dependencies=CAN_READ_RUNS)
def document(request: Request, dag_id: str, load_id: str) -> HTMLResponse:
    """The data document of a load."""
    store, topic = Store(), contract_of(dag_id).topic
    text = QualityResults(store.clickhouse, store.database).document(load_id, topic)
    return render_page(request, "data_document.html", topic=topic, load_id=load_id, document=text)


def _page(request: Request, dag_id: str, report: Report | None, load: Load | None) -> HTMLResponse:
    """A report or, while there is none, where the load stands."""
    topic = contract_of(dag_id).topic
    if report is None or report.topic != topic:
        stands = ""
        if load and load.topic == topic:
            stands = f" Load {load.load_id} is {load.state}, since {load.last_at:%F %T} UTC."
        return message_page(
            "There is no report: the task 'report' makes it, and housekeeping removes old ones. If"
            " the task 'plan' was skipped, there was nothing new to load." + stands,
            404,
        )
    docs = f"{root_path(request)}/docs/{dag_id_of(report.topic)}/{report.load_id}"
    return HTMLResponse(render_report(report, docs), headers=security_headers())
