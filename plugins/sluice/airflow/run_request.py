"""What a run is to load: its configuration as a request, checked; and what it cannot load."""

from collections.abc import Mapping
from typing import Any

import structlog

from sluice.airflow.backfill_interval import interval_params
from sluice.airflow.form_request import parse_request
from sluice.airflow.run_conf import check_conf
from sluice.loader import Loader
from sluice.plan.reservations import find_reservations
from sluice.store.load_state import State
from sluice.store.request import Request

log = structlog.get_logger()


def request_of_run(loader: Loader, run: Any, params: Mapping[str, Any], what: str) -> Request:
    """The request of a run's configuration or, in an Airflow backfill, of its interval.

    Args:
        run: the DAG run as Airflow describes it to a task.
        params: the filled-in form.
        what: what the DAG loads; empty when its form has the choice.

    Raises:
        PlanError: the configuration names an unknown field, or cannot be read.
        LoadLost: it names a load that does not exist.
    """
    topic = loader.contract.topic
    check_conf(loader.contract, run.conf or {}, what)
    params = {**params} | ({"what": what} if what else {})
    if run.run_type == "backfill":
        loads = loader.ledger.loads_of(topic, loader.owner)
        loaded = any(load.state is State.PUBLISHED for load in loads)
        params = interval_params(params, loader.contract, run.logical_date, loaded)
    request = parse_request(topic, params)
    if request.refused and (load_id := request.refused.load_id):
        loader.known(load_id)
    return request


def is_replanned(loader: Loader, run: Any) -> bool:
    """Whether the run plans afresh, whatever a load of its owner has published.

    That is so in a backfill, and when the load was planned before the run began: it belongs to a
    deleted run of the same id and the same moment.
    """
    if run.run_type == "backfill":
        return True
    load = loader.last()
    if load is None or run.clear_number or run.start_date is None:
        return False
    return bool(load.planned_at < run.start_date)


def log_reservations(loader: Loader, load_id: str) -> None:
    """Log which offsets a load left to other loads, and how a person frees them."""
    load = loader.known(load_id)
    if load.plan.survey.get("elsewhere"):
        for reservation in find_reservations(loader.ledger, load.topic, load):
            log.warning("held_by_another_load", load_id=load_id, reservation=str(reservation))
