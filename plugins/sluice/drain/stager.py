"""Putting micro-batches into a load's staging table and its refused messages into quarantine."""

import base64
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence

import msgspec
import structlog

from sluice.contract.columns import STAGED
from sluice.contract.ddl import STAGED_COLUMNS
from sluice.errors import EngineError, Reason, Refusal
from sluice.records import Record, Skip, stamp
from sluice.store.clickhouse import REFUSED_DATA, ClickHouse
from sluice.store.ledger import Ledger

log = structlog.get_logger()

Position = tuple[int, int]
"""Partition and offset."""

ReadAgain = Callable[[Collection[Position]], list[Record]]

COLUMNS = ("_attempt", *STAGED_COLUMNS, STAGED)


ROWS = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")
"""Encodes staged rows as the staging table reads them."""


class Refused(msgspec.Struct, frozen=True):
    """A refused message and why."""

    message: Record
    refusal: Refusal


class Repaired(msgspec.Struct, frozen=True):
    """The bytes that a message was loaded from in place of its own."""

    partition: int
    offset: int
    value: bytes


class Batch(msgspec.Struct):
    """One micro-batch: what is inserted together, under tokens made from its number.

    Attributes:
        lines: encoded rows, one line each, in pieces of some hundred.
        rows: how many lines there are.
        bytes: size of the lines, and of the values of what was refused.
        started: when it began, in nanoseconds since 1970.
        producers: trace id → span id of some of its messages, when spans are recorded.
    """

    number: int
    lines: list[bytes] = []
    rows: int = 0
    refused: list[Refused] = []
    skips: list[Skip] = []
    repairs: list[Repaired] = []
    bytes: int = 0
    started: int = msgspec.field(default_factory=time.time_ns)
    producers: dict[str, str] = {}


class Stager:
    """Writes the batches of one attempt, in a thread of its own.

    While one batch is on its way to the engine the next is decoded; at most one waits, so
    memory stays bounded. An attempt has one writer and tokens of its own, so what another
    attempt at the same chunk leaves behind can never be mistaken for its rows.

    Args:
        read_again: reads messages by partition and offset once more, in any order; called for
            rows that ClickHouse refuses, so that no other message need be kept in memory.
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
        """End the thread; what it was still to write is dropped. For an attempt that failed."""
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
        except BaseException as error:  # handed to the thread that reads
            self._error = error

    def _write(self, batch: Batch) -> None:
        token = f"{self._load_id}/{self._attempt}/{batch.number}"
        refused = list(batch.refused)
        if batch.lines:
            by_position = dict(self._stage(b"".join(batch.lines), token))
            refused += [
                Refused(record, by_position[record.partition(), record.offset()])
                for record in (self._read_again(by_position) if by_position else ())
            ]
        if refused:
            rows = [self._quarantine_row(r) for r in refused]
            self._ledger.add_quarantined(rows, f"{token}/refused")
        if batch.skips:
            self._ledger.add_skips(
                self._load_id, self._topic, self._attempt, batch.skips, f"{token}/skips"
            )
        if batch.repairs:
            repairs = [self._repair_row(repaired) for repaired in batch.repairs]
            self._ledger.add_repairs(repairs, f"{token}/repairs")
        self.staged += batch.rows - (len(refused) - len(batch.refused))
        self.refused += len(refused)

    def _stage(self, body: bytes, token: str) -> list[tuple[Position, Refusal]]:
        """Insert rows; halve what the engine refuses until the row to blame stands alone."""
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

    def _repair_row(self, repaired: Repaired) -> dict[str, object]:
        return {
            "load_id": self._load_id,
            "topic": self._topic,
            "attempt": self._attempt,
            "partition": repaired.partition,
            "offset": repaired.offset,
            "value": _base64(repaired.value),
        }

    def _quarantine_row(self, refused: Refused) -> dict[str, object]:
        message, refusal = refused.message, refused.refusal
        return {
            "load_id": self._load_id,
            "attempt": self._attempt,
            "topic": self._topic,
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": stamp(message) / 1000,
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
