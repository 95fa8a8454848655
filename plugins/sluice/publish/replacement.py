"""The second half of publishing, for loads of offsets that other loads have published.

The load's own rows are visible by now. Here the rows that they replace are removed, and the
messages in quarantine that the load has read again are resolved. At no moment is a row missing; for
a moment both are there.

Only rows of the loads that the plan names are removed. A publisher that was paused here, and
continues when others have loaded the same offsets again, removes nothing of theirs.
"""

from collections.abc import Mapping, Sequence

import structlog

from sluice.errors import AccountingError, LoadLost
from sluice.ranges import OffsetRange, subtract, total
from sluice.sql import offset_condition, quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse, needs_rows
from sluice.store.ledger import Ledger
from sluice.store.load_state import Changes, EventDetail, Load, State
from sluice.store.target_table import TargetTable

log = structlog.get_logger()

AT_ONCE = 200
"""Replaced loads that a statement names, at most."""


class Replacement:
    """Replaces the rows of older loads by those of one load. Every method may be repeated.

    Args:
        old: the loads whose rows are removed.
    """

    def __init__(
        self,
        load: Load,
        old: Sequence[str],
        target: TargetTable,
        clickhouse: ClickHouse,
        ledger: Ledger,
    ) -> None:
        self._load = load
        self._parts = [old[at : at + AT_ONCE] for at in range(0, len(old), AT_ONCE)]
        self._target, self._clickhouse, self._ledger = target, clickhouse, ledger
        self._db = quote_identifier(ledger.database)

    @classmethod
    def of(
        cls, load: Load, target: TargetTable, clickhouse: ClickHouse, ledger: Ledger
    ) -> "Replacement | None":
        """For a load that replaces or replays; None for a load of new offsets."""
        if load.kind == "load":
            return None
        return cls(load, load.plan.replaces, target, clickhouse, ledger)

    def run(
        self, chunks: Mapping[int, list[OffsetRange]], attempts: Mapping[int, str], owner: str
    ) -> list[list[OffsetRange]]:
        """Replace the rows; returns by chunk the offsets that the load answers for.

        If the broker no longer returns an offset, its existing row is kept: the message is gone,
        and the row may be all that is left of it.

        Raises:
            AccountingError: the load's own rows are not all there; nothing was removed.
        """
        absent = self._absent(list(attempts.values()))
        answered = {n: subtract(ranges, absent) for n, ranges in chunks.items()}
        if not self._target.replaces:  # there a newer row of a key may stand for one of ours
            self._check_own(answered)
        self._end_old()
        if not self._is_replacing():
            self._count_old(answered)
            detail = EventDetail(changes=self._compare(answered) if self._parts else Changes())
            self._begin(owner, detail)
        for number, ranges in answered.items():
            self._resolve(number, ranges, list(attempts.values()))
            self._remove(ranges)
        return list(answered.values())

    def _absent(self, attempts: list[str]) -> list[OffsetRange]:
        """The offsets without a message. A row of theirs is kept, so none may be overlooked."""
        absent = self._clickhouse.until(
            lambda: self._ledger.attempts.absent(self._load.topic, self._load.load_id, attempts),
            lambda found: total(found) >= self._load.absent,
        )
        if total(absent) != self._load.absent:
            raise AccountingError(
                f"its audit counted {self._load.absent} absent offsets, and {total(absent)} are"
                " recorded; nothing is replaced",
                load_id=self._load.load_id,
            )
        return absent

    def _begin(self, owner: str, detail: EventDetail) -> None:
        """Record what was counted while both were there; another publisher may have done so."""
        try:
            self._ledger.record(
                self._load.load_id, self._load.topic, State.REPLACING, owner, detail
            )
        except LoadLost:
            if not self._is_replacing():
                raise

    def _is_replacing(self) -> bool:
        live = self._ledger.state(self._load.topic).live.get(self._load.load_id)
        return live is not None and live.state is State.REPLACING

    def _check_own(self, answered: Mapping[int, list[OffsetRange]]) -> None:
        accounts = loaded_by_partition(self._load, self._clickhouse, self._ledger)

        def count_missing() -> dict[int, int]:
            left = dict(accounts)
            for ranges in answered.values():
                for row in self._target.count(ranges, self._load.load_id):
                    left[row["partition"]] -= row["offsets"]
            return {partition: rows for partition, rows in left.items() if rows}

        if missing := self._clickhouse.until(count_missing, lambda found: not found):
            raise AccountingError(
                f"{self._target.name} does not have all of its rows (missing by partition:"
                f" {missing}); none is replaced",
                load_id=self._load.load_id,
                partition=min(missing),
            )

    def _end_old(self) -> None:
        """Leave late publishers of the replaced loads, all of them published, nothing to copy."""
        self._ledger.staging.sweep(self._ledger.state(self._load.topic))
        comment = "splitByChar('/', Settings['log_comment'])"
        for part in self._parts:
            named = ", ".join(map(quote_string, part))
            running = f"{comment}[1] = 'sluice' AND {comment}[2] IN ({named})"
            if self._clickhouse.rows(f"SELECT 1 AS one FROM system.processes WHERE {running}"):
                self._clickhouse.execute(f"KILL QUERY WHERE {running} SYNC")

    def _count_old(self, answered: Mapping[int, list[OffsetRange]]) -> None:
        """Record how many rows of each older load are about to be removed."""
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

    def _compare(self, answered: Mapping[int, list[OffsetRange]]) -> Changes:
        """How many rows differ from those that they replace, and in which columns."""
        columns = self._target.content_columns()
        # As RowBinary, because a hash of a null is null.
        hashes = ", ".join(
            f"cityHash64(formatRow('RowBinary', {quote_identifier(c)}))" for c in columns
        )
        rows = (
            f"SELECT _partition AS p, _offset AS o, [{hashes}] AS hashes FROM {self._target.name}"
        )
        both = changed = 0
        by_column = [0] * len(columns)
        for ranges in answered.values():
            for old in self._parts:
                (row,) = self._clickhouse.rows(
                    "SELECT count() AS both, countIf(n.hashes != o.hashes) AS changed,"
                    " sumForEach(arrayMap((a, b) -> toUInt64(a != b), n.hashes, o.hashes))"
                    " AS columns"
                    f" FROM ({rows} WHERE {self._held_by([self._load.load_id], ranges)}) AS n"
                    f" INNER JOIN ({rows} WHERE {self._held_by(old, ranges)}) AS o"
                    " ON n.p = o.p AND n.o = o.o"
                )
                if not row["both"]:
                    continue
                both += row["both"]
                changed += row["changed"]
                by_column = [a + b for a, b in zip(by_column, row["columns"], strict=True)]
        return Changes(
            compared=both,
            changed=changed,
            columns={c: n for c, n in zip(columns, by_column, strict=True) if n},
        )

    def _resolve(self, chunk: int, ranges: list[OffsetRange], attempts: list[str]) -> None:
        """Record what became of messages in quarantine that this load has read again."""
        load = self._load
        refused = (
            f"FROM {self._db}.quarantine_rows WHERE topic = {{topic:String}}"
            " AND load_id = {load:String} AND attempt IN {attempts:Array(String)}"
        )
        again = f"SELECT partition, offset {refused}"
        staged = f"SELECT _partition, _offset {self._ledger.staging.audited_rows(load).accepted}"
        repaired = (
            f"SELECT partition, offset FROM {self._db}.load_repairs WHERE topic = {{topic:String}}"
            " AND load_id = {load:String} AND attempt IN {attempts:Array(String)}"
        )
        known = (
            f"SELECT load_id, partition, offset FROM {self._db}.quarantine_resolutions"
            " WHERE topic = {topic:String} AND by_load = {load:String}"
        )
        read = (
            f"FROM {self._db}.quarantine AS q WHERE q.topic = {{topic:String}}"
            " AND q.status = 'quarantined' AND q.load_id != {load:String}"
            f" AND ({offset_condition(ranges, 'q.partition', 'q.offset')})"
        )
        all_there = "1"
        if self._clickhouse.has_replicas:
            again += f" AND {needs_rows(load.quarantined, refused)}"
            # A replay has read exactly these; how many a replacing load meets is not known before.
            all_there = needs_rows(total(ranges) if load.kind == "replay" else 0, read)
        statement = (
            f"INSERT INTO {self._db}.quarantine_resolutions"
            " (load_id, topic, partition, offset, by_load, outcome, repaired)"
            " SELECT q.load_id, q.topic, q.partition, q.offset, {load:String},"
            f" multiIf((q.partition, q.offset) IN ({staged}), 'loaded',"
            f" (q.partition, q.offset) IN ({again}), 'refused', 'gone'),"
            f" (q.partition, q.offset) IN ({repaired})"
            f" {read} AND (q.load_id, q.partition, q.offset) NOT IN ({known}) AND {all_there}"
        )
        parameters = {"load": load.load_id, "topic": load.topic, "attempts": attempts}
        settings = {
            "insert_deduplicate": 1,
            "insert_deduplication_token": f"{load.load_id}/resolved/{chunk}",
            "max_threads": 1,
        }
        self._clickhouse.execute(statement, parameters, settings)

    def _remove(self, ranges: list[OffsetRange]) -> None:
        for old in self._parts:
            self._clickhouse.execute(
                f"DELETE FROM {self._target.name} WHERE {self._held_by(old, ranges)}",
                settings={"lightweight_deletes_sync": 2},
            )

    def _held_by(self, loads: Sequence[str], ranges: Sequence[OffsetRange]) -> str:
        """SQL for rows of some loads. A mutation is kept as text, so nothing is left to bind."""
        named = ", ".join(map(quote_string, loads))
        topic = quote_string(self._load.topic)
        return f"_topic = {topic} AND _load_id IN ({named}) AND ({offset_condition(ranges)})"


def loaded_by_partition(load: Load, clickhouse: ClickHouse, ledger: Ledger) -> dict[int, int]:
    """Partition → the rows that the audit of a load has counted.

    Raises:
        AccountingError: the accounts do not add up to what the log has recorded of the audit.
    """
    accounts = clickhouse.until(
        lambda: {a.partition: a.loaded for a in ledger.attempts.accounts(load.topic, load.load_id)},
        lambda found: sum(found.values()) >= load.loaded,
    )
    if sum(accounts.values()) != load.loaded:
        raise AccountingError(
            f"its audit counted {load.loaded} rows, and its accounts say {sum(accounts.values())}",
            load_id=load.load_id,
        )
    return accounts
