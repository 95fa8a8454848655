"""The report of a run or a load, and Great Expectations' document of its audit."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sluice.airflow.pages.access import CAN_READ_RUNS, contract_of
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.responses import message_page, render_page, root_path, security_headers
from sluice.airflow.tasks import owner_of_run
from sluice.audit.quality_results import QualityResults
from sluice.report.reporter import find_report, render_report

router = APIRouter()


@router.get("/run", response_class=HTMLResponse, dependencies=CAN_READ_RUNS)
def run(request: Request, dag_id: str, run_id: str) -> HTMLResponse:
    """The report of a DAG run: the run's tab *Load report*."""
    return _report(request, dag_id, owner=owner_of_run(dag_id, run_id))


@router.get("/load/{dag_id}/{load_id}", dependencies=CAN_READ_RUNS)
def load(request: Request, dag_id: str, load_id: str) -> HTMLResponse:
    """The report of a load."""
    return _report(request, dag_id, load_id=load_id)


@router.get("/docs/{dag_id}/{load_id}", dependencies=CAN_READ_RUNS)
def document(request: Request, dag_id: str, load_id: str) -> HTMLResponse:
    """The data document of a load."""
    store, topic = Store(), contract_of(dag_id).topic
    text = QualityResults(store.clickhouse, store.database).document(load_id, topic)
    return render_page(request, "data_document.html", topic=topic, load_id=load_id, document=text)


def _report(request: Request, dag_id: str, **which: str) -> HTMLResponse:
    store = Store()
    report = find_report(store.clickhouse, store.database, **which)
    if report is None or report.topic != contract_of(dag_id).topic:
        return message_page(
            "There is no report: the task 'report' makes it, and housekeeping removes old ones.",
            404,
        )
    docs = f"{root_path(request)}/docs/load_{report.topic}/{report.load_id}"
    return HTMLResponse(render_report(report, docs), headers=security_headers())
