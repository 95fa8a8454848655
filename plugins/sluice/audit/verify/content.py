"""Comparing the content of loaded rows with their messages, decoded again."""

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from sluice.audit.verify.findings import Finding, offset_finding
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
from sluice.ranges import OffsetRange, chunk, merge, subtract
from sluice.records import Progress, Topic, readable_headers, timestamp_ms
from sluice.refusals import Refusal
from sluice.sql import offset_condition, quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.staging import StagedRows
from sluice.store.target_table import TargetTable
from sluice.store.type_widening import widens

AT_ONCE = 200_000
"""Offsets that are staged and compared at a time."""

BATCH_ROWS = 40_000
BATCH_BYTES = 32_000_000
"""Rows, and bytes of encoded rows, that are inserted at a time, at most."""

SHOWN = 20
"""Differing offsets that are listed per part."""

ATTEMPT = "content"


class Comparison(msgspec.Struct, frozen=True):
    """The result of a comparison.

    Attributes:
        findings: the rows that differ, and the messages of a replacing table without a row.
        compared: the offsets whose messages were compared. The topic does not have the others, or
            today's contract refuses them.
    """

    findings: list[Finding]
    compared: list[OffsetRange]


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
        self._target = TargetTable(contract, clickhouse)
        self._database = ledger.database

    def run(self, topic: Topic, ranges: Sequence[OffsetRange], progress: Progress) -> Comparison:
        """Compare the rows. The scratch tables are dropped; nothing else is written.

        In a replacing table it is also checked that of each message its row or a newer row of its
        key is there.
        """
        findings: list[Finding] = []
        compared: list[OffsetRange] = []
        without_row: list[OffsetRange] = []
        for part in chunk(ranges, AT_ONCE, most=1 << 30):
            name = f"content_{uuid.uuid4().hex}"
            table = f"{quote_identifier(self._database)}.{quote_identifier(name)}"
            self._clickhouse.execute(self._mapper.create_staging(table))
            rows = StagedRows(table, "_load = 0")
            try:
                staging = ScratchRows(RowInsert(self._clickhouse, rows, 0))
                gone = self._stage(staging, topic, part, progress)
                there = subtract(part, gone)
                findings += self._compare(table, there)
                if self._target.replaces:
                    without_row += self._without_row(rows, part)
                compared += subtract(there, staging.left_out)
            finally:
                self._clickhouse.execute(f"DROP TABLE IF EXISTS {table}")
        if without_row:
            text = "neither loaded nor replaced by a newer row of their key"
            findings.append(offset_finding("missing", text, without_row))
        return Comparison(findings, merge(compared))

    def _stage(
        self, staging: "ScratchRows", topic: Topic, part: list[OffsetRange], progress: Progress
    ) -> list[OffsetRange]:
        """Decode what the topic has; returns the offsets whose messages it no longer has.

        A message that ClickHouse refuses is left out, so it differs if a row of it is loaded.
        """
        gone: list[OffsetRange] = []
        for records, skips in self._broker.read(topic, part):
            for record in records:
                value, place = record.value(), (record.partition(), record.offset())
                if value is None:
                    staging.leave_out(*place)
                    continue
                tracing = read_tracing(readable_headers(record), value)
                found = self._repair.decode(value, tracing.version)
                if isinstance(found, Refusal):
                    staging.leave_out(*place)
                    continue
                at = (*place, timestamp_ms(record))
                traced = (tracing.correlation_id, tracing.trace_id, tracing.span_id)
                body = self._form(found[0]) if self._form else found[0]
                staging.add((0, ATTEMPT, *at, found[1], *traced, body))
            gone += [skip.range for skip in skips]
            progress(len(records) + sum(skip.range.count for skip in skips))
        staging.flush()
        return gone

    def _without_row(self, rows: StagedRows, part: list[OffsetRange]) -> list[OffsetRange]:
        """Staged messages of which a replacing table has neither the row nor a newer one."""
        quarantined = (
            f"SELECT q.partition, q.offset FROM {quote_identifier(self._database)}.quarantine AS q"
            " WHERE q.topic = {topic:String} AND q.status = 'quarantined'"
        )
        found = self._clickhouse.rows(
            "SELECT _partition AS partition, _offset AS offset"
            f" {self._target.missing_rows(rows, part)}"
            f" AND (_partition, _offset) NOT IN ({quarantined})",
            {"topic": self._contract.topic, "attempt": ATTEMPT},
            {"join_use_nulls": 1},
        )
        return [OffsetRange(r["partition"], r["offset"], r["offset"] + 1) for r in found]

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
            f" FROM (SELECT _partition, _offset, {checksum} AS hash FROM {self._target.name}"
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


class ScratchRows:
    """Encodes rows and inserts them into a scratch table, a bounded number of bytes at a time.

    Attributes:
        left_out: offsets of messages that are not compared: null values, and what the decoder or
            ClickHouse refuses.
    """

    def __init__(self, inserting: RowInsert) -> None:
        self._inserting = inserting
        self._lines: list[bytes] = []
        self._bytes = 0
        self.left_out: list[OffsetRange] = []

    def leave_out(self, partition: int, offset: int) -> None:
        """Record a message that is not compared."""
        self.left_out.append(OffsetRange(partition, offset, offset + 1))

    def add(self, row: tuple[object, ...]) -> None:
        """Add a row; insert what is there when it is enough."""
        line = ENCODER.encode(row)
        self._lines.append(line)
        self._bytes += len(line)
        if len(self._lines) >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Insert what is there."""
        lines, self._lines, self._bytes = self._lines, [], 0
        if lines:
            for place, _ in self._inserting.run(lines, uuid.uuid4().hex):
                self.leave_out(*place)
