"""The record of loads in ClickHouse: what each reserved, how far it came, how it ended.

Append-only. A load is *live* until an end state is written: published, abandoned (settled by
another after its run was over) or withdrawn (its planner met another reservation). Offsets of
live and of published loads are taken; no other load may plan them.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from sluice.contract.ddl import statements
from sluice.errors import EngineError
from sluice.ranges import OffsetRange
from sluice.sql import quoted
from sluice.store.attempts import AttemptRecords
from sluice.store.clickhouse import UNKNOWN_DATABASE, UNKNOWN_TABLE

PLANNED = "planned"
"""Written, but not yet held against other reservations."""
RESERVED = "reserved"
AUDITED = "audited"
HELD = "held"
FAILED = "failed"
PUBLISHING = "publishing"
REPLACING = "replacing"
"""Its rows are visible, and those that they replace are about to go."""
PUBLISHED = "published"
UNDER_WAY = (PUBLISHING, REPLACING)
"""States of a load whose rows are becoming visible."""
WITHDRAWN = "withdrawn"
ABANDONED = "abandoned"
ADOPTED = "adopted"
"""Not a state: the load has a new owner, who goes on with it."""

Kind = Literal["load", "replace", "replay"]
"""Of what no load had loaded; anew of what one has; or of messages in quarantine."""

ENDED = frozenset({PUBLISHED, WITHDRAWN, ABANDONED})

BOOKKEEPING = Path(__file__).with_name("bookkeeping.sql")


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

    @property
    def kind(self) -> "Kind":
        """What it loads."""
        kind: Kind = self.plan.get("kind", "load")
        return kind


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A range that a live or published load holds.

    Attributes:
        revision: of two published loads that hold an offset the higher one answers for it; 0
            for a load of what no other had loaded.
    """

    load_id: str
    state: str
    kind: Kind
    revision: int
    range: OffsetRange

    @property
    def published(self) -> bool:
        """Whether its load is published."""
        return self.state == PUBLISHED


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast loads were, and how large what they read was."""

    offsets_per_second: float
    bytes_per_offset: float


class Ledger(AttemptRecords):
    """Reads and writes the ledger of one Sluice database."""

    def create(self) -> None:
        """Create the database, its tables and its views, or bring them up to date."""
        text = BOOKKEEPING.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self._applied() == digest:
            return
        for statement in statements(re.sub(r"\bsluice\b(?=[.;])", lambda _: self._db, text)):
            self.clickhouse.execute(statement)
        row = {"digest": digest}
        self.clickhouse.insert(f"{self._db}.bookkeeping", [row], uuid.uuid4().hex)

    def _applied(self) -> str:
        """Digest of the statements that were applied last; empty when none were."""
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
        """The load's own table, while rows are added to it."""
        return f"{self._db}.{quoted('staging_' + load_id)}"

    def publishing_table(self, load_id: str) -> str:
        """The same table once publishing has begun; renamed, so that nothing more gets in."""
        return f"{self._db}.{quoted('publishing_' + load_id)}"

    def record(
        self,
        load_id: str,
        topic: str,
        state: str,
        owner: str,
        detail: Mapping[str, Any] = {},
        token: str = "",
    ) -> None:
        """Write one state of a load; a retried insert, or one with its token, leaves no second."""
        text = msgspec.json.encode(detail).decode()
        row = {"load_id": load_id, "topic": topic, "state": state, "owner": owner, "detail": text}
        self.clickhouse.insert(f"{self._db}.load_events", [row], token or uuid.uuid4().hex)

    def reserve(
        self,
        load_id: str,
        topic: str,
        owner: str,
        chunks: Sequence[Sequence[OffsetRange]],
        detail: Mapping[str, Any],
        kind: Kind = "load",
        revision: int = 0,
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
                "kind": kind,
                "revision": revision,
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

    def last_sign(self, load: Load) -> datetime:
        """When something was last heard of a load."""
        return max(load.last_at, self.last_chunk_at(load.load_id) or load.last_at)

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

    def revision(self, load_id: str) -> int:
        """Above 0 when the load answers for offsets that others have published."""
        rows = self.clickhouse.rows(
            f"SELECT max(revision) AS revision FROM {self._db}.load_ranges"
            " WHERE load_id = {id:String}",
            {"id": load_id},
        )
        return int(rows[0]["revision"])

    def taken(self, topic: str, besides: str = "") -> list[Taken]:
        """Ranges of all live and published loads but ``besides``."""
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
            Taken(
                load_id=r["load_id"],
                state=r["state"],
                kind=r["kind"],
                revision=r["revision"],
                range=OffsetRange(r["partition"], r["low"], r["high"]),
            )
            for r in rows
        ]

    def audited_attempts(self, load_id: str) -> dict[int, str]:
        """The attempt of each chunk that the load's last good audit counted."""
        audits = [e for e in self.events(load_id) if e["state"] == AUDITED]
        return {int(n): attempt for n, attempt in audits[-1]["detail"]["attempts"].items()}

    def pace(self, topic: str) -> Pace | None:
        """How fast the last ten loads were, from plan to end; None before the first."""
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
