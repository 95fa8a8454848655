"""Queries of the quarantine, which keeps refused messages whole, with their place and reason.

Payloads are untrusted bytes. They are bound as parameters, never made part of a statement, and are
escaped for display.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from sluice.ranges import OffsetRange, merge
from sluice.sql import offset_condition, quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.request import RefusalFilter

PAGE = 1_000
PAGE_BYTES = 32_000_000
"""Messages, and bytes of keys, values and headers, per query. One message may be larger."""


class RefusalGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Refused messages with the same reason, field and version.

    Attributes:
        count: how many there are.
        first, last: when the first and the last of them were refused.
        example: the text of the refusal at the lowest partition and offset.
        partition, offset: the place of that example.
    """

    reason: str
    field: str
    version: str
    count: int
    first: datetime
    last: datetime
    example: str
    partition: int
    offset: int


class RefusedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One refused message, with all its bytes.

    Attributes:
        timestamp: its Kafka timestamp; 1970-01-01 if that is no time from 1970 to 2299.
        timestamp_ms: its timestamp as Kafka has it, in milliseconds since 1970; -1 if it has none.
        key, value: None if null.
        headers: its Kafka headers in order; the value of a header may be None.
        reason, field, message, version, code: as in :class:`~sluice.errors.Refusal`.
        load_id: the load that refused it.
        status: see :class:`RefusalFilter`.
        resolved_by: the load that has read it again; empty if none has.
        repaired: whether that load's repair function changed it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    reason: str
    field: str
    message: str
    version: str
    code: int
    load_id: str
    status: str
    resolved_by: str = ""
    repaired: bool = False


class Quarantine:
    """Reads the quarantine of one Sluice database; never writes."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quote_identifier(database)

    def groups(self, wanted: RefusalFilter) -> list[RefusalGroup]:
        """The matching messages grouped by reason, field and version, most frequent first."""
        where, parameters = _where(wanted)
        rows = self._clickhouse.rows(
            "SELECT q.reason AS reason, q.field AS field, q.version AS version, count() AS count,"
            " min(q.at) AS first, max(q.at) AS last,"
            " argMin((q.partition, q.offset, q.message), (q.partition, q.offset)) AS one,"
            " one.1 AS partition, one.2 AS offset, one.3 AS example"
            f" FROM {self._db}.quarantine AS q WHERE {where}"
            " GROUP BY reason, field, version ORDER BY count DESC, reason, field, version",
            parameters,
        )
        return [RefusalGroup(**{k: v for k, v in row.items() if k != "one"}) for row in rows]

    def count_open(self, topic: str) -> int:
        """How many messages of a topic are in quarantine, and no later load has read again."""
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS n FROM {self._db}.quarantine AS q"
            " WHERE q.topic = {topic:String} AND q.status = 'quarantined'",
            {"topic": topic},
        )
        return int(row["n"])

    def messages(self, wanted: RefusalFilter, most: int = 0) -> Iterator[RefusedMessage]:
        """The matching messages, ordered by partition and offset.

        Args:
            most: maximum number of messages; 0 for all.
        """
        for page in self.pages(wanted, most=most):
            yield from page

    def pages(
        self, wanted: RefusalFilter, ranges: Sequence[OffsetRange] | None = None, most: int = 0
    ) -> Iterator[list[RefusedMessage]]:
        """The matching messages, ordered by partition and offset, in pages.

        Args:
            ranges: only messages in these ranges; None for all.
            most: maximum number of messages; 0 for all.
        """
        where, parameters = _where(wanted)
        if ranges is not None:
            where += f" AND ({offset_condition(ranges, 'q.partition', 'q.offset')})"
        after, left = (-1, -1, ""), most
        while not most or left > 0:
            size = min(PAGE, left) if most else PAGE
            place = "(q.partition, q.offset, q.load_id)"
            where_after = f"{where} AND {place} > ({{p:Int64}}, {{o:Int64}}, {{l:String}})"
            parameters |= {"p": after[0], "o": after[1], "l": after[2], "n": size}
            # Sizes first: neither ClickHouse nor this process then holds more than a page.
            places = self._clickhouse.rows(
                "SELECT q.partition AS partition, q.offset AS offset, q.load_id AS load_id,"
                " ifNull(length(q.key), 0) + ifNull(length(q.value), 0)"
                " + arraySum(h -> ifNull(length(h.2), 0), q.headers) AS bytes"
                f" FROM {self._db}.quarantine AS q WHERE {where_after}"
                " ORDER BY partition, offset, load_id LIMIT {n:UInt64}",
                parameters,
            )
            if not places:
                return
            page = places[: count_fitting([row["bytes"] for row in places])]
            after = (page[-1]["partition"], page[-1]["offset"], page[-1]["load_id"])
            rows = self._clickhouse.rows(
                "SELECT q.topic AS topic, q.partition AS partition, q.offset AS offset,"
                " q.timestamp AS timestamp, q.timestamp_ms AS timestamp_ms,"
                " hex(q.key) AS key, hex(q.value) AS value,"
                " arrayMap(h -> (h.1, hex(h.2)), q.headers) AS headers, q.reason AS reason,"
                " q.field AS field, q.message AS message, q.version AS version, q.code AS code,"
                " q.load_id AS load_id, q.status AS status,"
                " q.resolved_by AS resolved_by, q.repaired AS repaired"
                f" FROM {self._db}.quarantine AS q WHERE {where_after}"
                f" AND {place} <= ({{last_p:Int64}}, {{last_o:Int64}}, {{last_l:String}})"
                " ORDER BY partition, offset, load_id LIMIT {n:UInt64}",
                parameters | {"last_p": after[0], "last_o": after[1], "last_l": after[2]},
            )
            if rows:
                yield [_message(row) for row in rows]
            if len(places) < size and len(page) == len(places):
                return
            left -= len(page)

    def offsets(
        self, wanted: RefusalFilter, partitions: Collection[int], most: int
    ) -> list[OffsetRange]:
        """The offsets of the matching messages in some partitions, as the fewest ranges.

        Args:
            most: maximum number of offsets; those refused earliest are returned.
        """
        where, parameters = _where(wanted)
        rows = self._clickhouse.rows(
            "SELECT partition, arraySort(groupArray(offset)) AS offsets FROM ("
            " SELECT q.partition AS partition, q.offset AS offset"
            f" FROM {self._db}.quarantine AS q WHERE {where}"
            " AND q.partition IN {partitions:Array(Int32)}"
            " ORDER BY q.at, partition, offset LIMIT {most:UInt64}) GROUP BY partition",
            parameters | {"partitions": list(partitions), "most": most},
        )
        return merge(OffsetRange(r["partition"], o, o + 1) for r in rows for o in r["offsets"])


def count_fitting(sizes: Sequence[int]) -> int:
    """How many of the next messages one page takes, by their sizes in bytes; at least one."""
    totals = itertools.accumulate(sizes)
    return max(1, sum(1 for total in totals if total <= PAGE_BYTES))


def _message(row: dict[str, Any]) -> RefusedMessage:
    headers = [(name, _bytes(value)) for name, value in row["headers"]]
    raw = {name: _bytes(row[name]) for name in ("key", "value")}
    return RefusedMessage(**(row | raw | {"headers": headers}))


def _bytes(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)


def _where(wanted: RefusalFilter) -> tuple[str, dict[str, Any]]:
    """A condition over the view ``quarantine`` as ``q``, and its parameters."""
    conditions, parameters = [], {}
    columns = {
        "topic": ("q.topic =", "String"),
        "status": ("q.status =", "String"),
        "reason": ("q.reason =", "String"),
        "field": ("q.field =", "String"),
        "version": ("q.version =", "String"),
        "load_id": ("q.load_id =", "String"),
        "partition": ("q.partition =", "Int64"),
        "low": ("q.offset >=", "Int64"),
        "high": ("q.offset <", "Int64"),
    }
    for name, (comparison, type_) in columns.items():
        value = getattr(wanted, name)
        if value not in ("", None):
            conditions.append(f"{comparison} {{{name}:{type_}}}")
            parameters[name] = value
    return " AND ".join(conditions), parameters


def printable(data: bytes) -> str:
    """Bytes as text without control characters or other unprintable ones; those are escaped."""
    return printable_text(data.decode("utf-8", "backslashreplace"))


def printable_text(text: str) -> str:
    """The same for a text: a terminal would obey the control characters in it."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def export_record(message: RefusedMessage) -> dict[str, Any]:
    """A message as a record of an export: key and value in base64, and as text if it is UTF-8.

    What is null in the message is null in the record; what is empty is the empty string.
    """
    fields: dict[str, Any] = msgspec.to_builtins(message)
    for name in ("key", "value"):
        fields[f"{name}_base64"] = fields.pop(name)
        data: bytes | None = getattr(message, name)
        try:
            fields[f"{name}_text"] = None if data is None else data.decode()
        except UnicodeDecodeError:
            fields[f"{name}_text"] = None
    fields["headers"] = [{"name": n, "value_base64": v} for n, v in fields.pop("headers")]
    return fields
