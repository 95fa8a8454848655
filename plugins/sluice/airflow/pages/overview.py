"""What the overview of topics shows: lag, quarantine, and the loads of the last hours of each.

Loads are read from the end of the topics' logs, so what is read does not grow with their age.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from sluice.airflow.pages.load_sql import LOAD_STATE, account_sums
from sluice.sql import quote_identifier
from sluice.store.bookkeeping import OPEN_REFUSALS
from sluice.store.clickhouse import ClickHouse

HOURS = 24
"""How far back the overview adds up the loads of each topic."""

LoadSums = tuple[int, int, int]
"""What the overview draws of a load: when it was planned, in seconds since 1970, its rows, and its
refused messages; these are 0 before its audit.
"""


class TopicLoads(NamedTuple):
    """Loads of a topic, the oldest first, and the state of the last one."""

    loads: list[LoadSums]
    state: str
    last_at: datetime


WIDTH, HEIGHT, BAR = 144, 32, 5
"""Pixels of the drawing of a topic's loads in the overview, and of one bar in it."""


class TopicRow(msgspec.Struct, frozen=True, kw_only=True):
    """One topic in the overview.

    Attributes:
        lag: offsets that were not accounted for when the last load ended; None before the first.
        behind: age of the first of these in seconds.
        quarantined: messages in quarantine when the last load ended.
        state: that of the last load; empty before the first.
        last_at: when the log last recorded something of the last load.
        loads, rows, refused: loads of the last hours, the rows that they loaded, and the messages
            that they refused.
        bars, refused_bars: SVG paths of their rows and refused messages; the last hours are the
            width of the drawing.
    """

    topic: str
    table: str
    lag: int | None
    behind: float | None
    quarantined: int
    state: str
    last_at: datetime | None
    loads: int
    rows: int
    refused: int
    bars: str
    refused_bars: str


class Overview:
    """Reads one Sluice database for the overview."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quote_identifier(database)

    def rows(self, tables: dict[str, str]) -> list[TopicRow]:
        """The overview of topics, each with its table."""
        recent = self._sums(list(tables), HOURS)
        quiet = [topic for topic in tables if topic not in recent]
        older = self._sums(quiet, hours=None)
        gauges: dict[str, dict[str, float]] = {}
        for row in self._clickhouse.rows(
            "SELECT topic, name, if(name = 'sluice.lag.seconds', max(last), sum(last)) AS value"
            " FROM (SELECT m.topic AS topic, m.name AS name, argMaxMerge(m.last) AS last"
            f"  FROM {self._db}.metric_totals AS m WHERE m.topic IN {{topics:Array(String)}}"
            "  AND m.name IN ('sluice.lag.offsets', 'sluice.lag.seconds',"
            f"   '{OPEN_REFUSALS}')"
            "  GROUP BY topic, name, toString(m.labels))"
            " GROUP BY topic, name",
            {"topics": list(tables)},
        ):
            gauges.setdefault(row["topic"], {})[row["name"]] = row["value"]
        rows, now = [], datetime.now(UTC)
        for topic, table in tables.items():
            found = gauges.get(topic, {})
            lag = found.get("sluice.lag.offsets")
            shown = recent[topic].loads if topic in recent else []
            last = recent.get(topic) or older.get(topic)
            bars, refused_bars = _draw(shown, now)
            rows.append(
                TopicRow(
                    topic=topic,
                    table=table,
                    lag=None if lag is None else int(lag),
                    behind=found.get("sluice.lag.seconds"),
                    quarantined=int(found.get(OPEN_REFUSALS, 0)),
                    state=last.state if last else "",
                    last_at=last.last_at if last else None,
                    loads=len(shown),
                    rows=sum(loaded for _, loaded, _ in shown),
                    refused=sum(refused for _, _, refused in shown),
                    bars=bars,
                    refused_bars=refused_bars,
                )
            )
        return rows

    def _sums(self, topics: Sequence[str], hours: int | None) -> dict[str, TopicLoads]:
        """By topic the loads of some hours, or all; topics that have none are left out."""
        if not topics:
            return {}
        since = "" if hours is None else f"PREWHERE at > now64(6) - toIntervalHour({hours})"
        mine = "topic IN {topics:Array(String)}"
        rows = self._clickhouse.rows(
            "SELECT l.topic AS topic, argMax(l.state, l.planned_at) AS state,"
            " argMax(l.last_at, l.planned_at) AS last_at, arraySort(groupArray("
            "  (toUnixTimestamp(l.planned_at), a.loaded, a.quarantined))) AS loads FROM ("
            f"  SELECT topic, load_id, {LOAD_STATE} AS state,"
            "   min(e.at) AS planned_at, max(e.at) AS last_at"
            f"  FROM {self._db}.topic_log AS e {since}"
            f"  WHERE {mine} AND load_id != '' GROUP BY topic, load_id) AS l"
            f" LEFT JOIN ({account_sums(self._db, f'{since} WHERE {mine}')}) AS a"
            " ON a.load_id = l.load_id"
            " GROUP BY topic",
            {"topics": list(topics)},
        )
        return {
            row["topic"]: TopicLoads(row["loads"], row["state"], row["last_at"]) for row in rows
        }


def _draw(loads: Sequence[LoadSums], now: datetime) -> tuple[str, str]:
    """The bars of some loads by the time of their plan: rows, and on top of them refused ones."""
    most = max((loaded + refused for _, loaded, refused in loads), default=0) or 1
    scale, first = (HEIGHT - 2) / most, now.timestamp() - 3600 * HOURS
    rows, refusals = [], []
    for at, loaded, refused in loads:
        left = max(0, round((WIDTH - BAR) * (at - first) / 3600 / HOURS))
        high = loaded * scale
        rows.append(f"M{left} {HEIGHT}h{BAR}v{-max(high, 1):.1f}h{-BAR}z")
        if refused:
            more = max(refused * scale, 1)
            refusals.append(f"M{left} {HEIGHT - high:.1f}h{BAR}v{-more:.1f}h{-BAR}z")
    return "".join(rows), "".join(refusals)
