"""What a run of Airflow's own backfill is to load: the messages of its hour, day or other interval.

The interval is worked out from the run's logical date and the contract's schedule, not taken from
the run: one that somebody has triggered by hand for a date carries the interval before that date,
and a backfill that reprocesses it would load the wrong one.
"""

from datetime import UTC, datetime

import msgspec
from croniter import croniter  # type: ignore[import-untyped]

from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.planning import Request


def of_interval(
    request: Request, contract: Contract, logical_date: datetime | None, loaded: bool
) -> Request:
    """The request of a backfill run.

    Args:
        request: what the backfill's configuration asks for besides.
        loaded: whether the run has loaded its interval before: then it is loaded anew.

    Raises:
        PlanError: the configuration asks for another part of the topic, or there is no interval.
    """
    if request.windowed or request.refused:
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
    return msgspec.structs.replace(
        request,
        low=start.isoformat(),
        high=end.isoformat(),
        existing="replace" if loaded else request.existing,
    )
