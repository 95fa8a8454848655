"""Where is message X? Which load has loaded it as which row, or why it was refused."""

from datetime import datetime
from typing import Any

import msgspec

from sluice.contract import Contract
from sluice.contract.ddl import LINEAGE, ClickHouseSchemaMapper
from sluice.errors import EngineError, PlanError
from sluice.sql import quote_identifier
from sluice.store.clickhouse import REFUSED_DATA, ClickHouse
from sluice.store.request import is_offset

MOST = 100
"""Most messages that one search returns."""

CORRELATION = "correlation_id"


class FoundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message that matches a search.

    Attributes:
        status: ``loaded``, or its status in quarantine: ``quarantined``, ``pending``, ``dropped``
            or ``superseded``.
        run: the DAG run or process of its load.
        at: when its row became visible, or when it was refused.
        timestamp: Kafka's timestamp of the message.
        reason: why it was refused; empty when it was not.
    """

    topic: str
    partition: int
    offset: int
    status: str
    load_id: str
    run: str
    at: datetime
    timestamp: datetime
    correlation_id: str = ""
    reason: str = ""
    field: str = ""
    message: str = ""


class MessageFinder:
    """Searches the messages of one topic."""

    def __init__(self, contract: Contract, clickhouse: ClickHouse, database: str) -> None:
        self._contract, self._clickhouse = contract, clickhouse
        self._db = quote_identifier(database)
        self._table = clickhouse.qualified(contract.table.name)
        self._types = {
            c.name: str(c.type.stored) for c in ClickHouseSchemaMapper.of(contract).columns
        }

    def find(self, name: str, value: str, payloads: bool = True) -> list[FoundMessage]:
        """Messages whose column has a value, and refused messages that contain it.

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
        if name == CORRELATION and name not in self._types:
            loaded = self._loaded("_correlation_id = {value:String}", {"value": value})
        elif name in self._types:
            kind = self._types[name]
            loaded = self._loaded(
                f"{quote_identifier(name)} = CAST({{value:String}}, {{type:String}})",
                {"value": value, "type": kind},
            )
        else:
            known = ", ".join((*self._types, CORRELATION, "offset"))
            raise PlanError(
                f"there is no column {name!r} to search; there are {known}",
                topic=self._contract.topic,
                field=name,
            )
        matches = "arrayExists(h -> h.2 = {value:String}, q.headers)"
        if payloads:
            matches = f"(position(q.value, {{value:String}}) > 0 OR {matches})"
        return [*loaded, *self._refused(matches, {"value": value})]

    def _at(self, value: str) -> list[FoundMessage]:
        partition, _, offset = value.partition(":")
        if not (is_offset(partition) and is_offset(offset)):
            raise PlanError(
                f"an offset is written partition:offset, such as 3:81234; not {value}",
                topic=self._contract.topic,
                field="offset",
            )
        at = {"p": int(partition), "o": int(offset)}
        return [
            *self._loaded("_partition = {p:Int32} AND _offset = {o:Int64}", at),
            *self._refused("q.partition = {p:Int32} AND q.offset = {o:Int64}", at),
        ]

    def _loaded(self, where: str, parameters: dict[str, Any]) -> list[FoundMessage]:
        try:
            rows = self._clickhouse.rows(
                "SELECT t._topic AS topic, t._partition AS partition, t._offset AS offset,"
                " 'loaded' AS status, toString(t._load_id) AS load_id, l.owner AS run,"
                " t._loaded_at AS at, t._timestamp AS timestamp,"
                " t._correlation_id AS correlation_id"
                f" FROM (SELECT {', '.join(LINEAGE)} FROM {self._table}"
                f" WHERE _topic = {{topic:String}} AND {where} LIMIT {MOST}) AS t"
                f" LEFT JOIN {self._db}.loads AS l ON l.load_id = toString(t._load_id)"
                " ORDER BY partition, offset",
                parameters | {"topic": self._contract.topic},
            )
        except EngineError as error:
            if error.code in REFUSED_DATA:
                value, kind = parameters["value"], parameters["type"]
                raise PlanError(
                    f"{value!r} is not a value of type {kind}", topic=self._contract.topic
                ) from error
            raise
        return [FoundMessage(**row) for row in rows]

    def _refused(self, where: str, parameters: dict[str, Any]) -> list[FoundMessage]:
        rows = self._clickhouse.rows(
            "SELECT q.topic AS topic, q.partition AS partition, q.offset AS offset,"
            " q.status AS status, q.load_id AS load_id, l.owner AS run, q.at AS at,"
            " q.timestamp AS timestamp, q.reason AS reason, q.field AS field,"
            " q.message AS message"
            f" FROM {self._db}.quarantine AS q INNER JOIN {self._db}.loads AS l"
            "  ON l.load_id = q.load_id"
            f" WHERE q.topic = {{topic:String}} AND q.status != 'loaded' AND {where}"
            f" ORDER BY partition, offset, at LIMIT {MOST}",
            parameters | {"topic": self._contract.topic},
        )
        return [FoundMessage(**row) for row in rows]
