"""The metrics of all loads, for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from sluice.airflow.pages.access import User, may_read
from sluice.airflow.pages.database import Store
from sluice.contract import discover
from sluice.report.metrics import OPENMETRICS_TYPE, render_openmetrics

router = APIRouter()


@router.get("/metrics")
def metrics(user: User) -> Response:
    """All metrics in the OpenMetrics format, for a user who may read every topic."""
    hidden = [topic for topic in discover() if not may_read(user, topic)]
    if hidden:
        return PlainTextResponse(f"not allowed to read {', '.join(hidden)}", 403)
    store = Store()
    text = render_openmetrics(store.clickhouse, store.database)
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(text, media_type=OPENMETRICS_TYPE, headers=headers)
