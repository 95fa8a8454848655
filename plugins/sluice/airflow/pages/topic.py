"""One topic: charts of its loads, what is published of each partition, quality rules."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from msgspec import to_builtins

from sluice.airflow.pages.access import CAN_READ_RUNS, contract_of
from sluice.airflow.pages.database import Store
from sluice.airflow.pages.queries import CHARTED, RECENT
from sluice.airflow.pages.responses import render_page
from sluice.report.entry_text import describe_entry

router = APIRouter()


@router.get("/topic/{dag_id}", dependencies=CAN_READ_RUNS)
def topic(request: Request, dag_id: str) -> HTMLResponse:
    """The topic of a DAG."""
    name, store = contract_of(dag_id).topic, Store()
    queries = store.queries
    loads = queries.loads(name, CHARTED)
    recent = loads[:RECENT]
    return render_page(
        request,
        "topic.html",
        topic=name,
        loads=recent,
        reported={load.load_id for load in recent if load.reported},
        strips=queries.strips(name),
        history=to_builtins(queries.history(name, loads)),
        rules=queries.rules(name, [load.load_id for load in recent]),
        entries=[
            (entry, describe_entry(entry))
            for entry in reversed(store.ledger.log(name).last_entries(RECENT))
        ],
    )
