"""Whether a load looks like the topic's loads of the same hour before it: median and MAD.

MAD is the median of the distances from the median: unlike mean and deviation, it is not moved by a
few odd loads in the history. Results are warnings; no load is held for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from statistics import median
from typing import Any

import msgspec

from sluice.audit.accounting import Balance
from sluice.audit.quality_results import ANOMALY, RuleResult
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.load_state import Load, PlanRecord
from sluice.store.request import Request

LEAST, MOST = 8, 30
"""Past loads of the same hour of the day: fewest that are needed, most that are compared."""

FAR = 3.5
"""Deviations from the median that are unusual (Iglewicz and Hoaglin's limit for MAD)."""

DEVIATION = 1.4826
"""A normal distribution's standard deviation, in MADs."""

SHARE_FLOOR = 0.01
VOLUME_FLOOR = 0.1
"""Least deviation that counts, absolute for shares and relative for volumes: where all past loads
are alike the MAD is 0, and any change would be unusual."""

LEAST_VOLUME = 30
"""Offsets; topics that carry a few an hour are never regular."""

Figures = dict[str, float]
"""Name → value of each figure that is compared, such as ``volume`` or ``null share of notes``."""


class Anomalies:
    """Compares a load with those of its topic before it."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quote_identifier(database)

    def find(self, load: Load, balance: Balance, nulls: Mapping[str, int]) -> list[RuleResult]:
        """One result per figure; none while the history is short, or for a part of the topic.

        Args:
            nulls: null values by column.
        """
        if not load.loads_everything_new:
            return []
        history = self._history(load.topic, load.planned_at.astimezone(UTC).hour)
        if len(history) < LEAST:
            return []
        now = figures(
            balance.sum("planned"),
            balance.sum("loaded"),
            balance.sum("quarantined"),
            balance.versions,
            nulls,
        )
        return list(compare(now, history))

    def _history(self, topic: str, hour: int) -> list[Figures]:
        loads = self._clickhouse.rows(
            f"SELECT l.load_id AS load_id, l.plan AS plan FROM {self._db}.loads AS l"
            " WHERE l.topic = {topic:String} AND l.state = 'published'"
            " AND toHour(l.planned_at, 'UTC') = {hour:UInt8}"
            " ORDER BY l.planned_at DESC LIMIT {most:UInt16}",
            {"topic": topic, "hour": hour, "most": 4 * MOST},
        )
        whole = [
            row["load_id"]
            for row in loads
            if msgspec.json.decode(row["plan"], type=PlanRecord).request == Request()
        ][:MOST]
        values: dict[str, dict[str, Any]] = {}
        for row in self._clickhouse.rows(
            "SELECT m.load_id AS load_id, m.name AS name, m.labels AS labels,"
            f" argMax(m.value, m.at) AS value FROM {self._db}.metrics AS m"
            " WHERE m.topic = {topic:String} AND m.load_id IN {loads:Array(String)}"
            " AND m.name IN ('sluice.offsets', 'sluice.messages', 'sluice.null.rows')"
            " GROUP BY load_id, name, labels",
            {"topic": topic, "loads": whole},
        ):
            of_load = values.setdefault(row["load_id"], {})
            (label,) = row["labels"].values()
            of_load.setdefault(row["name"], {})[label] = row["value"]
        return [_past(of_load) for of_load in values.values()]


def figures(
    offsets: float,
    loaded: float,
    refused: float,
    versions: Mapping[str, float],
    nulls: Mapping[str, float],
) -> Figures:
    """The figures of a load; shares only where there is something to divide by."""
    found: Figures = {"volume": offsets}
    if loaded + refused:
        found["refused share"] = refused / (loaded + refused)
    if loaded:
        found |= {f"version share of {v}": count / loaded for v, count in versions.items()}
        found |= {f"null share of {c}": count / loaded for c, count in nulls.items()}
    return found


def compare(now: Figures, history: Sequence[Figures]) -> Iterator[RuleResult]:
    """One result for each figure that has a history, or that is new in this load."""
    for name in sorted({*now, *(name for past in history for name in past)}):
        volume = name == "volume"
        # A version that a load did not see has a share of 0; other figures it did not record.
        version = name.startswith("version share of ") and "refused share" in now
        known = [p for p in history if name in p or (version and "refused share" in p)]
        if len(known) < LEAST or not (name in now or version):
            continue
        past = [values.get(name, 0.0) for values in known]
        middle, value = median(past), now.get(name, 0.0)
        mad = DEVIATION * median(abs(x - middle) for x in past)
        floor = max(VOLUME_FLOOR * middle, LEAST_VOLUME) if volume else SHARE_FLOOR
        silent = volume and not value and min(past) > 0
        success = abs(value - middle) <= FAR * max(mad, floor) and not silent
        shown = "{:,.0f}" if volume else "{:.1%}"
        yield RuleResult(
            expectation=ANOMALY,
            column=name.partition("null share of ")[2],
            description=f"{name} is usual for the hour",
            severity="warning",
            success=success,
            observed=f"{shown.format(value)}; the median of {len(past)} loads of this hour is"
            f" {shown.format(middle)}",
        )


def _past(values: Mapping[str, Mapping[str, float]]) -> Figures:
    outcomes = values.get("sluice.offsets", {})
    return figures(
        sum(outcomes.values()),
        outcomes.get("loaded", 0),
        outcomes.get("quarantined", 0),
        values.get("sluice.messages", {}),
        values.get("sluice.null.rows", {}),
    )
