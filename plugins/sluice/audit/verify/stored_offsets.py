"""The offsets of a topic that the tables hold, as ranges that ClickHouse computes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from sluice.ranges import OffsetRange, intersect, merge, subtract, total
from sluice.sql import offset_condition, quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import HeldRange

WINDOW = 4_000_000
"""Offsets of a partition that are sorted at once, in ClickHouse's memory."""


Progress = Callable[[int], None]


class StoredRanges(msgspec.Struct, frozen=True):
    """The offsets that a table has, and those that it has twice."""

    ranges: list[OffsetRange]
    twice: list[OffsetRange]


class StoredOffsets:
    """Reads which offsets of one topic target, quarantine and skips have."""

    def __init__(
        self,
        topic: str,
        clickhouse: ClickHouse,
        ledger: Ledger,
        table: str,
        within: list[OffsetRange] | None,
    ) -> None:
        self._topic, self._clickhouse, self._table, self._within = topic, clickhouse, table, within
        self._db = quote_identifier(ledger.database)

    def inside(self, ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
        """The part of some ranges that is being verified."""
        found = list(ranges)
        return found if self._within is None else intersect(found, self._within)

    def target(self, about: list[OffsetRange], progress: Progress) -> StoredRanges:
        """The offsets that the target has, also outside of the ranges in ``about``."""
        spans = {r["partition"]: (r["low"], r["high"]) for r in self._spans()}
        for r in about:
            low, high = spans.get(r.partition, (r.low, r.high))
            spans[r.partition] = (min(low, r.low), max(high, r.high))
        windows = [
            OffsetRange(partition, at, min(at + WINDOW, high))
            for partition, (low, high) in sorted(spans.items())
            for at in range(low, high, WINDOW)
        ]
        held = []
        for window in windows if self._within is None else intersect(windows, self._within):
            held.append(
                self._offsets(
                    f"SELECT _partition AS partition, _offset AS offset FROM {self._table}"
                    f" WHERE _topic = {{topic:String}} AND ({offset_condition([window])})"
                )
            )
            progress(total(intersect([window], about)))
        return StoredRanges(
            merge(r for part in held for r in part.ranges), [r for p in held for r in p.twice]
        )

    def _spans(self) -> list[dict[str, Any]]:
        return self._clickhouse.rows(
            "SELECT _partition AS partition, min(_offset) AS low, max(_offset) + 1 AS high"
            f" FROM {self._table} WHERE _topic = {{topic:String}} GROUP BY partition",
            {"topic": self._topic},
        )

    def quarantine(self) -> StoredRanges:
        """The refused messages of published loads."""
        held = self._offsets(
            f"SELECT q.partition AS partition, q.offset AS offset FROM {self._db}.quarantine AS q"
            " WHERE q.topic = {topic:String} AND q.status = 'quarantined'"
        )
        return StoredRanges(self.inside(held.ranges), self.inside(held.twice))

    def _offsets(self, rows: str) -> StoredRanges:
        """The offsets of a query as ranges, computed by ClickHouse."""
        found = self._clickhouse.rows(
            "WITH arraySort(groupArray(offset)) AS o,"
            " arrayPushFront(arrayPopBack(o), toInt64(-2)) AS before,"
            " arrayPushBack(arrayPopFront(o), toInt64(-2)) AS after"
            " SELECT partition,"
            " arrayFilter((x, p) -> x != p + 1 AND x != p, o, before) AS lows,"
            " arrayFilter((x, n) -> n != x + 1 AND n != x, o, after) AS lasts,"
            " arrayDistinct(arrayFilter((x, p) -> x = p, o, before)) AS twice"
            f" FROM ({rows}) GROUP BY partition",
            {"topic": self._topic},
        )
        ranges = [
            OffsetRange(row["partition"], low, last + 1)
            for row in found
            for low, last in zip(row["lows"], row["lasts"], strict=True)
        ]
        twice = [OffsetRange(row["partition"], x, x + 1) for row in found for x in row["twice"]]
        return StoredRanges(ranges, merge(twice))

    def skipped(self, published: Sequence[HeldRange]) -> dict[str, StoredRanges]:
        """The offsets without a message of published loads, by kind.

        Args:
            published: all ranges of published loads. Of loads that hold the same offset the one
                with the higher revision counts, unless the offset was absent then: the row of a
                message is kept when the message is gone.
        """
        rows = self._clickhouse.rows(
            "SELECT s.load_id AS load_id, s.partition AS partition, s.low AS low, s.high AS high,"
            " toString(s.kind) AS kind"
            f" FROM {self._db}.load_skips AS s"
            f" INNER JOIN {self._db}.accepted_attempts AS w"
            "  ON w.topic = s.topic AND w.load_id = s.load_id AND w.attempt = s.attempt"
            f" INNER JOIN {self._db}.loads AS l ON l.topic = s.topic AND l.load_id = s.load_id"
            " WHERE s.topic = {topic:String} AND l.state = 'published'",
            {"topic": self._topic},
        )
        skips = [
            (row["kind"], row["load_id"], OffsetRange(row["partition"], row["low"], row["high"]))
            for row in rows
        ]
        valid = (
            _valid_skips(skips, published)
            if any(t.kind == "replace" for t in published)
            else [(kind, r) for kind, _, r in skips]
        )
        found: dict[str, StoredRanges] = {}
        for kind in ("tombstone", "absent", "expired"):
            ranges = self.inside(r for k, r in valid if k == kind)
            merged = merge(ranges)
            twice = ranges if total(ranges) != total(merged) else []
            found[kind] = StoredRanges(merged, twice)
        return found


def _valid_skips(
    skips: Sequence[tuple[str, str, OffsetRange]], published: Sequence[HeldRange]
) -> list[tuple[str, OffsetRange]]:
    """Skips, by kind, that no other load's result replaces.

    Replays do not count: what they read had a message, so it was never skipped.
    """
    revisions = {t.load_id: t.revision for t in published}
    of_revision: dict[int, list[OffsetRange]] = {}
    for t in published:
        if t.kind != "replay":
            of_revision.setdefault(t.revision, []).append(t.range)
    left: list[tuple[str, OffsetRange]] = []
    covered: list[OffsetRange] = []
    for revision in sorted(of_revision, reverse=True):
        lower = [r for other, ranges in of_revision.items() if other < revision for r in ranges]
        absent: list[OffsetRange] = []
        for kind in ("tombstone", "absent", "expired"):
            mine = [r for k, i, r in skips if k == kind and revisions.get(i) == revision]
            if kind != "tombstone":
                absent += mine
            taken = [*covered, *(lower if kind != "tombstone" else ())]
            left += [(kind, r) for r in subtract(mine, taken)]
            if total(mine) != total(merge(mine)):
                left += [(kind, r) for r in mine]  # reported as duplicates
        covered = merge([*covered, *subtract(of_revision[revision], absent)])
    return left
