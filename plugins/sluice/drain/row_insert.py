"""Inserting encoded rows, and finding the ones that ClickHouse refuses.

No list of error codes decides whether a row is to blame. When an insert fails, its rows are sent
again with a row of default values after each of them, and what cannot be parsed is left out. A row
that is not there, while the row after it is, was refused for what it contains. An error that also
meets the default rows is not about the rows, and is raised.
"""

from collections.abc import Sequence

import msgspec
import structlog

from sluice.contract.columns import STAGED
from sluice.contract.ddl import STAGED_COLUMNS
from sluice.errors import EngineError
from sluice.refusals import Reason, Refusal
from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.staging import StagedRows

log = structlog.get_logger()

Position = tuple[int, int]
"""Partition and offset."""

COLUMNS = ("_load", "_attempt", *STAGED_COLUMNS, STAGED)

EXPLAINED = 20
"""Refused rows of one insert whose own error is asked for; the others repeat the first one's."""

FORMAT = "JSONCompactEachRow"


class RowInsert:
    """Inserts rows of one load into its staging table."""

    def __init__(self, clickhouse: ClickHouse, rows: StagedRows, load: int) -> None:
        self._clickhouse, self._table, self._load = clickhouse, rows.table, load
        self._condition = rows.condition

    def run(self, lines: Sequence[bytes], token: str) -> list[tuple[Position, Refusal]]:
        """Insert encoded rows, each without a line break; returns those that are refused.

        Raises:
            EngineError: the insert failed for a reason that is not in the rows.
        """
        try:
            self._insert(lines, token)
        except EngineError as error:
            if error.transient or not error.code:
                raise
            log.info("rows_sorted_out", rows=len(lines), code=error.code)
            return self._sort_out(lines, token, error)
        return []

    def _sort_out(
        self, lines: Sequence[bytes], token: str, error: EngineError
    ) -> list[tuple[Position, Refusal]]:
        positions = [position_of(line) for line in lines]
        # An attempt that is never accepted, so its rows are never part of a load.
        probe = f"probe {token}"
        first, *probes = self._default_rows(probe, len(lines) + 1, error)
        pairs = [first, *(line for pair in zip(lines, probes, strict=True) for line in pair)]
        known: list[int] = []
        try:
            self._insert(pairs, f"{token}.sorted", leaves_out=True)
        except EngineError as again:
            if again.transient or not again.code:
                raise
            unknown = list(range(len(lines)))
        else:
            # The first row of defaults was inserted with them: a replica that has it has all.
            there, probed = self._clickhouse.until(
                lambda: self._inserted(positions, _attempt(lines[0]), probe),
                lambda found: 0 in found[1],
            )
            missing = [n for n, at in enumerate(positions) if at not in there]
            known = [n for n in missing if n + 1 in probed]
            unknown = [n for n in missing if n + 1 not in probed]
        refused = self._explain([lines[n] for n in known], error)
        if len(unknown) == len(lines) == 1:
            self._insert([first], f"{token}.probe")  # raises when no row can be inserted
            return [(positions[0], _refusal(error))]
        if len(unknown) == len(lines):
            half = len(lines) // 2
            refused += self.run(lines[:half], f"{token}.0")
            return refused + self.run(lines[half:], f"{token}.1")
        if unknown:
            refused += self.run([lines[n] for n in unknown], f"{token}.2")
        return refused

    def _explain(
        self, lines: Sequence[bytes], error: EngineError
    ) -> list[tuple[Position, Refusal]]:
        """Why each row is refused, asked of a table that keeps nothing."""
        if not lines:
            return []
        types = ", ".join(f"{quote_identifier(n)} {type_}" for n, type_ in self._types().items())
        nowhere = f"FUNCTION null({quote_string(types)})"
        found: list[tuple[Position, Refusal]] = []
        for line in lines[:EXPLAINED]:
            reason = error
            try:
                self._clickhouse.insert_lines(nowhere, None, line + b"\n", FORMAT, "")
            except EngineError as own:
                if own.transient or not own.code:
                    raise
                reason = own
            found.append((position_of(line), _refusal(reason)))
        rest = lines[EXPLAINED:]
        if rest:
            first = found[0][1]
            text = f"refused like {len(lines) - 1:,} others; the first one: {first.message}"
            same = msgspec.structs.replace(first, message=text)
            found += [(position_of(line), same) for line in rest]
        return found

    def _inserted(
        self, positions: Sequence[Position], attempt: str, probe: str
    ) -> tuple[set[Position], set[int]]:
        """Which of the rows are there, and the numbers of the default rows that are."""
        offsets = [offset for _, offset in positions]
        rows = self._clickhouse.rows(
            "SELECT _attempt = {probe:String} AS is_probe, _partition AS partition,"
            f" _offset AS offset FROM {self._table} WHERE {self._condition}"
            " AND (_attempt = {probe:String} OR (_attempt = {attempt:String}"
            "  AND _offset BETWEEN {low:Int64} AND {high:Int64}))",
            {"attempt": attempt, "low": min(offsets), "high": max(offsets), "probe": probe},
        )
        there = {(row["partition"], row["offset"]) for row in rows if not row["is_probe"]}
        return there, {row["offset"] for row in rows if row["is_probe"]}

    def _types(self) -> dict[str, str]:
        rows = self._clickhouse.rows(f"DESCRIBE TABLE {self._table}")
        return {row["name"]: row["type"] for row in rows}

    def _default_rows(self, attempt: str, count: int, error: EngineError) -> list[bytes]:
        """Rows of every column's default, as ClickHouse writes it itself, numbered by offset.

        Raises:
            EngineError: ``error``, if the table or one of the columns does not exist.
        """
        types = self._types()
        if types.keys() < set(COLUMNS):
            raise error
        defaults = ", ".join(f"defaultValueOfTypeName({quote_string(types[n])})" for n in COLUMNS)
        (found,) = self._clickhouse.rows(
            f"SELECT formatRowNoNewline('{FORMAT}', {defaults}) AS line"
        )
        row: list[object] = [*msgspec.json.decode(found["line"], type=list[msgspec.Raw])]
        row[COLUMNS.index("_load")], row[COLUMNS.index("_attempt")] = self._load, attempt
        lines = []
        for number in range(count):
            row[COLUMNS.index("_offset")] = number
            lines.append(msgspec.json.encode(row))
        return lines

    def _insert(self, lines: Sequence[bytes], token: str, leaves_out: bool = False) -> None:
        body = b"\n".join(lines) + b"\n"
        self._clickhouse.insert_lines(
            self._table, COLUMNS, body, FORMAT, f"{token}/rows", leaves_out
        )


def _refusal(error: EngineError) -> Refusal:
    return Refusal(Reason.REFUSED_BY_CLICKHOUSE, error.detail, field=error.field, code=error.code)


def position_of(line: bytes) -> Position:
    """Partition and offset of an encoded row."""
    row = msgspec.json.decode(line, type=list[msgspec.Raw])
    partition, offset = (row[COLUMNS.index(name)] for name in ("_partition", "_offset"))
    return msgspec.json.decode(partition, type=int), msgspec.json.decode(offset, type=int)


def _attempt(line: bytes) -> str:
    row = msgspec.json.decode(line, type=list[msgspec.Raw])
    return msgspec.json.decode(row[COLUMNS.index("_attempt")], type=str)
