"""Where is message X? Which load has loaded, staged, refused or reserved it; or why none has."""

from collections.abc import Mapping
from typing import Any

from sluice.contract import Contract
from sluice.contract.ddl import LINEAGE, ClickHouseSchemaMapper
from sluice.errors import BrokerError, EngineError, PlanError
from sluice.records import Watermarks
from sluice.report.found_message import FoundMessage
from sluice.report.offset_search import OffsetSearch, ReadWatermarks
from sluice.report.search_value import EXACT_FLOATS, is_value
from sluice.sql import quote_identifier
from sluice.store.clickhouse import UNKNOWN_TABLE, ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load, State
from sluice.store.request import is_offset

MOST = 100
"""Most messages that one search returns."""

CORRELATION = "correlation_id"

PAST = ("dropped", "superseded")
"""Statuses of refused messages after which something else became of the offset."""


def _no_broker() -> Mapping[int, Watermarks]:
    raise BrokerError("no broker was given")


class MessageFinder:
    """Searches the messages of one topic.

    Args:
        read_watermarks: see :class:`OffsetSearch`.
    """

    def __init__(
        self,
        contract: Contract,
        clickhouse: ClickHouse,
        database: str,
        read_watermarks: ReadWatermarks = _no_broker,
    ) -> None:
        self._contract, self._clickhouse = contract, clickhouse
        self._ledger = Ledger(clickhouse, database)
        self._offsets = OffsetSearch(contract, clickhouse, database, read_watermarks)
        self._db = quote_identifier(database)
        self._table = clickhouse.qualified(contract.table.name)
        self._columns = {c.name: c for c in ClickHouseSchemaMapper.of(contract).columns}

    def find(self, name: str, value: str, payloads: bool = True) -> list[FoundMessage]:
        """Messages whose column has a value, loaded or staged, and refused ones that contain it.

        For an offset there is always an answer: each :class:`FoundMessage` has a sentence.

        Args:
            name: a column of the table, ``correlation_id``, or ``offset`` with a value such as
                ``3:81234``.
            payloads: whether the payloads of refused messages are searched; else only their
                headers are, for the whole value.

        Raises:
            PlanError: there is no such column, or the value does not fit its type.
        """
        if name == "offset":
            return self._at(value)
        parameters = {"value": value}
        if name == CORRELATION and name not in self._columns:
            where = staged_where = "_correlation_id = {value:String}"
        elif name in self._columns:
            # Of a nullable type ClickHouse makes null of what is no value.
            type_ = self._columns[name].type.stored.plain
            if not is_value(self._clickhouse, value, type_):
                raise PlanError(
                    f"{value!r} is not a value of type {type_}",
                    topic=self._contract.topic,
                    field=name,
                )
            parameters["type"] = str(type_)
            typed = "CAST({value:String}, {type:String})"
            where = f"{quote_identifier(name)} = {typed}"
            staged_where = f"{self._columns[name].source} = {typed}"
        else:
            known = ", ".join((*self._columns, CORRELATION, "offset"))
            raise PlanError(
                f"there is no column {name!r} to search; there are {known}",
                topic=self._contract.topic,
                field=name,
            )
        found = [*self._loaded(where, parameters), *self._staged(staged_where, parameters)]
        matches = "arrayExists(h -> h.2 = {value:String}, q.headers)"
        if payloads:
            matches = f"(position(q.value, {{value:String}}) > 0 OR {matches})"
        return [*found, *self._refused(matches, {"value": value})]

    def _at(self, value: str) -> list[FoundMessage]:
        partition, _, offset = value.partition(":")
        if not (is_offset(partition) and is_offset(offset)):
            raise PlanError(
                f"an offset is written partition:offset, such as 3:81234; not {value}",
                topic=self._contract.topic,
                field="offset",
            )
        place = int(partition), int(offset)
        if place[0] >= 1 << 31 or place[1] >= 1 << 63:
            raise PlanError(
                "Kafka has no such offset: the number is too large",
                topic=self._contract.topic,
                field="offset",
            )
        at = {"p": place[0], "o": place[1]}
        found = [
            *self._loaded("_partition = {p:Int32} AND _offset = {o:Int64}", at),
            *self._staged("_partition = {p:Int32} AND _offset = {o:Int64}", at),
            *self._refused("q.partition = {p:Int32} AND q.offset = {o:Int64}", at),
        ]
        if any(message.status not in PAST for message in found):
            return found
        return [*self._offsets.find(*place), *found]

    def _staged(self, where: str, parameters: dict[str, Any]) -> list[FoundMessage]:
        """Rows that unfinished loads have staged, and that are not visible yet."""
        found: list[FoundMessage] = []
        for load in self._ledger.loads_of(self._contract.topic, live=True):
            found += self._staged_by(load, where, parameters)
        return found

    def _staged_by(self, load: Load, where: str, parameters: dict[str, Any]) -> list[FoundMessage]:
        accepted = self._ledger.attempts.accepted(load.topic, load.load_id).values()
        try:
            rows = self._clickhouse.rows(
                "SELECT _partition AS partition, _offset AS offset,"
                " fromUnixTimestamp64Milli(_timestamp, 'UTC') AS timestamp,"
                " _correlation_id AS correlation_id"
                f" {self._ledger.staging.rows(load).accepted} AND {where}"
                f" AND (_partition, _offset) NOT IN (SELECT _partition, _offset FROM {self._table}"
                "  WHERE _topic = {topic:String} AND _load_id = {load:String})"
                f" ORDER BY partition, offset LIMIT {MOST}",
                parameters
                | {
                    "attempts": [result.attempt for result in accepted],
                    "topic": load.topic,
                    "load": load.load_id,
                },
                EXACT_FLOATS,
            )
        except EngineError as error:
            if error.transient:
                raise
            return []  # it was staged under another contract, or has ended since
        status = "held" if load.state is State.HELD else "staged"
        if load.state.is_publishing:
            status = "publishing"
        about = {"topic": load.topic, "load_id": load.load_id, "run": load.owner, "status": status}
        return [FoundMessage(**row | about, at=load.last_at) for row in rows]

    def _loaded(self, where: str, parameters: dict[str, Any]) -> list[FoundMessage]:
        try:
            rows = self._clickhouse.rows(
                "SELECT t._topic AS topic, t._partition AS partition, t._offset AS offset,"
                " 'loaded' AS status, toString(t._load_id) AS load_id, l.owner AS run,"
                " t._loaded_at AS at, t._timestamp AS timestamp,"
                " t._correlation_id AS correlation_id"
                f" FROM (SELECT {', '.join(LINEAGE)} FROM {self._table}"
                f" WHERE _topic = {{topic:String}} AND {where} LIMIT {MOST}) AS t"
                f" LEFT JOIN (SELECT load_id, owner FROM {self._db}.loads"
                "  WHERE topic = {topic:String}) AS l ON l.load_id = toString(t._load_id)"
                " ORDER BY partition, offset",
                parameters | {"topic": self._contract.topic},
                EXACT_FLOATS,
            )
        except EngineError as error:
            if error.code == UNKNOWN_TABLE:
                return []
            raise
        return [FoundMessage(**row) for row in rows]

    def _refused(self, where: str, parameters: dict[str, Any]) -> list[FoundMessage]:
        rows = self._clickhouse.rows(
            "SELECT q.topic AS topic, q.partition AS partition, q.offset AS offset,"
            " q.status AS status, q.load_id AS load_id, l.owner AS run, q.at AS at,"
            " q.timestamp AS timestamp, q.reason AS reason, q.field AS field,"
            " q.message AS message"
            f" FROM {self._db}.quarantine AS q INNER JOIN {self._db}.loads AS l"
            "  ON l.topic = q.topic AND l.load_id = q.load_id"
            f" WHERE q.topic = {{topic:String}} AND q.status != 'loaded' AND {where}"
            f" ORDER BY partition, offset, at LIMIT {MOST}",
            parameters | {"topic": self._contract.topic},
        )
        return [FoundMessage(**row) for row in rows]
