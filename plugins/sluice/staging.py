"""Putting micro-batches into a load's staging table and its refused messages into quarantine."""

import base64
import queue
import threading
from collections.abc import Sequence

import msgspec
import structlog

from sluice.clickhouse import REFUSED_DATA, ClickHouse
from sluice.columns import STAGED
from sluice.ddl import STAGED_COLUMNS
from sluice.errors import EngineError, Reason, Refusal
from sluice.kafka import Record, Skip
from sluice.ledger import Ledger

log = structlog.get_logger()

COLUMNS = ("_attempt", *STAGED_COLUMNS, STAGED)


class Refused(msgspec.Struct, frozen=True):
    """A refused message and why."""

    message: Record
    refusal: Refusal


class Batch(msgspec.Struct):
    """One micro-batch: what is inserted together, under tokens made from its number.

    Attributes:
        lines: encoded rows, one line each; parts of about a thousand rows.
        messages: the Kafka message of each row, in the order of the lines.
    """

    number: int
    lines: list[bytes] = []
    messages: list[Record] = []
    refused: list[Refused] = []
    skips: list[Skip] = []
    bytes: int = 0


class Stager:
    """Writes the batches of one attempt, in a thread of its own.

    While one batch is on its way to the engine the next is decoded; at most one waits, so
    memory stays bounded. An attempt has one writer and tokens of its own, so what another
    attempt at the same chunk leaves behind can never be mistaken for its rows.
    """

    def __init__(
        self, clickhouse: ClickHouse, ledger: Ledger, load_id: str, topic: str, attempt: str
    ) -> None:
        self._clickhouse, self._ledger = clickhouse, ledger
        self._load_id, self._topic, self._attempt = load_id, topic, attempt
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
            refused += self._stage(b"".join(batch.lines), batch.messages, token)
        if refused:
            rows = [self._quarantine_row(r) for r in refused]
            self._ledger.add_quarantined(rows, f"{token}/refused")
        if batch.skips:
            self._ledger.add_skips(
                self._load_id, self._topic, self._attempt, batch.skips, f"{token}/skips"
            )
        self.staged += len(batch.messages) - (len(refused) - len(batch.refused))
        self.refused += len(refused)

    def _stage(self, body: bytes, messages: Sequence[Record], token: str) -> list[Refused]:
        """Insert rows; halve what the engine refuses until the row to blame stands alone."""
        try:
            self._clickhouse.insert_lines(
                self._table, COLUMNS, body, "JSONCompactEachRow", f"{token}/rows"
            )
        except EngineError as error:
            if error.code not in REFUSED_DATA:
                raise
            if len(messages) == 1:
                name = REFUSED_DATA[error.code]
                text = f"{name}: {str(error).splitlines()[0][:500]}"
                refusal = Refusal(Reason.REFUSED_BY_CLICKHOUSE, text, code=error.code)
                return [Refused(messages[0], refusal)]
            lines, half = body.splitlines(keepends=True), len(messages) // 2
            log.info("batch_halved", rows=len(messages), code=error.code)
            return [
                *self._stage(b"".join(lines[:half]), messages[:half], f"{token}.0"),
                *self._stage(b"".join(lines[half:]), messages[half:], f"{token}.1"),
            ]
        return []

    def _quarantine_row(self, refused: Refused) -> dict[str, object]:
        message, refusal = refused.message, refused.refusal
        return {
            "load_id": self._load_id,
            "attempt": self._attempt,
            "topic": self._topic,
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": max(message.timestamp()[1], 0) / 1000,
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


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data or b"").decode()
