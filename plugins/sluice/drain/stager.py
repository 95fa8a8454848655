"""Writing micro-batches of a load to staging, and its refused messages to quarantine."""

import base64
import contextlib
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from sluice.drain.batch_builder import Batch, RefusedRecord, RepairedValue
from sluice.drain.row_insert import Position, RowInsert, position_of
from sluice.errors import BreakerTripped
from sluice.records import Record, readable_headers, timestamp_ms
from sluice.refusals import Refusal
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load

ReadAgain = Callable[[Collection[Position]], list[Record]]


class Stager:
    """Writes the batches of one attempt, in a thread of its own.

    While one batch is on its way to ClickHouse the next is decoded; at most one waits, so memory
    stays bounded. An attempt has one writer and its own tokens, so rows that another attempt at the
    same chunk left behind can never be mistaken for its rows.

    Args:
        read_again: reads messages by partition and offset once more, in any order; called for rows
            that ClickHouse refuses, so that messages need not be kept in memory.
        most_consecutive: this many rows in a row that ClickHouse refuses stop the attempt; 0 for
            any number.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        ledger: Ledger,
        load: Load,
        attempt: str,
        read_again: ReadAgain,
        most_consecutive: int = 0,
    ) -> None:
        self._clickhouse, self._ledger = clickhouse, ledger
        self._load_id, self._topic, self._attempt = load.load_id, load.topic, attempt
        self._read_again = read_again
        self._rows = RowInsert(clickhouse, ledger.staging.rows(load), load.number)
        self._most_consecutive, self._consecutive = most_consecutive, 0
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
            # JSON writes a line break within a string as \\n.
            lines = b"".join(batch.lines).split(b"\n")[:-1]
            by_position = dict(self._rows.run(lines, token))
            refused += [
                RefusedRecord(record, by_position[record.partition(), record.offset()])
                for record in (self._read_again(by_position) if by_position else ())
            ]
            if by_position:
                self._check_breaker(lines, by_position)
            else:
                self._consecutive = 0
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
        if batch.timestamps:
            self._ledger.attempts.add_timestamps(
                self._load_id, self._topic, self._attempt, batch.timestamps, f"{token}/timestamps"
            )
        self.staged += batch.rows - (len(refused) - len(batch.refused))
        self.refused += len(refused)

    def _check_breaker(self, lines: Sequence[bytes], refused: Mapping[Position, Refusal]) -> None:
        """Stop early when ClickHouse refuses every row, as the reader does for what it refuses."""
        for line in lines:
            at = position_of(line)
            self._consecutive = self._consecutive + 1 if at in refused else 0
            if self._most_consecutive and self._consecutive >= self._most_consecutive:
                raise BreakerTripped(
                    f"ClickHouse refused {self._consecutive:,} messages in a row (the contract's"
                    f" limit is {self._most_consecutive:,}), the last one here:"
                    f" {refused[at].message}. Nothing is published",
                    topic=self._topic,
                    partition=at[0],
                    offset=at[1],
                )

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
        key, value, headers = message.key(), message.value(), readable_headers(message) or []
        return {
            "load_id": self._load_id,
            "attempt": self._attempt,
            "topic": self._topic,
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": timestamp_ms(message) / 1000,
            "timestamp_ms": message.timestamp()[1],
            "key": _base64(key),
            "key_null": key is None,
            "value": _base64(value),
            "value_null": value is None,
            "headers": [{"name": name, "value": _base64(content)} for name, content in headers],
            "null_headers": [n for n, (_, content) in enumerate(headers, 1) if content is None],
            "reason": refusal.reason,
            "field": refusal.field,
            "message": refusal.message,
            "version": refusal.version,
            "code": refusal.code,
        }


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data or b"").decode()
