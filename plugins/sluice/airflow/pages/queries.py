"""What the page of a topic shows, in as few queries as may be: 300 ms with 1.3 million loads.

Loads are read from the end of the topics' logs, so what a page reads does not grow with their age.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from sluice.airflow.pages.load_sql import LOAD_STATE, account_sums
from sluice.ranges import OffsetRange, subtract
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger

RECENT = 50
"""Loads that a topic's page shows in its table."""

ENTRIES = 6
"""Entries of the log that are read for each load; most loads have four."""

CHARTED = 500
"""Loads in a topic's charts."""


class LoadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One load in a list; the counts are 0 before its audit.

    Attributes:
        reported: whether its report is stored: it is made at the end, and removed in time.
    """

    load_id: str
    topic: str
    owner: str
    state: str
    kind: str
    planned_at: datetime
    last_at: datetime
    planned: int
    loaded: int
    quarantined: int
    reported: bool

    @property
    def seconds(self) -> float:
        """From plan to the last that was heard of it."""
        return (self.last_at - self.planned_at).total_seconds()


class PartitionStrip(msgspec.Struct, frozen=True, kw_only=True):
    """What of a partition is published, as shares of its length: (left, width) in percent."""

    partition: int
    low: int
    high: int
    published: list[tuple[float, float]]
    gaps: list[OffsetRange]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A topic's last loads as series, the oldest first; what a load does not have is None.

    Attributes:
        at: when each was planned, in seconds since 1970.
        rows, refused: of each load.
        seconds: from its plan to its end.
        versions: version → rows that came in it.
        failed: severity → quality rules that failed.
    """

    at: list[float]
    rows: list[int]
    refused: list[int]
    seconds: list[float]
    versions: dict[str, list[float | None]]
    failed: dict[str, list[float | None]]


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """How a quality rule did in the last loads."""

    description: str
    severity: str
    loads: int
    failed: int
    last_failed: str
    observed: str


class PageQueries:
    """Reads one Sluice database for the pages."""

    def __init__(self, clickhouse: ClickHouse, ledger: Ledger) -> None:
        self._clickhouse, self._ledger = clickhouse, ledger
        self._db = quote_identifier(ledger.database)

    def loads(self, topic: str, most: int = RECENT) -> list[LoadRow]:
        """The last loads of a topic, the newest first."""
        rows = self._clickhouse.rows(
            "SELECT l.load_id AS load_id, {topic:String} AS topic, l.owner AS owner,"
            " l.state AS state, l.kind AS kind, l.planned_at AS planned_at, l.last_at AS last_at,"
            " l.planned AS planned, a.loaded AS loaded, a.quarantined AS quarantined,"
            f" l.load_id IN (SELECT load_id FROM {self._db}.reports"
            "  WHERE topic = {topic:String}) AS reported FROM ("
            "  SELECT load_id, argMaxIf(e.owner, e.entry, e.state IN ('reserved', 'adopted'))"
            f"   AS owner, {LOAD_STATE} AS state,"
            "   anyIf(if(JSONHas(e.detail, 'kind'), JSONExtractString(e.detail, 'kind'), 'load'),"
            "    e.state = 'reserved') AS kind,"
            "   sum(arraySum(r -> r.3 - r.2, arrayFlatten(e.chunks))) AS planned,"
            "   min(e.at) AS planned_at, max(e.at) AS last_at"
            f"  FROM (SELECT * FROM {self._db}.topic_log WHERE topic = {{topic:String}}"
            "   AND entry > {first:UInt64} AND load_id != ''"
            "   ORDER BY entry, at, writer LIMIT 1 BY entry) AS e"
            "  GROUP BY load_id HAVING countIf(e.state = 'reserved') > 0) AS l LEFT JOIN"
            f" ({account_sums(self._db, 'WHERE topic = {topic:String}')}) AS a"
            " ON a.load_id = l.load_id"
            " ORDER BY l.planned_at DESC LIMIT {most:UInt32}",
            {
                "topic": topic,
                "most": most,
                "first": max(0, self._ledger.state(topic).entry - ENTRIES * most),
            },
        )
        return [LoadRow(**row | {"reported": bool(row["reported"])}) for row in rows]

    def history(self, topic: str, loads: Sequence[LoadRow]) -> History:
        """The series of some loads of a topic, given with the newest first."""
        shown = list(reversed(loads))
        place = {load.load_id: number for number, load in enumerate(shown)}
        series: dict[str, dict[str, list[float | None]]] = {"version": {}, "severity": {}}
        for row in self._clickhouse.rows(
            "SELECT m.load_id AS load_id, m.labels AS labels, argMax(m.value, m.at) AS value"
            f" FROM {self._db}.metrics AS m WHERE m.topic = {{topic:String}}"
            " AND m.name IN ('sluice.messages', 'sluice.quality.failed')"
            " AND m.load_id IN {loads:Array(String)} GROUP BY load_id, labels",
            {"topic": topic, "loads": list(place)},
        ):
            ((label, name),) = row["labels"].items()
            values = series[label].setdefault(name, [None] * len(shown))
            values[place[row["load_id"]]] = row["value"]
        return History(
            at=[load.planned_at.timestamp() for load in shown],
            rows=[load.loaded for load in shown],
            refused=[load.quarantined for load in shown],
            seconds=[load.seconds for load in shown],
            versions=dict(sorted(series["version"].items())),
            failed=dict(sorted(series["severity"].items())),
        )

    def rules(self, topic: str, load_ids: Sequence[str]) -> list[RuleRow]:
        """How the quality rules did in some loads, those that failed most first."""
        rows = self._clickhouse.rows(
            "SELECT q.description AS description, q.severity AS severity, count() AS loads,"
            " countIf(NOT q.success) AS failed, argMaxIf(q.load_id, q.at, NOT q.success) AS"
            " last_failed, argMaxIf(q.observed, q.at, NOT q.success) AS observed"
            f" FROM {self._db}.quality_results AS q WHERE q.topic = {{topic:String}}"
            " AND q.load_id IN {loads:Array(String)} AND (q.load_id, q.audit) IN ("
            f"  SELECT load_id, argMax(audit, at) FROM {self._db}.quality_results"
            "   WHERE topic = {topic:String} AND load_id IN {loads:Array(String)} GROUP BY load_id)"
            " GROUP BY description, severity ORDER BY failed DESC, severity, description",
            {"topic": topic, "loads": list(load_ids)},
        )
        return [RuleRow(**row) for row in rows]

    def strips(self, topic: str) -> list[PartitionStrip]:
        """By partition what is published, and the holes between."""
        published = self._ledger.state(topic).loaded
        strips = []
        for partition in sorted({r.partition for r in published}):
            mine = [r for r in published if r.partition == partition]
            low, high = mine[0].low, mine[-1].high
            length = max(1, high - low)
            strips.append(
                PartitionStrip(
                    partition=partition,
                    low=low,
                    high=high,
                    published=[
                        (100 * (r.low - low) / length, 100 * r.count / length) for r in mine
                    ],
                    gaps=subtract([OffsetRange(partition, low, high)], mine),
                )
            )
        return strips
