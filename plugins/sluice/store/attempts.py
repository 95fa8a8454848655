"""Records of the attempts at a load's chunks: results, skips, refused messages and accounts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from sluice.errors import EngineError
from sluice.ranges import OffsetRange
from sluice.records import Skip
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.load_state import Load


class ChunkResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an attempt that read its chunk to the end.

    Attributes:
        chunk: number of the chunk.
        attempt: id of the attempt.
        bytes: bytes of the values that it read.
        seconds: how long it took.
        cpu_seconds: processor time that it took.
        batches: micro-batches that it inserted.
    """

    chunk: int
    attempt: str
    bytes: int
    seconds: float
    cpu_seconds: float
    batches: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Offset counts of one partition of a load.

    The accounting identity is ``planned = loaded + quarantined + tombstones + absent``.

    Attributes:
        upgraded: how many of the loaded messages were of an older version.
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
        """By how much the identity fails: offsets unaccounted for (positive), or counted more than
        once (negative).
        """
        return self.planned - self.loaded - self.quarantined - self.tombstones - self.absent


class RawTimestamp(Protocol):
    """The timestamp of one message as Kafka has it."""

    @property
    def partition(self) -> int:
        """Partition of the message."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def timestamp_ms(self) -> int:
        """Its timestamp; -1 if it has none."""


class AttemptRecords:
    """Reads and writes the records of attempts in one Sluice database.

    Writes are repeatable: inserts with the same token leave one set of rows. Reads name the topic
    besides the load, since the tables are ordered by topic.
    """

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse = clickhouse
        self._db = quote_identifier(database)

    def finish(self, load_id: str, topic: str, result: ChunkResult) -> ChunkResult:
        """Record that an attempt read its chunk to the end; the first one recorded is accepted.

        All attempts at a chunk have one token, so ClickHouse keeps one of them.

        Returns:
            The accepted attempt, which may be another.

        Raises:
            EngineError: ClickHouse does not show what was recorded.
        """
        row = {"load_id": load_id, "topic": topic} | msgspec.structs.asdict(result)
        token = f"{load_id}/{result.chunk}/finished"
        self._clickhouse.insert(f"{self._db}.load_chunks", [row], token)
        accepted = self._clickhouse.until(
            lambda: self.accepted(topic, load_id).get(result.chunk), lambda found: found is not None
        )
        if accepted is None:
            raise EngineError(0, f"the end of chunk {result.chunk} was recorded, and is not there")
        return accepted

    def last_finished_at(self, topic: str, load_id: str) -> datetime | None:
        """When an attempt of the load last finished a chunk; None if none has."""
        rows = self._clickhouse.rows(
            f"SELECT max(at) AS at, count() AS n FROM {self._db}.load_chunks"
            " WHERE topic = {topic:String} AND load_id = {id:String}",
            {"topic": topic, "id": load_id},
        )
        return rows[0]["at"] if rows[0]["n"] else None

    def accepted(self, topic: str, load_id: str) -> dict[int, ChunkResult]:
        """The accepted attempt of each finished chunk: the first that read it to the end."""
        rows = self._clickhouse.rows(
            f"SELECT * EXCEPT (load_id, topic, at) FROM {self._db}.load_chunks"
            " WHERE topic = {topic:String} AND load_id = {id:String}"
            " ORDER BY chunk, at, attempt LIMIT 1 BY chunk",
            {"topic": topic, "id": load_id},
        )
        return {row["chunk"]: ChunkResult(**row) for row in rows}

    def accepted_of(self, load: Load) -> dict[int, ChunkResult]:
        """The same, once the attempts at all chunks are there; fewer if they are not."""
        return self._clickhouse.until(
            lambda: self.accepted(load.topic, load.load_id),
            lambda found: len(found) >= len(load.chunks),
        )

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
        self._clickhouse.insert(f"{self._db}.load_skips", rows, token)

    def add_quarantined(self, rows: Sequence[Mapping[str, Any]], token: str) -> None:
        """Write refused messages; ``rows`` have the columns of the table ``quarantine_rows``."""
        self._clickhouse.insert(f"{self._db}.quarantine_rows", rows, token)

    def add_accounts(self, load_id: str, topic: str, accounts: Iterable[Account]) -> None:
        """Record the accounts of a load, one per partition."""
        rows = [
            {"load_id": load_id, "topic": topic} | msgspec.structs.asdict(account)
            for account in accounts
        ]
        digest = sha256(msgspec.json.encode(rows)).hexdigest()
        token = f"{load_id}/accounts/{digest}"
        self._clickhouse.insert(f"{self._db}.load_accounts", rows, token)

    def accounts(self, topic: str, load_id: str) -> list[Account]:
        """The load's latest accounts, ordered by partition."""
        rows = self._clickhouse.rows(
            "SELECT partition, planned, loaded, upgraded, quarantined, tombstones, absent"
            f" FROM {self._db}.load_accounts"
            " WHERE topic = {topic:String} AND load_id = {id:String}"
            " ORDER BY partition, at DESC LIMIT 1 BY partition",
            {"topic": topic, "id": load_id},
        )
        return [Account(**row) for row in rows]

    def add_repairs(self, rows: Sequence[Mapping[str, Any]], token: str) -> None:
        """Write the values that were loaded in place of refused ones; ``rows`` have the columns of
        the table ``load_repairs``.
        """
        self._clickhouse.insert(f"{self._db}.load_repairs", rows, token)

    def add_timestamps(
        self,
        load_id: str,
        topic: str,
        attempt: str,
        timestamps: Iterable[RawTimestamp],
        token: str,
    ) -> None:
        """Record timestamps that are stored as 1970 because they cannot be stored as a time."""
        rows = [
            {
                "load_id": load_id,
                "topic": topic,
                "attempt": attempt,
                "partition": raw.partition,
                "offset": raw.offset,
                "timestamp_ms": raw.timestamp_ms,
            }
            for raw in timestamps
        ]
        self._clickhouse.insert(f"{self._db}.record_timestamps", rows, token)

    def unusable_timestamps(self, topic: str, load_id: str, attempts: Sequence[str]) -> int:
        """How many messages have a timestamp that is stored as 1970; in some attempts of a load."""
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS n FROM {self._db}.record_timestamps"
            " WHERE topic = {topic:String} AND load_id = {load:String}"
            " AND attempt IN {attempts:Array(String)}",
            {"topic": topic, "load": load_id, "attempts": list(attempts)},
        )
        return int(row["n"])

    def absent(self, topic: str, load_id: str, attempts: Sequence[str]) -> list[OffsetRange]:
        """Offsets for which the broker had no message, in the given attempts of a load."""
        rows = self._clickhouse.rows(
            f"SELECT partition, low, high FROM {self._db}.load_skips"
            " WHERE topic = {topic:String} AND load_id = {load:String} AND kind != 'tombstone'"
            " AND attempt IN {attempts:Array(String)}",
            {"topic": topic, "load": load_id, "attempts": list(attempts)},
        )
        return [OffsetRange(row["partition"], row["low"], row["high"]) for row in rows]
