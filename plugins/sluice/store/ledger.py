"""The ledger: which offsets each load reserved, and the history of its states.

It is append-only. A load is *live* until it gets an end state: published, abandoned (ended by
another run after its own run had ended) or withdrawn (its planner detected another reservation of
the same offsets). Live and published loads hold their offsets; no other load may plan them.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from sluice.contract.ddl import WORK_TABLE, statements
from sluice.errors import EngineError
from sluice.ranges import OffsetRange
from sluice.sql import quote_identifier
from sluice.store.attempts import AttemptRecords
from sluice.store.clickhouse import UNKNOWN_DATABASE, UNKNOWN_TABLE, ClickHouse
from sluice.store.load_state import (
    Event,
    EventDetail,
    HeldRange,
    Load,
    Pace,
    PlanRecord,
    State,
)

BOOKKEEPING = Path(__file__).with_name("bookkeeping.sql")
"""The tables and views of the Sluice database; ``sql/`` contains a copy for reading."""


class Ledger:
    """Reads and writes the ledger of one Sluice database.

    Attributes:
        attempts: the records of the attempts at chunks.
    """

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self.clickhouse, self.database = clickhouse, database
        self.attempts = AttemptRecords(clickhouse, database)
        self._db = quote_identifier(database)

    def create(self) -> None:
        """Create the database with its tables and views, or bring them up to date; repeatable."""
        text = BOOKKEEPING.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self._applied() == digest:
            return
        for statement in statements(re.sub(r"\bsluice\b(?=[.;])", lambda _: self._db, text)):
            self.clickhouse.execute(statement)
        row = {"digest": digest}
        self.clickhouse.insert(f"{self._db}.bookkeeping", [row], uuid.uuid4().hex)

    def _applied(self) -> str:
        """Digest of the statements that were applied last; empty if none were."""
        try:
            rows = self.clickhouse.rows(
                f"SELECT argMax(digest, at) AS digest FROM {self._db}.bookkeeping"
            )
        except EngineError as error:
            if error.code in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
                return ""
            raise
        return str(rows[0]["digest"])

    def staging_table(self, load_id: str) -> str:
        """Name of the load's staging table until it is published."""
        return f"{self._db}.{quote_identifier('staging_' + load_id)}"

    def publishing_table(self, load_id: str) -> str:
        """Name of the staging table once publishing has begun: the fence. A late attempt cannot
        insert into it under its old name.
        """
        return f"{self._db}.{quote_identifier('publishing_' + load_id)}"

    def record(
        self,
        load_id: str,
        topic: str,
        state: State,
        owner: str,
        detail: EventDetail | PlanRecord = EventDetail(),
        token: str = "",
    ) -> None:
        """Record a state of a load.

        Args:
            token: inserts with the same token leave one row; by default each call writes a row.
        """
        text = msgspec.json.encode(detail).decode()
        row = {"load_id": load_id, "topic": topic, "state": state, "owner": owner, "detail": text}
        self.clickhouse.insert(f"{self._db}.load_events", [row], token or uuid.uuid4().hex)

    def reserve(
        self,
        load_id: str,
        topic: str,
        owner: str,
        chunks: Sequence[Sequence[OffsetRange]],
        plan: PlanRecord,
        revision: int = 0,
    ) -> None:
        """Record a plan: the ranges first, then the event that makes them valid.

        Args:
            chunks: the ranges of each chunk.
            plan: what else is recorded of the plan.
            revision: see :class:`HeldRange`.
        """
        rows = [
            {
                "load_id": load_id,
                "topic": topic,
                "chunk": number,
                "partition": r.partition,
                "low": r.low,
                "high": r.high,
                "kind": plan.kind,
                "revision": revision,
            }
            for number, ranges in enumerate(chunks)
            for r in ranges
        ]
        self.clickhouse.insert(f"{self._db}.load_ranges", rows, f"{load_id}/ranges")
        self.record(load_id, topic, State.PLANNED, owner, plan)

    def load(self, load_id: str) -> Load | None:
        """The load of an id; None if the ledger does not have it."""
        loads = self._loads("load_id = {id:String}", {"id": load_id})
        return loads[0] if loads else None

    def loads_of(self, topic: str, owner: str | None = None, live: bool = False) -> list[Load]:
        """Loads of a topic, newest first.

        Args:
            owner: only loads of this owner.
            live: only live loads.
        """
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
            Load(
                **row
                | {
                    "state": State(row["state"]),
                    "plan": msgspec.json.decode(row["plan"], type=PlanRecord),
                }
            )
            for row in rows
        ]

    def work_tables(self) -> list[dict[str, Any]]:
        """The temporary tables of loads and audits: ``name``, ``load_id`` (or a random id) and
        ``age`` in seconds.
        """
        return self.clickhouse.rows(
            "SELECT name, substring(name, position(name, '_') + 1) AS load_id,"
            " now() - metadata_modification_time AS age FROM system.tables"
            " WHERE database = {db:String} AND comment = {mark:String}",
            {"db": self.database, "mark": WORK_TABLE},
        )

    def last_activity(self, load: Load) -> datetime:
        """When the load last recorded an event or a finished chunk."""
        return max(load.last_at, self.attempts.last_finished_at(load.load_id) or load.last_at)

    def states(self, load_ids: Sequence[str]) -> dict[str, State]:
        """Load id → state, of those loads that the ledger has."""
        rows = self.clickhouse.rows(
            f"SELECT load_id, state FROM {self._db}.loads WHERE load_id IN {{ids:Array(String)}}",
            {"ids": list(load_ids)},
        )
        return {row["load_id"]: State(row["state"]) for row in rows}

    def events(self, load_id: str) -> list[Event]:
        """The history of a load, oldest first; the plan's detail is in :class:`Load`."""
        rows = self.clickhouse.rows(
            f"SELECT state, owner, detail, at FROM {self._db}.load_events"
            " WHERE load_id = {id:String} ORDER BY at",
            {"id": load_id},
        )
        return [
            Event(
                state=State(row["state"]),
                owner=row["owner"],
                at=row["at"],
                detail=EventDetail()
                if row["state"] == State.PLANNED
                else msgspec.json.decode(row["detail"], type=EventDetail),
            )
            for row in rows
        ]

    def chunks(self, load_id: str) -> dict[int, list[OffsetRange]]:
        """Number of a chunk → its ranges."""
        rows = self.clickhouse.rows(
            f"SELECT chunk, partition, low, high FROM {self._db}.load_ranges"
            " WHERE load_id = {id:String} ORDER BY chunk, partition, low",
            {"id": load_id},
        )
        chunks: dict[int, list[OffsetRange]] = {}
        for row in rows:
            r = OffsetRange(row["partition"], row["low"], row["high"])
            chunks.setdefault(row["chunk"], []).append(r)
        return chunks

    def revision(self, load_id: str) -> int:
        """The load's revision; above 0 if it takes over offsets that other loads published."""
        rows = self.clickhouse.rows(
            f"SELECT max(revision) AS revision FROM {self._db}.load_ranges"
            " WHERE load_id = {id:String}",
            {"id": load_id},
        )
        return int(rows[0]["revision"])

    def held_ranges(self, topic: str, besides: str = "") -> list[HeldRange]:
        """The ranges of all live and published loads of a topic.

        Args:
            besides: id of a load to leave out.
        """
        rows = self.clickhouse.rows(
            f"SELECT r.load_id AS load_id, l.state AS state, r.kind AS kind,"
            f" r.revision AS revision, r.partition AS partition, r.low AS low, r.high AS high"
            f" FROM {self._db}.load_ranges AS r"
            f" INNER JOIN {self._db}.loads AS l ON l.load_id = r.load_id"
            " WHERE r.topic = {topic:String} AND r.load_id != {besides:String}"
            " AND l.state NOT IN ('abandoned', 'withdrawn')",
            {"topic": topic, "besides": besides},
        )
        return [
            HeldRange(
                load_id=r["load_id"],
                state=State(r["state"]),
                kind=r["kind"],
                revision=r["revision"],
                range=OffsetRange(r["partition"], r["low"], r["high"]),
            )
            for r in rows
        ]

    def published_rows(self, topic: str) -> int:
        """How many rows the published loads of a topic have made visible."""
        rows = self.clickhouse.rows(
            "SELECT sum(a.loaded) AS rows FROM ("
            f" SELECT load_id, argMax(loaded, at) AS loaded FROM {self._db}.load_accounts"
            "  WHERE topic = {topic:String} GROUP BY load_id, partition) AS a"
            f" INNER JOIN {self._db}.loads AS l ON l.load_id = a.load_id"
            " WHERE l.topic = {topic:String} AND l.state = 'published'",
            {"topic": topic},
        )
        return int(rows[0]["rows"])

    def audited_attempts(self, load_id: str) -> dict[int, str]:
        """Chunk → its accepted attempt, as recorded by the load's last successful audit."""
        audits = [e for e in self.events(load_id) if e.state is State.AUDITED]
        return dict(audits[-1].detail.attempts)

    def pace(self, topic: str) -> Pace | None:
        """The speed of the last ten published loads, from plan to end; None if there are none."""
        rows = self.clickhouse.rows(
            "SELECT sum(planned) AS offsets, sum(seconds) AS seconds, sum(bytes) AS bytes FROM ("
            f" SELECT dateDiff('millisecond', l.planned_at, l.last_at) / 1000 AS seconds,"
            "  r.planned AS planned, c.bytes AS bytes"
            f" FROM {self._db}.loads AS l INNER JOIN"
            f"  (SELECT load_id, sum(high - low) AS planned FROM {self._db}.load_ranges"
            "   WHERE topic = {topic:String} GROUP BY load_id) AS r ON r.load_id = l.load_id"
            f" LEFT JOIN (SELECT load_id, sum(bytes) AS bytes FROM {self._db}.load_chunks"
            "   WHERE topic = {topic:String} GROUP BY load_id) AS c ON c.load_id = l.load_id"
            " WHERE l.topic = {topic:String} AND l.state = 'published' AND seconds > 0"
            " ORDER BY l.planned_at DESC LIMIT 10)",
            {"topic": topic},
        )
        offsets, seconds = float(rows[0]["offsets"]), float(rows[0]["seconds"])
        if not offsets or not seconds:
            return None
        return Pace(
            offsets_per_second=offsets / seconds, bytes_per_offset=rows[0]["bytes"] / offsets
        )
