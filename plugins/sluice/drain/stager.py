"""Writing micro-batches to a load's staging table, and its refused messages to quarantine."""

import base64
import contextlib
import queue
import threading
from collections.abc import Callable, Collection, Sequence

import msgspec
import structlog

from sluice.contract.columns import STAGED
from sluice.contract.ddl import STAGED_COLUMNS
from sluice.drain.batch_builder import Batch, RefusedRecord, RepairedValue
from sluice.errors import EngineError
from sluice.records import Record, timestamp_ms
from sluice.refusals import Reason, Refusal
from sluice.store.clickhouse import REFUSED_DATA, ClickHouse
from sluice.store.ledger import Ledger

log = structlog.get_logger()

Position = tuple[int, int]
"""Partition and offset."""

ReadAgain = Callable[[Collection[Position]], list[Record]]

COLUMNS = ("_attempt", *STAGED_COLUMNS, STAGED)


class Stager:
    """Writes the batches of one attempt, in a thread of its own.

    While one batch is on its way to ClickHouse the next is decoded; at most one waits, so memory
    stays bounded. An attempt has one writer and its own tokens, so rows that another attempt at the
    same chunk left behind can never be mistaken for its rows.

    Args:
        read_again: reads messages by partition and offset once more, in any order; called for rows
            that ClickHouse refuses, so that messages need not be kept in memory.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        ledger: Ledger,
        load_id: str,
        topic: str,
        attempt: str,
        read_again: ReadAgain,
    ) -> None:
        self._clickhouse, self._ledger = clickhouse, ledger
        self._load_id, self._topic, self._attempt = load_id, topic, attempt
        self._read_again = read_again
        self._table = ledger.staging_table(load_id)
        self._waiting: queue.Queue[Batch | None] = queue.Queue(maxsize=1)
        self._error: BaseException | None = None
        self.staged = 0
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name=f"stage {attempt}", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Hand a batch over; waits while two are on their way.

        Raises:
            EngineError: an earlier batch could not be written.
        """
        while True:
            if self._error:
                raise self._error
            try:
                self._waiting.put(batch, timeout=0.2)
                return
            except queue.Full:
                continue

    def abandon(self) -> None:
        """End the thread of an attempt that failed; what is not written yet is dropped."""
        self._error = self._error or RuntimeError("the attempt was abandoned")
        with contextlib.suppress(queue.Empty):
            self._waiting.get_nowait()
        self._waiting.put(None)

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            EngineError: something could not be.
        """
        while self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=0.2)
                break
            except queue.Full:
                continue
        self._thread.join()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while (batch := self._waiting.get()) is not None:
                self._write(batch)
        except BaseException as error:  # passed to the thread that reads
            self._error = error

    def _write(self, batch: Batch) -> None:
        token = f"{self._load_id}/{self._attempt}/{batch.number}"
        refused = list(batch.refused)
        if batch.lines:
            by_position = dict(self._stage(b"".join(batch.lines), token))
            refused += [
                RefusedRecord(record, by_position[record.partition(), record.offset()])
                for record in (self._read_again(by_position) if by_position else ())
            ]
        if refused:
            rows = [self._quarantine_row(r) for r in refused]
            self._ledger.attempts.add_quarantined(rows, f"{token}/refused")
        if batch.skips:
            self._ledger.attempts.add_skips(
                self._load_id, self._topic, self._attempt, batch.skips, f"{token}/skips"
            )
        if batch.repairs:
            repairs = [self._repair_row(repaired) for repaired in batch.repairs]
            self._ledger.attempts.add_repairs(repairs, f"{token}/repairs")
        self.staged += batch.rows - (len(refused) - len(batch.refused))
        self.refused += len(refused)

    def _stage(self, body: bytes, token: str) -> list[tuple[Position, Refusal]]:
        """Insert rows; halve what ClickHouse refuses until the row to blame stands alone."""
        try:
            self._clickhouse.insert_lines(
                self._table, COLUMNS, body, "JSONCompactEachRow", f"{token}/rows"
            )
        except EngineError as error:
            if error.code not in REFUSED_DATA:
                raise
            lines = body.split(b"\n")[:-1]  # JSON writes a newline within a string as \\n
            if len(lines) == 1:
                name = REFUSED_DATA[error.code]
                text = f"{name}: {str(error).splitlines()[0][:500]}"
                refusal = Refusal(Reason.REFUSED_BY_CLICKHOUSE, text, code=error.code)
                return [(_position(lines[0]), refusal)]
            log.info("batch_halved", rows=len(lines), code=error.code)
            half = len(lines) // 2
            return [
                *self._stage(_body(lines[:half]), f"{token}.0"),
                *self._stage(_body(lines[half:]), f"{token}.1"),
            ]
        return []

    def _repair_row(self, repaired: RepairedValue) -> dict[str, object]:
        return {
            "load_id": self._load_id,
            "topic": self._topic,
            "attempt": self._attempt,
            "partition": repaired.partition,
            "offset": repaired.offset,
            "value": _base64(repaired.value),
        }

    def _quarantine_row(self, refused: RefusedRecord) -> dict[str, object]:
        message, refusal = refused.message, refused.refusal
        return {
            "load_id": self._load_id,
            "attempt": self._attempt,
            "topic": self._topic,
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": timestamp_ms(message) / 1000,
            "key": _base64(message.key()),
            "value": _base64(message.value()),
            "headers": [
                {"name": name, "value": _base64(value)} for name, value in message.headers() or ()
            ],
            "reason": refusal.reason,
            "field": refusal.field,
            "message": refusal.message,
            "version": refusal.version,
            "code": refusal.code,
        }


def _body(lines: Sequence[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def _position(line: bytes) -> Position:
    """Partition and offset of an encoded row."""
    row = msgspec.json.decode(line, type=list[msgspec.Raw])
    partition, offset = (row[COLUMNS.index(name)] for name in ("_partition", "_offset"))
    return msgspec.json.decode(partition, type=int), msgspec.json.decode(offset, type=int)


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data or b"").decode()
