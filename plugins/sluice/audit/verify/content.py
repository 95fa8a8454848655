"""Comparing the content of loaded rows with their messages, decoded again."""

import uuid
from collections.abc import Mapping, Sequence

from sluice.audit.verify.findings import Finding
from sluice.contract import Contract
from sluice.contract.ddl import LINEAGE, ClickHouseSchemaMapper
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import message_type
from sluice.decode.decoder import Decoder
from sluice.decode.tracing import read_tracing
from sluice.drain.batch_builder import ENCODER
from sluice.drain.repair import RepairingDecoder
from sluice.drain.row_insert import RowInsert
from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange, chunk, subtract
from sluice.records import Progress, Topic, readable_headers, timestamp_ms
from sluice.refusals import Refusal
from sluice.sql import offset_condition, quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.type_widening import widens

AT_ONCE = 200_000
"""Offsets that are staged and compared at a time."""

BATCH = 40_000
SHOWN = 20
"""Differing offsets that are listed per part."""

ATTEMPT = "content"


class ContentCheck:
    """Stages messages again, in scratch tables, and compares checksums row by row.

    The comparison uses today's contract: rows that were loaded under an older one differ where the
    contract has changed what a field becomes. Rows of a replay may come from repaired messages.
    """

    def __init__(
        self,
        contract: Contract,
        broker: Broker,
        clickhouse: ClickHouse,
        ledger: Ledger,
        decoder: Decoder,
    ) -> None:
        self._contract, self._broker, self._clickhouse = contract, broker, clickhouse
        self._repair = RepairingDecoder(contract, decoder)
        self._mapper = ClickHouseSchemaMapper.of(contract)
        self._form = message_type(contract.message).form
        self._target = clickhouse.qualified(contract.table.name)
        self._database = ledger.database

    def run(self, topic: Topic, ranges: Sequence[OffsetRange], progress: Progress) -> list[Finding]:
        """The rows that differ. The scratch tables are dropped; nothing else is written."""
        findings = []
        for part in chunk(ranges, AT_ONCE, most=1 << 30):
            name = f"content_{uuid.uuid4().hex}"
            table = f"{quote_identifier(self._database)}.{quote_identifier(name)}"
            self._clickhouse.execute(self._mapper.create_staging(table))
            inserting = RowInsert(self._clickhouse, self._database, name)
            try:
                gone = self._stage(inserting, topic, part, progress)
                findings += self._compare(table, subtract(part, gone))
            finally:
                self._clickhouse.execute(f"DROP TABLE IF EXISTS {table}")
        return findings

    def _stage(
        self, inserting: RowInsert, topic: Topic, part: list[OffsetRange], progress: Progress
    ) -> list[OffsetRange]:
        """Decode what the topic has; returns the offsets whose messages it no longer has.

        A message that ClickHouse refuses is left out, so it differs if a row of it is loaded.
        """
        gone: list[OffsetRange] = []
        rows: list[tuple[object, ...]] = []
        for records, skips in self._broker.read(topic, part):
            for record in records:
                value = record.value()
                if value is None:
                    continue
                tracing = read_tracing(readable_headers(record), value)
                found = self._repair.decode(value, tracing.version)
                if isinstance(found, Refusal):
                    continue
                at = (record.partition(), record.offset(), timestamp_ms(record))
                traced = (tracing.correlation_id, tracing.trace_id, tracing.span_id)
                body = self._form(found[0]) if self._form else found[0]
                rows.append((ATTEMPT, *at, found[1], *traced, body))
            if len(rows) >= BATCH:
                _insert(inserting, rows)
                rows = []
            gone += [skip.range for skip in skips]
            progress(len(records) + sum(skip.range.count for skip in skips))
        _insert(inserting, rows)
        return gone

    def _compare(self, table: str, part: list[OffsetRange]) -> list[Finding]:
        """Rows that are loaded and whose checksum is not the one of their message.

        Whether a message is loaded at all is not checked here.
        """
        selected = self._in_target_types(self._mapper.published_columns())
        compared = [n for n in selected if n not in LINEAGE or n in _KEPT]
        again = ", ".join(f"{selected[name]} AS {quote_identifier(name)}" for name in compared)
        where = offset_condition(part)
        # As RowBinary, because a hash of a null is null.
        checksum = (
            f"cityHash64(formatRow('RowBinary', {', '.join(map(quote_identifier, compared))}))"
        )
        rows = self._clickhouse.rows(
            "SELECT t._partition AS partition, t._offset AS offset"
            f" FROM (SELECT _partition, _offset, {checksum} AS hash FROM {self._target}"
            f"  WHERE _topic = {{topic:String}} AND ({where})) AS t"
            f" LEFT JOIN (SELECT _partition, _offset, {checksum} AS hash"
            # In a query of its own, because a column of the contract may be named _attempt.
            f"  FROM (SELECT _partition, _offset, {again}"
            f"   FROM (SELECT * FROM {table} WHERE _attempt = '{ATTEMPT}'))) AS m"
            " ON m._partition = t._partition AND m._offset = t._offset"
            " WHERE isNull(m.hash) OR m.hash != t.hash ORDER BY partition, offset",
            {"topic": self._contract.topic},
            {"join_use_nulls": 1},
        )
        if not rows:
            return []
        shown = tuple(
            OffsetRange(row["partition"], row["offset"], row["offset"] + 1) for row in rows[:SHOWN]
        )
        text = f"{len(rows):,} rows differ from what today's contract makes of their messages"
        return [Finding(kind="content", text=text, ranges=shown)]

    def _in_target_types(self, selected: Mapping[str, str]) -> dict[str, str]:
        """The same columns, in the target's types where those are wider than the contract's.

        The checksums are about bytes, and the same number has other bytes in a wider type.
        """
        rows = self._clickhouse.rows(
            "SELECT name, type FROM system.columns"
            " WHERE database = {db:String} AND table = {name:String}",
            {"db": self._clickhouse.database, "name": self._contract.table.name},
        )
        live = {row["name"]: SqlType.parse(row["type"]) for row in rows}
        declared = {name: SqlType.parse(type_) for name, (type_, _) in LINEAGE.items()}
        declared |= {column.name: column.type.stored for column in self._mapper.columns}

        def in_target_type(name: str, sql: str) -> str:
            wider = live.get(name, declared[name])
            if wider == declared[name] or not widens(declared[name], wider):
                return sql
            return f"CAST({sql}, {quote_string(str(wider))})"

        return {name: in_target_type(name, sql) for name, sql in selected.items()}


_KEPT = ("_timestamp", "_schema_version", "_correlation_id", "_trace_id", "_span_id")
"""Lineage that comes from the message itself."""


def _insert(inserting: RowInsert, rows: list[tuple[object, ...]]) -> None:
    if rows:
        lines = ENCODER.encode_lines(rows).split(b"\n")[:-1]
        inserting.run(lines, uuid.uuid4().hex)
