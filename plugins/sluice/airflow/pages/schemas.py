"""The schema catalogue."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sluice.airflow.pages.access import CAN_READ_RUNS, User, contract_of, visible_contracts
from sluice.airflow.pages.responses import markdown, render_page
from sluice.authoring import catalogue
from sluice.authoring.version_samples import samples_folder

router = APIRouter()


@router.get("/schemas")
def schemas(request: Request, user: User) -> HTMLResponse:
    """The schemas of the topics that the user may see."""
    contracts = list(visible_contracts(user).values())
    return render_page(request, "schemas.html", contracts=contracts, topic="", text="")


@router.get("/schemas/{dag_id}", dependencies=CAN_READ_RUNS)
def schema(request: Request, dag_id: str) -> HTMLResponse:
    """The schema of one topic."""
    contract = contract_of(dag_id)
    text = markdown(catalogue.page(contract, samples_folder()))
    return render_page(request, "schemas.html", contracts=[], topic=contract.topic, text=text)
