"""The pages shown within Airflow's UI, under Airflow's logins and permissions."""

from html import escape

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from sluice import on_airflow, report
from sluice.clickhouse import connect
from sluice.errors import SluiceError
from sluice.settings import Settings

CAN_READ_RUNS = [Depends(requires_access_dag("GET", DagAccessEntity.RUN))]


def build_app() -> FastAPI:
    """The application mounted at ``/sluice``; each page asks Airflow who may see it."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/run", response_class=HTMLResponse, dependencies=CAN_READ_RUNS)
    def run(dag_id: str, run_id: str) -> HTMLResponse:
        settings = Settings()
        owner = on_airflow.owner_of_run(dag_id, run_id)
        try:
            clickhouse = connect(on_airflow.connection(settings.clickhouse_conn_id))
            found = report.find(clickhouse, settings.database, owner=owner)
        except SluiceError as error:
            return _message(f"The report cannot be read: {error}", 503)
        if found is None:
            return _message("This run has no report yet: it is made by the task 'report'.", 404)
        return HTMLResponse(report.page(found), headers=_HEADERS)

    return app


_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def _message(text: str, status: int) -> HTMLResponse:
    body = (
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'>"
        f"<p style='font-family:sans-serif'>{escape(text)}"
    )
    return HTMLResponse(body, status_code=status, headers=_HEADERS)
