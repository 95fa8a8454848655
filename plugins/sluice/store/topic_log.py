"""The log of one topic: numbered entries, appended one after the other by any number of writers.

A writer reads the log, decides, and inserts the entry after the last one it has seen, under a token
made from the topic and the number. ClickHouse keeps one of several inserts with one token, so the
writer then reads the entry: if it is its own, it is committed; if not, another writer was first,
and it decides again. No decision rests on something that is not there: a writer that reads too
little collides, and looks again.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
import tenacity

from sluice.errors import EngineError, LoadLost
from sluice.ranges import OffsetRange
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.load_state import EventDetail, Load, PlanRecord, State
from sluice.store.topic_state import Entry, TopicState, apply, follow, refusal, reserved_load

log = structlog.get_logger()

CHECKPOINT_EVERY = 100
"""So many entries after the last checkpoint, whoever appends writes the next."""

FORMAT = 2
"""Of the checkpoints; others are not read."""

PATIENCE_SECONDS = 60.0
"""How long an entry that was inserted may stay invisible."""


class Written(NamedTuple):
    """Who wrote an entry, and the state after it."""

    writer: str
    state: TopicState


class TopicLog:
    """Reads and appends to the log of one topic. Safe to share between threads.

    Args:
        sleep: waits between two reads; a test may pass its own.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        database: str,
        topic: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clickhouse, self._topic, self._sleep = clickhouse, topic, sleep
        self._db = quote_identifier(database)
        self._lock = threading.Lock()
        self._state = TopicState(topic=topic)
        self._has_read = False
        self._seen = 0  # the last entry that this log has read
        self._checkpointed = 0  # the entry of the last checkpoint that this log read or wrote
        self._known: dict[tuple[str, str], tuple[int, list[Entry]]] = {}

    def read(self, fresh: bool = True) -> TopicState:
        """The state after the last entry that can be read, never before one that was read.

        Args:
            fresh: whether entries that were appended since the last read are looked for.
        """
        with self._lock:
            if fresh or not self._has_read:
                self._clickhouse.until(self._advance, lambda _: self._state.entry >= self._seen)
            return self._state

    def append(
        self, entry: Entry, seen: int = 0, allowed: Callable[[TopicState], str] = lambda _: ""
    ) -> TopicState:
        """Append an entry; the state after it.

        Args:
            entry: its number and time are set here.
            seen: see :func:`~.topic_state.refusal`.
            allowed: a further condition; returns why the entry may not follow a state.

        Raises:
            LoadLost: the entry may not follow the state that the log has reached.
            EngineError: ClickHouse did not accept it, or does not show it.
        """
        writer = uuid.uuid4().hex

        def why_not() -> str:
            return refusal(self._state, entry, seen) or allowed(self._state)

        with self._lock:
            # What was read before is enough to try: if there is more, another's entry is found.
            if not self._state.entry or why_not():
                self._advance()
            while not (why := why_not()):
                number = self._state.entry + 1
                self._insert(entry, number, writer)
                written = self._wait_for(number)
                if written and written.writer == writer:
                    if number - self._checkpointed >= CHECKPOINT_EVERY:
                        self.save_checkpoint(written.state)
                    return written.state
                log.info("log_entry_lost", topic=self._topic, entry=number, state=entry.state)
                self._remove(number, writer)
        raise LoadLost(
            f"{entry.state} is not possible: {why}", topic=self._topic, load_id=entry.load_id
        )

    def entries(self, load_id: str = "", owner: str = "") -> list[Entry]:
        """The entries of the log, in order: all, or those of one load, or of the loads that an
        owner has reserved or adopted.

        Those of a load or an owner are read again once the log is known to have more entries;
        replicas may lack some, so there they are always read.
        """
        if not (load_id or owner) or self._clickhouse.has_replicas:
            return self._read_entries(load_id, owner)
        at, found = self._known.get((load_id, owner), (0, []))
        if not at or at < self._state.entry:
            at, found = self._state.entry, self._read_entries(load_id, owner)
            self._known[load_id, owner] = at, found
        return found

    def _read_entries(self, load_id: str = "", owner: str = "") -> list[Entry]:
        conditions = []
        if load_id:
            conditions.append("load_id = {load:String}")
        if owner:
            conditions.append(
                f"load_id IN (SELECT load_id FROM {self._db}.topic_log"
                " WHERE topic = {topic:String} AND owner = {owner:String})"
            )
        where = ""
        if conditions:  # of an entry with several rows the first is valid, whatever it is about
            log_ = f"{self._db}.topic_log WHERE topic = {{topic:String}}"
            where = (
                f" AND entry IN (SELECT entry FROM {log_} AND {' AND '.join(conditions)})"
                f" AND entry > (SELECT max(entry) FROM {log_} AND state = 'forgotten')"
            )
        rows = self._rows(where, {"load": load_id, "owner": owner})
        found = [entry for entry, _ in rows]
        last = max((e.number for e in found if e.state is State.FORGOTTEN), default=0)
        return [e for e in found if e.number > last and (not load_id or e.load_id == load_id)]

    def last_entries(self, most: int) -> list[Entry]:
        """The last entries of the log, in order."""
        first = max(0, self.read().entry - most)
        return [entry for entry, _ in self._rows(" AND entry > {first:UInt64}", {"first": first})]

    def loads(self, load_id: str = "", owner: str = "") -> list[Load]:
        """The loads of those entries, the newest first."""
        loads: dict[str, Load] = {}
        for entry in self.entries(load_id, owner):
            if entry.state is State.RESERVED:
                loads[entry.load_id] = reserved_load(self._topic, entry)
            elif load := loads.get(entry.load_id):
                loads[entry.load_id] = follow(load, entry)
        return list(loads.values())[::-1]

    def save_checkpoint(self, state: TopicState) -> None:
        """Write a checkpoint; the log can be read without it."""
        row = {
            "topic": self._topic,
            "entry": state.entry,
            "format": FORMAT,
            "state": msgspec.json.encode(state).decode(),
        }
        token = f"checkpoint/{self._topic}/{state.entry}/{FORMAT}"
        self._clickhouse.insert(f"{self._db}.topic_checkpoints", [row], token)
        self._checkpointed = state.entry

    def forget(self, number: int) -> None:
        """Remove the entries before one, which says that the topic was forgotten."""
        for table in ("topic_log", "topic_checkpoints"):
            self._clickhouse.execute(
                f"DELETE FROM {self._db}.{table}"
                " WHERE topic = {topic:String} AND entry < {number:UInt64}",
                {"topic": self._topic, "number": number},
                {"lightweight_deletes_sync": 2},
            )

    def _advance(self) -> dict[int, Written]:
        """Read what follows the state; gives the new entries by number."""
        if not self._has_read:
            self._state = self._checkpoint() or self._state
            self._checkpointed, self._has_read = self._state.entry, True
        state, found = self._state, dict[int, Written]()
        for entry, writer in self._rows(" AND entry > {seen:UInt64}", {"seen": state.entry}):
            is_next = entry.number == state.entry + 1
            # The entries before a forgotten topic were removed.
            if not is_next and entry.state is not State.FORGOTTEN:
                break  # this replica has not received what is between
            state = apply(state, entry)
            found[entry.number] = Written(writer, state)
        self._state = state
        return found

    def _checkpoint(self) -> TopicState | None:
        rows = self._clickhouse.rows(
            f"SELECT state FROM {self._db}.topic_checkpoints"
            " WHERE topic = {topic:String} AND format = {format:UInt32}"
            " ORDER BY entry DESC LIMIT 1",
            {"topic": self._topic, "format": FORMAT},
        )
        return msgspec.json.decode(rows[0]["state"], type=TopicState) if rows else None

    def _wait_for(self, number: int) -> Written | None:
        """Read until the log has reached an entry; None if it is gone, since the topic was
        forgotten.
        """
        found: dict[int, Written] = {}

        def has_reached() -> bool:
            found.update(self._advance())
            return self._state.entry >= number

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda reached: not reached),
            stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
            wait=tenacity.wait_exponential(multiplier=0.01, max=1),
            sleep=self._sleep,
        )
        try:
            retrying(has_reached)
        except tenacity.RetryError:
            raise EngineError(
                0,
                f"entry {number} of the log of topic {self._topic!r} was inserted, and cannot be"
                f" read after {PATIENCE_SECONDS:.0f} seconds",
            ) from None
        return found.get(number)

    def _insert(self, entry: Entry, number: int, writer: str) -> None:
        reserves = entry.state is State.RESERVED
        row = {
            "topic": self._topic,
            "entry": number,
            "writer": writer,
            "load_id": entry.load_id,
            "state": entry.state,
            "owner": entry.owner,
            "detail": msgspec.json.encode(entry.plan if reserves else entry.detail).decode(),
            "revision": entry.revision,
            "chunks": [[(r.partition, r.low, r.high) for r in part] for part in entry.chunks],
        }
        token = f"log/{self._topic}/{number}"
        self._clickhouse.insert(f"{self._db}.topic_log", [row], token, serial=True)

    def _remove(self, number: int, writer: str) -> None:
        """Remove the row of an entry that another writer's row precedes, if there is one: it came
        after ClickHouse had forgotten the token.
        """
        mine = "topic = {topic:String} AND entry = {number:UInt64} AND writer = {writer:String}"
        parameters = {"topic": self._topic, "number": number, "writer": writer}
        found = f"SELECT 1 AS one FROM {self._db}.topic_log WHERE {mine}"
        if self._clickhouse.rows(found, parameters):
            self._clickhouse.execute(
                f"DELETE FROM {self._db}.topic_log WHERE {mine}",
                parameters,
                {"lightweight_deletes_sync": 2},
            )

    def _rows(self, where: str, parameters: Mapping[str, Any]) -> list[tuple[Entry, str]]:
        """The valid rows of some entries, and who wrote each."""
        rows = self._clickhouse.rows(
            "SELECT entry, writer, load_id, state, owner, detail, revision, chunks, at"
            f" FROM {self._db}.topic_log WHERE topic = {{topic:String}}{where}"
            " ORDER BY entry, at, writer LIMIT 1 BY entry",
            {"topic": self._topic, **parameters},
        )
        self._seen = max([self._seen, *(row["entry"] for row in rows)])
        return [(_entry(row), row["writer"]) for row in rows]


def _entry(row: Mapping[str, Any]) -> Entry:
    state, detail = State(row["state"]), EventDetail()
    plan = PlanRecord()
    if state is State.RESERVED:
        plan = msgspec.json.decode(row["detail"], type=PlanRecord)
    else:
        detail = msgspec.json.decode(row["detail"], type=EventDetail)
    return Entry(
        number=row["entry"],
        load_id=row["load_id"],
        state=state,
        owner=row["owner"],
        detail=detail,
        plan=plan,
        revision=row["revision"],
        chunks=_chunks(row["chunks"]),
        at=row["at"],
    )


def _chunks(chunks: Iterable[Sequence[Sequence[int]]]) -> tuple[tuple[OffsetRange, ...], ...]:
    return tuple(tuple(OffsetRange(*r) for r in part) for part in chunks)
