"""The record of loads in ClickHouse: what each reserved, how far it came, how it ended.

Append-only. A load is *live* until an end state is written: published, abandoned (settled by
another after its run was over) or withdrawn (its planner met another reservation). Offsets of
live and of published loads are taken; no other load may plan them.
"""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from sluice.clickhouse import ClickHouse
from sluice.ddl import statements
from sluice.quoting import quoted
from sluice.range_reader import Skip
from sluice.ranges import OffsetRange

PLANNED = "planned"
"""Written, but not yet held against other reservations."""
RESERVED = "reserved"
AUDITED = "audited"
HELD = "held"
FAILED = "failed"
PUBLISHING = "publishing"
PUBLISHED = "published"
WITHDRAWN = "withdrawn"
ABANDONED = "abandoned"

ENDED = frozenset({PUBLISHED, WITHDRAWN, ABANDONED})

BOOKKEEPING = Path(__file__).resolve().parents[2] / "sql" / "bookkeeping.sql"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One load as the ledger knows it.

    Attributes:
        owner: the DAG run or process that runs it.
        state: the latest state, or the end state.
        plan: what the planner recorded: the topic's id, the kind of load.
    """

    load_id: str
    topic: str
    owner: str
    state: str
    plan: dict[str, Any]
    planned_at: datetime
    last_at: datetime

    @property
    def live(self) -> bool:
        """Whether its offsets are reserved and not yet published."""
        return self.state not in ENDED


class ChunkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt that reached its chunk's end says of itself."""

    chunk: int
    attempt: str
    bytes: int
    seconds: float
    cpu_seconds: float
    batches: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The law for one partition of a load; see the README.

    ``planned = loaded + quarantined + tombstones + absent``.
    """

    partition: int
    planned: int
    loaded: int
    upgraded: int
    quarantined: int
    tombstones: int
    absent: int

    @property
    def difference(self) -> int:
        """Offsets without a place (positive) or with several (negative)."""
        return self.planned - self.loaded - self.quarantined - self.tombstones - self.absent


class Ledger:
    """Reads and writes the ledger of one Sluice database."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self.clickhouse, self.database = clickhouse, database
        self._db = quoted(database)

    def create(self) -> None:
        """Create the database, its tables and its views; harmless when they are there."""
        text = re.sub(r"\bsluice\b(?=[.;])", lambda _: self._db, BOOKKEEPING.read_text())
        for statement in statements(text):
            self.clickhouse.execute(statement)

    def staging_table(self, load_id: str) -> str:
        """The load's own table, while rows are added to it."""
        return f"{self._db}.{quoted('staging_' + load_id)}"

    def publishing_table(self, load_id: str) -> str:
        """The same table once publishing has begun; renamed, so that nothing more gets in."""
        return f"{self._db}.{quoted('publishing_' + load_id)}"

    def record(
        self, load_id: str, topic: str, state: str, owner: str, detail: Mapping[str, Any] = {}
    ) -> None:
        """Write one state of a load; a retried insert leaves no second row."""
        text = msgspec.json.encode(detail).decode()
        row = {"load_id": load_id, "topic": topic, "state": state, "owner": owner, "detail": text}
        self.clickhouse.insert(f"{self._db}.load_events", [row], uuid.uuid4().hex)

    def reserve(
        self,
        load_id: str,
        topic: str,
        owner: str,
        chunks: Sequence[Sequence[OffsetRange]],
        detail: Mapping[str, Any],
    ) -> None:
        """Write a plan: the ranges first, then the event that makes them count."""
        rows = [
            {
                "load_id": load_id,
                "topic": topic,
                "chunk": number,
                "partition": r.partition,
                "low": r.low,
                "high": r.high,
            }
            for number, ranges in enumerate(chunks)
            for r in ranges
        ]
        self.clickhouse.insert(f"{self._db}.load_ranges", rows, f"{load_id}/ranges")
        self.record(load_id, topic, PLANNED, owner, detail)

    def load(self, load_id: str) -> Load | None:
        """One load, or None when the ledger does not know it."""
        found = self._loads("load_id = {id:String}", {"id": load_id})
        return found[0] if found else None

    def loads_of(self, topic: str, owner: str | None = None, live: bool = False) -> list[Load]:
        """Loads of a topic, the newest first."""
        where, parameters = "topic = {topic:String}", {"topic": topic}
        if owner is not None:
            where += " AND owner = {owner:String}"
            parameters["owner"] = owner
        if live:
            where += " AND state NOT IN ('published', 'abandoned', 'withdrawn')"
        return self._loads(where, parameters)

    def _loads(self, where: str, parameters: Mapping[str, Any]) -> list[Load]:
        rows = self.clickhouse.rows(
            f"SELECT * FROM {self._db}.loads WHERE {where} ORDER BY planned_at DESC", parameters
        )
        return [
            Load(**(row | {"plan": msgspec.json.decode(row["plan"], type=dict[str, Any])}))
            for row in rows
        ]

    def work_tables(self) -> list[dict[str, Any]]:
        """Tables that loads and audits work in: name, load_id (or a random one), age in seconds."""
        return self.clickhouse.rows(
            "SELECT name, substring(name, position(name, '_') + 1) AS load_id,"
            " now() - metadata_modification_time AS age FROM system.tables"
            " WHERE database = {db:String}"
            " AND match(name, '^(staging|publishing|audit|wanted|content)_')",
            {"db": self.database},
        )

    def states(self, load_ids: Sequence[str]) -> dict[str, str]:
        """The state of each load that the ledger knows, of some."""
        rows = self.clickhouse.rows(
            f"SELECT load_id, state FROM {self._db}.loads WHERE load_id IN {{ids:Array(String)}}",
            {"ids": list(load_ids)},
        )
        return {row["load_id"]: row["state"] for row in rows}

    def events(self, load_id: str) -> list[dict[str, Any]]:
        """States of a load in order, each with its detail decoded."""
        rows = self.clickhouse.rows(
            f"SELECT state, owner, detail, at FROM {self._db}.load_events"
            " WHERE load_id = {id:String} ORDER BY at",
            {"id": load_id},
        )
        return [row | {"detail": msgspec.json.decode(row["detail"])} for row in rows]

    def chunks(self, load_id: str) -> dict[int, list[OffsetRange]]:
        """The load's ranges by chunk."""
        rows = self.clickhouse.rows(
            f"SELECT chunk, partition, low, high FROM {self._db}.load_ranges"
            " WHERE load_id = {id:String} ORDER BY chunk, partition, low",
            {"id": load_id},
        )
        found: dict[int, list[OffsetRange]] = {}
        for row in rows:
            r = OffsetRange(row["partition"], row["low"], row["high"])
            found.setdefault(row["chunk"], []).append(r)
        return found

    def taken(self, topic: str, besides: str = "") -> list[tuple[str, str, OffsetRange]]:
        """(load, state, range) of all live and published loads but ``besides``."""
        rows = self.clickhouse.rows(
            f"SELECT r.load_id AS load_id, l.state AS state, r.partition AS partition,"
            f" r.low AS low, r.high AS high"
            f" FROM {self._db}.load_ranges AS r"
            f" INNER JOIN {self._db}.loads AS l ON l.load_id = r.load_id"
            " WHERE r.topic = {topic:String} AND r.load_id != {besides:String}"
            " AND l.state NOT IN ('abandoned', 'withdrawn')",
            {"topic": topic, "besides": besides},
        )
        return [
            (r["load_id"], r["state"], OffsetRange(r["partition"], r["low"], r["high"]))
            for r in rows
        ]

    def finish_chunk(self, load_id: str, topic: str, result: ChunkResult) -> None:
        """Record that an attempt reached its chunk's end; the first one recorded counts."""
        row = {"load_id": load_id, "topic": topic} | msgspec.structs.asdict(result)
        token = f"{load_id}/{result.chunk}/{result.attempt}/finished"
        self.clickhouse.insert(f"{self._db}.load_chunks", [row], token)

    def winners(self, load_id: str) -> dict[int, ChunkResult]:
        """The attempt of each finished chunk that counts."""
        rows = self.clickhouse.rows(
            f"SELECT * EXCEPT (load_id, topic, at) FROM {self._db}.load_chunks"
            " WHERE load_id = {id:String} ORDER BY chunk, at, attempt LIMIT 1 BY chunk",
            {"id": load_id},
        )
        return {row["chunk"]: ChunkResult(**row) for row in rows}

    def audited_attempts(self, load_id: str) -> dict[int, str]:
        """The attempt of each chunk that the load's last good audit counted."""
        audits = [e for e in self.events(load_id) if e["state"] == AUDITED]
        return {int(n): attempt for n, attempt in audits[-1]["detail"]["attempts"].items()}

    def rate(self, topic: str) -> float:
        """Offsets a second that the last ten published loads took from plan to end; 0 for none."""
        rows = self.clickhouse.rows(
            "SELECT sum(planned) AS offsets, sum(seconds) AS seconds FROM ("
            f" SELECT dateDiff('millisecond', l.planned_at, l.last_at) / 1000"
            "  AS seconds, r.planned AS planned"
            f" FROM {self._db}.loads AS l INNER JOIN"
            f"  (SELECT load_id, sum(high - low) AS planned FROM {self._db}.load_ranges"
            "   WHERE topic = {topic:String} GROUP BY load_id) AS r ON r.load_id = l.load_id"
            " WHERE l.topic = {topic:String} AND l.state = 'published'"
            " ORDER BY l.planned_at DESC LIMIT 10)",
            {"topic": topic},
        )
        offsets, seconds = rows[0]["offsets"], rows[0]["seconds"]
        return float(offsets) / seconds if seconds else 0.0

    def add_skips(
        self, load_id: str, topic: str, attempt: str, skips: Iterable[Skip], token: str
    ) -> None:
        """Record offsets that carry no message to load."""
        rows = [
            {
                "load_id": load_id,
                "topic": topic,
                "attempt": attempt,
                "partition": skip.range.partition,
                "low": skip.range.low,
                "high": skip.range.high,
                "kind": skip.kind,
            }
            for skip in skips
        ]
        self.clickhouse.insert(f"{self._db}.load_skips", rows, token)

    def add_quarantined(self, rows: Sequence[Mapping[str, Any]], token: str) -> None:
        """Keep refused messages; the rows are as the table has them."""
        self.clickhouse.insert(f"{self._db}.quarantine_rows", rows, token)

    def add_accounts(self, load_id: str, topic: str, accounts: Iterable[Account]) -> None:
        """Record the account of a load by partition."""
        rows = [
            {"load_id": load_id, "topic": topic} | msgspec.structs.asdict(account)
            for account in accounts
        ]
        token = f"{load_id}/accounts/{msgspec.json.encode(rows).decode()}"
        self.clickhouse.insert(f"{self._db}.load_accounts", rows, token)

    def accounts(self, load_id: str) -> list[Account]:
        """The load's last account, by partition."""
        rows = self.clickhouse.rows(
            "SELECT partition, planned, loaded, upgraded, quarantined, tombstones, absent"
            f" FROM {self._db}.load_accounts WHERE load_id = {{id:String}}"
            " ORDER BY partition, at DESC LIMIT 1 BY partition",
            {"id": load_id},
        )
        return [Account(**row) for row in rows]
