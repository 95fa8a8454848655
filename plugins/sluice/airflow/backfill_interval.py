"""What a run of Airflow's own backfill is to load: the messages of its hour, day or other interval.

The interval is worked out from the run's logical date and the contract's schedule, not taken from
the run: one that somebody has triggered by hand for a date carries the interval before that date,
and a backfill that reprocesses it would load the wrong one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from croniter import croniter  # type: ignore[import-untyped]

from sluice.airflow.form_fields import BELONGS
from sluice.contract import Contract
from sluice.errors import PlanError


def interval_params(
    params: Mapping[str, Any], contract: Contract, logical_date: datetime | None, loaded: bool
) -> dict[str, Any]:
    """The form of a backfill run, filled in.

    Args:
        params: what the backfill's configuration asks for besides.
        loaded: whether the run has loaded its interval before: then it is loaded anew.

    Raises:
        PlanError: the configuration asks for another part of the topic, or there is no interval.
    """
    if params.get("what") not in (None, "new") or any(params.get(name) for name in BELONGS):
        raise PlanError(
            "a backfill of Airflow's loads for each run the messages of its interval: leave out"
            " what to load, or trigger the DAG by hand for it"
        )
    if logical_date is None or contract.schedule is None:
        raise PlanError(
            f"a backfill of topic {contract.topic!r} needs runs with a logical date, from a"
            " contract with a schedule; trigger the DAG by hand with a range of time"
        )
    start = logical_date.astimezone(UTC)
    end = croniter(contract.schedule, start).get_next(datetime)
    interval = {"what": "times", "from": start.isoformat(), "to": end.isoformat()}
    return {**params, **interval} | ({"existing": "replace"} if loaded else {})
