"""The application that serves the pages within Airflow's UI; one module per page."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from sluice.airflow.pages import (
    find_message,
    load_report,
    metrics,
    quarantine,
    schemas,
    topic,
    topics,
)
from sluice.airflow.pages.responses import add_correlation_ids, add_error_pages

STATIC = Path(__file__).parent / "static"
"""The chart library (uPlot, with its licence) and the script that uses it."""


def build_app() -> FastAPI:
    """The application mounted at ``/sluice``; each page checks Airflow's permissions."""
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    add_error_pages(app)
    add_correlation_ids(app)
    for page in (topics, topic, load_report, schemas, quarantine, find_message, metrics):
        app.include_router(page.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
