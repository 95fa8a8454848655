"""The ledger: the logs of all topics, and what is computed from them.

A load is *live* until it gets an end state: published, or abandoned (given up, so that its offsets
are free). Live and published loads hold their offsets; no other load may reserve them.
"""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sluice.contract.ddl import WORK_TABLE
from sluice.errors import LoadLost
from sluice.sql import quote_identifier
from sluice.store.attempts import AttemptRecords
from sluice.store.bookkeeping import create_bookkeeping
from sluice.store.clickhouse import ClickHouse
from sluice.store.load_state import Event, EventDetail, HeldRange, Load, Pace, State
from sluice.store.staging import Staging
from sluice.store.topic_log import TopicLog
from sluice.store.topic_state import Entry, TopicState


class Ledger:
    """Reads and writes the ledger of one Sluice database.

    Attributes:
        attempts: the records of the attempts at chunks.
        staging: the staging tables.
    """

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self.clickhouse, self.database = clickhouse, database
        self.attempts = AttemptRecords(clickhouse, database)
        self.staging = Staging(clickhouse, database)
        self._db = quote_identifier(database)
        self._logs: dict[str, TopicLog] = {}
        self._lock = threading.Lock()

    def create(self) -> None:
        """Create the database, or bring it up to date; see :func:`create_bookkeeping`."""
        create_bookkeeping(self.clickhouse, self.database)

    def log(self, topic: str) -> TopicLog:
        """The log of a topic."""
        with self._lock:
            if topic not in self._logs:
                self._logs[topic] = TopicLog(self.clickhouse, self.database, topic)
            return self._logs[topic]

    def state(self, topic: str, fresh: bool = True) -> TopicState:
        """The state of a topic.

        Args:
            fresh: see :meth:`TopicLog.read`. A decision may rest on a state that is not: an entry
                that follows another state is refused when it is appended.
        """
        return self.log(topic).read(fresh)

    def record(
        self,
        load_id: str,
        topic: str,
        state: State,
        owner: str,
        detail: EventDetail = EventDetail(),
    ) -> None:
        """Record a state of a load.

        Raises:
            LoadLost: the load has ended, or cannot get this state.
        """
        entry = Entry(load_id=load_id, state=state, owner=owner, detail=detail)
        self.log(topic).append(entry)

    def load(self, topic: str, load_id: str, fresh: bool = True) -> Load | None:
        """The load of an id, in no older state than was read before; None if the ledger does not
        have it.

        Args:
            fresh: see :meth:`state`.
        """
        if not load_id:
            return None
        state = self.log(topic).read(fresh)
        if live := state.live.get(load_id):
            return live

        def is_current(found: Load | None) -> bool:
            # An end that the log has been read up to must be among the entries of the load.
            return not (found and found.live and found.number <= state.entry)

        return self.clickhouse.until(
            lambda: next(iter(self.log(topic).loads(load_id)), None), is_current
        )

    def known(self, topic: str, load_id: str, fresh: bool = True) -> Load:
        """The load of an id that exists.

        Args:
            fresh: see :meth:`state`.

        Raises:
            LoadLost: the ledger has none.
        """
        load = self.load(topic, load_id, fresh) or self.clickhouse.until(
            lambda: self.load(topic, load_id), lambda found: found is not None
        )
        if load is None:
            raise LoadLost("the ledger has no such load", load_id=load_id)
        return load

    def topic_of(self, load_id: str) -> str:
        """The topic of a load; empty if the ledger does not have the load."""
        rows = self.clickhouse.rows(
            f"SELECT topic FROM {self._db}.topic_log WHERE load_id = {{id:String}} LIMIT 1",
            {"id": load_id},
        )
        return str(rows[0]["topic"]) if rows else ""

    def loads_of(
        self, topic: str, owner: str = "", live: bool = False, fresh: bool = True
    ) -> list[Load]:
        """Loads of a topic, newest first.

        Args:
            owner: only loads of this owner.
            live: only live loads.
            fresh: of live loads, see :meth:`state`.
        """
        if live:
            loads = list(self.state(topic, fresh).live.values())[::-1]
        else:
            loads = self.log(topic).loads(owner=owner)
        return [load for load in loads if not owner or load.owner == owner]

    def work_tables(self) -> list[dict[str, Any]]:
        """The temporary tables and views of audits and comparisons: ``name``, ``load_id`` (or a
        random id) and ``age`` in seconds.
        """
        return self.clickhouse.rows(
            "SELECT name, substring(name, position(name, '_') + 1) AS load_id,"
            " now() - metadata_modification_time AS age FROM system.tables"
            " WHERE database = {db:String} AND comment = {mark:String}",
            {"db": self.database, "mark": WORK_TABLE},
        )

    def last_activity(self, load: Load) -> datetime:
        """When the load last recorded an event or a finished chunk."""
        return max(
            load.last_at, self.attempts.last_finished_at(load.topic, load.load_id) or load.last_at
        )

    def states(self, load_ids: Sequence[str]) -> dict[str, State]:
        """Load id → state, of those loads that the ledger has."""
        rows = self.clickhouse.rows(
            f"SELECT load_id, state FROM {self._db}.loads WHERE load_id IN {{ids:Array(String)}}",
            {"ids": list(load_ids)},
        )
        return {row["load_id"]: State(row["state"]) for row in rows}

    def events(self, topic: str, load_id: str) -> list[Event]:
        """The history of a load, oldest first; the plan's detail is in :class:`Load`."""
        return [
            Event(state=e.state, owner=e.owner, at=e.at, detail=e.detail)
            for e in self.log(topic).entries(load_id)
        ]

    def held_ranges(self, topic: str) -> list[HeldRange]:
        """The ranges of all live and published loads of a topic, one by one."""
        return [
            HeldRange(
                load_id=load.load_id,
                state=load.state,
                kind=load.kind,
                revision=load.revision,
                range=r,
            )
            for load in self.log(topic).loads()
            if load.state is not State.ABANDONED
            for r in load.ranges
        ]

    def published_rows(self, topic: str) -> int:
        """How many rows the published loads of a topic have made visible."""
        published = [x.load_id for x in self.loads_of(topic) if x.state is State.PUBLISHED]
        rows = self.clickhouse.rows(
            "SELECT sum(loaded) AS rows FROM ("
            f" SELECT argMax(loaded, at) AS loaded FROM {self._db}.load_accounts"
            "  WHERE topic = {topic:String} AND load_id IN {ids:Array(String)}"
            "  GROUP BY load_id, partition)",
            {"topic": topic, "ids": published},
        )
        return int(rows[0]["rows"])

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
