"""The second half of publishing for loads that answer for offsets which others have published.

Their rows are visible by now. Here the rows that they replace go, and the messages in quarantine
that they have read again are resolved. At no moment is a row missing; for a moment both are there.

What is removed are the rows of the loads that the plan names, and of no other: a publisher that
was paused here and goes on when others have loaded the same offsets anew removes nothing of theirs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from sluice.errors import AccountingError
from sluice.ranges import OffsetRange, subtract
from sluice.sql import among, literal, quoted
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import REPLACING, Ledger, Load
from sluice.store.target_table import Target

log = structlog.get_logger()

AT_ONCE = 200
"""Replaced loads that a statement names, at most."""


class Replacing:
    """Takes the rows of older loads out for those of one load. Every method may be repeated.

    Args:
        old: the loads whose rows go.
    """

    def __init__(
        self, load: Load, old: Sequence[str], target: Target, clickhouse: ClickHouse, ledger: Ledger
    ) -> None:
        self._load = load
        self._parts = [old[at : at + AT_ONCE] for at in range(0, len(old), AT_ONCE)]
        self._target, self._clickhouse, self._ledger = target, clickhouse, ledger
        self._db = quoted(ledger.database)

    @classmethod
    def of(
        cls, load: Load, target: Target, clickhouse: ClickHouse, ledger: Ledger
    ) -> "Replacing | None":
        """For a load that replaces or replays; None for one of what was not loaded before."""
        if load.kind == "load":
            return None
        return cls(load, load.plan["replaces"], target, clickhouse, ledger)

    def run(
        self, chunks: Mapping[int, list[OffsetRange]], attempts: Mapping[int, str], owner: str
    ) -> list[list[OffsetRange]]:
        """Exchange the rows; gives by chunk the offsets that the load answers for.

        An offset that the broker did not hand out this time keeps what it had: its message is
        gone, and what was made of it must not go too.

        Raises:
            AccountingError: the load's own rows are not all there; nothing was removed.
        """
        absent = self._ledger.absent(self._load.load_id, list(attempts.values()))
        answered = {n: subtract(ranges, absent) for n, ranges in chunks.items()}
        if not self._target.replaces:  # there a newer row of a key may stand for one of ours
            self._check_own(answered)
        self._end_old()
        if not any(e["state"] == REPLACING for e in self._ledger.events(self._load.load_id)):
            self._count_old(answered)
            differences = self._compare(answered) if self._parts else {}
            # Counted while both were there; whoever comes later finds this, and counts no more.
            token = f"{self._load.load_id}/{REPLACING}"
            detail = {"changes": differences}
            self._ledger.record(
                self._load.load_id, self._load.topic, REPLACING, owner, detail, token
            )
        for number, ranges in answered.items():
            self._resolve(number, ranges, list(attempts.values()))
            self._remove(ranges)
        return list(answered.values())

    def _check_own(self, answered: Mapping[int, list[OffsetRange]]) -> None:
        accounts = {a.partition: a.loaded for a in self._ledger.accounts(self._load.load_id)}
        for ranges in answered.values():
            for row in self._target.count(ranges, self._load.load_id):
                accounts[row["partition"]] -= row["offsets"]
        if lacking := {partition: n for partition, n in accounts.items() if n}:
            raise AccountingError(
                f"load {self._load.load_id}: {self._target.name} does not have all of its rows"
                f" (lacking by partition: {lacking}); none is replaced"
            )

    def _end_old(self) -> None:
        """Leave late publishers of the replaced loads nothing to copy; these are all published."""
        mine = {load_id for part in self._parts for load_id in part}
        for row in self._ledger.work_tables():
            if row["load_id"] in mine:
                table = f"{self._db}.{quoted(row['name'])}"
                self._clickhouse.execute(f"DROP TABLE IF EXISTS {table}")
        comment = "splitByChar('/', Settings['log_comment'])"
        for part in self._parts:
            named = ", ".join(map(literal, part))
            running = f"{comment}[1] = 'sluice' AND {comment}[2] IN ({named})"
            if self._clickhouse.rows(f"SELECT 1 AS one FROM system.processes WHERE {running}"):
                self._clickhouse.execute(f"KILL QUERY WHERE {running} SYNC")

    def _count_old(self, answered: Mapping[int, list[OffsetRange]]) -> None:
        """Record how many rows of each older load are about to go."""
        counted: dict[tuple[str, int], int] = {}
        for ranges in answered.values():
            for old in self._parts:
                for row in self._clickhouse.rows(
                    "SELECT toString(_load_id) AS load_id, _partition AS partition,"
                    f" count() AS rows FROM {self._target.name} WHERE {self._held_by(old, ranges)}"
                    " GROUP BY load_id, partition",
                ):
                    key = (row["load_id"], row["partition"])
                    counted[key] = counted.get(key, 0) + row["rows"]
        rows = [
            {
                "load_id": self._load.load_id,
                "topic": self._load.topic,
                "old_load_id": old,
                "partition": partition,
                "rows": rows,
            }
            for (old, partition), rows in sorted(counted.items())
        ]
        token = f"{self._load.load_id}/replaced"
        self._clickhouse.insert(f"{self._db}.load_replaced", rows, token)

    def _compare(self, answered: Mapping[int, list[OffsetRange]]) -> dict[str, Any]:
        """How many rows are other than those that they replace, and in which columns."""
        columns = self._target.content_columns()
        # As RowBinary, because a hash of a null is null.
        said = ", ".join(f"cityHash64(formatRow('RowBinary', {quoted(c)}))" for c in columns)
        rows = f"SELECT _partition AS p, _offset AS o, [{said}] AS said FROM {self._target.name}"
        both = changed = 0
        by_column = [0] * len(columns)
        for ranges in answered.values():
            for old in self._parts:
                (row,) = self._clickhouse.rows(
                    "SELECT count() AS both, countIf(n.said != o.said) AS changed,"
                    " sumForEach(arrayMap((a, b) -> toUInt64(a != b), n.said, o.said)) AS columns"
                    f" FROM ({rows} WHERE {self._held_by([self._load.load_id], ranges)}) AS n"
                    f" INNER JOIN ({rows} WHERE {self._held_by(old, ranges)}) AS o"
                    " ON n.p = o.p AND n.o = o.o"
                )
                if not row["both"]:
                    continue
                both += row["both"]
                changed += row["changed"]
                by_column = [a + b for a, b in zip(by_column, row["columns"], strict=True)]
        return {
            "compared": both,
            "changed": changed,
            "columns": {c: n for c, n in zip(columns, by_column, strict=True) if n},
        }

    def _resolve(self, chunk: int, ranges: list[OffsetRange], attempts: list[str]) -> None:
        """Say of messages in quarantine that this load has read again what became of them."""
        again = (
            f"SELECT partition, offset FROM {self._db}.quarantine_rows"
            " WHERE load_id = {load:String} AND attempt IN {attempts:Array(String)}"
        )
        staged = (
            f"SELECT _partition, _offset FROM {self._ledger.publishing_table(self._load.load_id)}"
            " WHERE _attempt IN {attempts:Array(String)}"
        )
        repaired = (
            f"SELECT partition, offset FROM {self._db}.load_repairs"
            " WHERE load_id = {load:String} AND attempt IN {attempts:Array(String)}"
        )
        known = (
            f"SELECT load_id, partition, offset FROM {self._db}.quarantine_resolutions"
            " WHERE by_load = {load:String}"
        )
        self._clickhouse.execute(
            f"INSERT INTO {self._db}.quarantine_resolutions"
            " (load_id, topic, partition, offset, by_load, outcome, repaired)"
            " SELECT q.load_id, q.topic, q.partition, q.offset, {load:String},"
            f" multiIf((q.partition, q.offset) IN ({staged}), 'loaded',"
            f" (q.partition, q.offset) IN ({again}), 'refused', 'gone'),"
            f" (q.partition, q.offset) IN ({repaired})"
            f" FROM {self._db}.quarantine AS q WHERE q.topic = {{topic:String}}"
            " AND q.status = 'quarantined' AND q.load_id != {load:String}"
            f" AND ({among(ranges, 'q.partition', 'q.offset')})"
            f" AND (q.load_id, q.partition, q.offset) NOT IN ({known})",
            {"load": self._load.load_id, "topic": self._load.topic, "attempts": attempts},
            {
                "insert_deduplicate": 1,
                "insert_deduplication_token": f"{self._load.load_id}/resolved/{chunk}",
                "max_threads": 1,
            },
        )

    def _remove(self, ranges: list[OffsetRange]) -> None:
        for old in self._parts:
            self._clickhouse.execute(
                f"DELETE FROM {self._target.name} WHERE {self._held_by(old, ranges)}",
                settings={"lightweight_deletes_sync": 2},
            )

    def _held_by(self, loads: Sequence[str], ranges: Sequence[OffsetRange]) -> str:
        """SQL for rows of some loads. A mutation is kept as text, so nothing is left to bind."""
        named = ", ".join(map(literal, loads))
        topic = literal(self._load.topic)
        return f"_topic = {topic} AND _load_id IN ({named}) AND ({among(ranges)})"
