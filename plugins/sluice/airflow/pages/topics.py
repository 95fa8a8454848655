"""All topics: lag, quarantine and the last loads of each."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sluice.airflow.pages.access import User, visible_contracts
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.overview import WIDTH, Overview
from sluice.airflow.pages.responses import render_page

router = APIRouter()


@router.get("/")
def topics(request: Request, user: User) -> HTMLResponse:
    """The topics that the user may see."""
    tables = {topic: c.table.name for topic, c in visible_contracts(user).items()}
    store = Store()
    rows = Overview(store.clickhouse, store.database).rows(tables)
    return render_page(request, "topics.html", topics=rows, width=WIDTH)
