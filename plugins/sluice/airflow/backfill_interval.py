"""What a run of an Airflow backfill loads: the messages of its hour, day or other interval.

The interval is computed from the run's logical date and the contract's schedule, not taken from the
run: a run that was triggered by hand for a date carries the interval before that date, and a
backfill that reprocesses it would load the wrong one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from croniter import croniter  # type: ignore[import-untyped]

from sluice.airflow.form_fields import CHOICE_OF_FIELD
from sluice.contract import Contract
from sluice.errors import PlanError


def interval_params(
    params: Mapping[str, Any], contract: Contract, logical_date: datetime | None, loaded: bool
) -> dict[str, Any]:
    """The form of a backfill run, filled in.

    Args:
        params: the backfill's own configuration.
        loaded: whether the run has loaded its interval before: then it is loaded again.

    Raises:
        PlanError: the configuration selects another part of the topic, or there is no interval.
    """
    chosen = next((name for name in CHOICE_OF_FIELD if params.get(name)), "")
    if params.get("what") not in (None, "new") or chosen:
        raise PlanError(
            "each run of an Airflow backfill loads the messages of its interval: leave out what to"
            " load, or trigger the DAG by hand for it",
            topic=contract.topic,
            field=chosen or "what",
        )
    if logical_date is None or contract.schedule is None:
        raise PlanError(
            "a backfill needs runs with a logical date, from a contract with a schedule; trigger"
            " the DAG by hand with a range of time",
            topic=contract.topic,
        )
    start = logical_date.astimezone(UTC)
    end = croniter(contract.cron, start).get_next(datetime)
    interval = {"what": "times", "from": start.isoformat(), "to": end.isoformat()}
    return {**params, **interval} | ({"existing": "replace"} if loaded else {})
