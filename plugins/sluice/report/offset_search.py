"""The state of one offset: which load holds it, or where it is in the topic."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sluice.contract import Contract
from sluice.errors import BrokerError, EngineError
from sluice.records import Watermarks
from sluice.report.found_message import FoundMessage
from sluice.sql import quote_identifier
from sluice.store.clickhouse import UNKNOWN_TABLE, ClickHouse
from sluice.store.load_state import State

ReadWatermarks = Callable[[], Mapping[int, Watermarks]]
"""Reads the topic's watermarks by partition; raises BrokerError if the broker is away."""


class _Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A load that has planned the offset."""

    load_id: str
    state: State
    run: str
    at: Any
    chunk: int
    revision: int


class OffsetSearch:
    """Finds the state of offsets of one topic, for which there is neither row nor refusal.

    Args:
        read_watermarks: asks the broker; called only for an offset that no load holds.
    """

    def __init__(
        self,
        contract: Contract,
        clickhouse: ClickHouse,
        database: str,
        read_watermarks: ReadWatermarks,
    ) -> None:
        self._contract, self._clickhouse = contract, clickhouse
        self._db = quote_identifier(database)
        self._read_watermarks = read_watermarks

    def find(self, partition: int, offset: int) -> list[FoundMessage]:
        """The state of an offset: one entry per load that holds it, or one about the topic."""
        holders = self._holders(partition, offset)
        live = [holder for holder in holders if not holder.state.is_end]
        published = [holder for holder in holders if holder.state is State.PUBLISHED]
        place: dict[str, Any] = {
            "topic": self._contract.topic,
            "partition": partition,
            "offset": offset,
        }
        found = [self._of_load(place, holder, self._status(holder, place)) for holder in live]
        if published:
            skips = self._skips(place)
            # The load of the highest revision accounts for the offset; see HeldRange.
            last = max(published, key=lambda holder: holder.revision)
            status = skips.get(last.load_id) or self._status_without_row()
            found.append(self._of_load(place, last, status))
        if found:
            return found
        ended = [holder for holder in holders if holder.state is State.ABANDONED]
        note = ""
        if ended:
            note = f"Load {ended[-1].load_id} had planned it, and was given up."
        return [self._in_topic(place, note)]

    def _of_load(self, place: dict[str, Any], holder: _Holder, status: str) -> FoundMessage:
        about = {"load_id": holder.load_id, "run": holder.run, "at": holder.at}
        return FoundMessage(**place, **about, status=status)

    def _status_without_row(self) -> str:
        """The status of a published offset that has no row; an empty table has no newer one."""
        table = self._contract.table
        if not table.replaces:
            return "missing"
        try:
            rows = self._clickhouse.rows(
                f"SELECT 1 AS one FROM {self._clickhouse.qualified(table.name)} LIMIT 1"
            )
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:
                raise
            rows = []
        return "newer" if rows else "missing"

    def _status(self, holder: _Holder, place: dict[str, Any]) -> str:
        """The state of an offset that an unfinished load holds."""
        if holder.state.is_publishing:
            return "publishing"
        read = self._clickhouse.rows(
            f"SELECT 1 AS one FROM {self._db}.load_chunks"
            " WHERE topic = {topic:String} AND load_id = {load:String} AND chunk = {chunk:UInt32}"
            " LIMIT 1",
            {"topic": place["topic"], "load": holder.load_id, "chunk": holder.chunk},
        )
        if not read:
            return "reserved"
        return "held" if holder.state is State.HELD else "staged"

    def _holders(self, partition: int, offset: int) -> list[_Holder]:
        """The loads that have planned the offset, the oldest first."""
        rows = self._clickhouse.rows(
            "SELECT r.load_id AS load_id, l.state AS state, l.owner AS run, l.last_at AS at,"
            " r.chunk AS chunk, r.revision AS revision"
            f" FROM {self._db}.load_ranges AS r"
            f" INNER JOIN {self._db}.loads AS l ON l.topic = r.topic AND l.load_id = r.load_id"
            " WHERE r.topic = {topic:String} AND r.partition = {p:Int32}"
            " AND r.low <= {o:Int64} AND r.high > {o:Int64} ORDER BY l.planned_at",
            {"topic": self._contract.topic, "p": partition, "o": offset},
        )
        return [_Holder(**row | {"state": State(row["state"])}) for row in rows]

    def _skips(self, place: dict[str, Any]) -> dict[str, str]:
        """Load → why it has no message of the offset."""
        rows = self._clickhouse.rows(
            "SELECT s.load_id AS load_id, toString(s.kind) AS kind"
            f" FROM {self._db}.load_skips AS s INNER JOIN {self._db}.accepted_attempts AS a"
            "  ON a.topic = s.topic AND a.load_id = s.load_id AND a.attempt = s.attempt"
            " WHERE s.topic = {topic:String} AND s.partition = {partition:Int32}"
            " AND s.low <= {offset:Int64} AND s.high > {offset:Int64}",
            place,
        )
        return {row["load_id"]: row["kind"] for row in rows}

    def _in_topic(self, place: dict[str, Any], note: str) -> FoundMessage:
        """The state of an offset that no load holds."""
        try:
            marks = self._read_watermarks()
        except BrokerError:
            return FoundMessage(**place, status="unknown", note=note)
        mark = marks.get(place["partition"])
        if mark is None:
            last = max(marks, default=-1)
            note = f"It has the partitions 0 to {last}."
            return FoundMessage(**place, status="no partition", note=note)
        if place["offset"] >= mark.high:
            note = f"The partition ends before offset {mark.high}."
            return FoundMessage(**place, status="beyond the end", note=note)
        if place["offset"] < mark.low:
            note = f"{note} The partition begins at offset {mark.low}.".strip()
            return FoundMessage(**place, status="removed", note=note)
        return FoundMessage(**place, status="not loaded", note=note)
