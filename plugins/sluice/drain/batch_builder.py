"""Decoding messages into micro-batches: rows to stage, refusals, offsets without a message."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from sluice.contract import Contract
from sluice.contract.masking import mask
from sluice.contract.type_map import message_type
from sluice.decode.decoder import Decoded, Decoder
from sluice.decode.tracing import read_tracing
from sluice.drain.repair import RepairingDecoder
from sluice.errors import BreakerTripped
from sluice.ranges import OffsetRange, merge
from sluice.records import LAST_TIMESTAMP, Record, Skip, readable_headers
from sluice.refusals import Reason, Refusal
from sluice.settings import Settings
from sluice.telemetry import LINKS, is_recording

log = structlog.get_logger()

ENCODER = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")
"""Encodes staged rows as the staging table reads them."""

LOGGED_REASONS = 5


class RefusedRecord(msgspec.Struct, frozen=True):
    """A refused message and why."""

    message: Record
    refusal: Refusal


class RepairedValue(msgspec.Struct, frozen=True):
    """The bytes that a message was loaded from in place of its own."""

    partition: int
    offset: int
    value: bytes


class UnusableTimestamp(msgspec.Struct, frozen=True):
    """A timestamp that cannot be stored as a time; -1 if the message has none."""

    partition: int
    offset: int
    timestamp_ms: int


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
    refused: list[RefusedRecord] = []
    skips: list[Skip] = []
    repairs: list[RepairedValue] = []
    timestamps: list[UnusableTimestamp] = []
    bytes: int = 0
    started: int = msgspec.field(default_factory=time.time_ns)
    producers: dict[str, str] = {}

    @property
    def offsets(self) -> int:
        """How many offsets it accounts for."""
        return self.rows + len(self.refused) + sum(skip.range.count for skip in self.skips)


class BatchBuilder:
    """Builds the batches of one attempt.

    Args:
        load: number of the load, which every row carries; see :class:`~.load_state.Load`.
        attempt: id of the attempt, which every row carries too.
        replaying: whether the messages were refused before. Then many refusals are no reason to
            stop, and the contract's repair function may change a message.

    Attributes:
        batch: the batch that is being filled.
        read_bytes: size of all values read.
        reasons: refused messages by reason.
        skipped: offsets without a message to load, by kind.
    """

    def __init__(
        self,
        contract: Contract,
        decoder: Decoder,
        settings: Settings,
        load: int,
        attempt: str,
        replaying: bool = False,
    ) -> None:
        self._contract, self._settings = contract, settings
        self._load, self._attempt = load, attempt
        self._repairing = RepairingDecoder(contract, decoder)
        self._form = message_type(contract.message).form
        self._decode: Callable[[bytes, str], Decoded | Refusal] = (
            self._repairing.decode if replaying else decoder.decode
        )
        self._max_consecutive = 0 if replaying else contract.breaker.max_consecutive
        self._consecutive = 0
        self._links = LINKS if is_recording() else 0
        self.batch = Batch(0)
        self.read_bytes = 0
        self.reasons: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def take(self) -> Batch:
        """The current batch; the next one is begun."""
        batch, self.batch = self.batch, Batch(self.batch.number + 1)
        return batch

    @property
    def is_full(self) -> bool:
        """Whether the current batch should be handed over."""
        batch, settings = self.batch, self._settings
        return (
            batch.rows >= settings.batch_rows
            or batch.bytes >= settings.batch_bytes
            or len(batch.refused) + len(batch.skips) >= settings.batch_rows
        )

    def add(self, messages: Sequence[Record], skips: Sequence[Skip]) -> None:
        """Add what was read at once.

        Raises:
            BreakerTripped: too many messages in a row were refused.
        """
        tombstones = self._decode_all(messages)
        for skip in (*skips, *tombstones):
            self.batch.skips.append(skip)
            self.skipped[skip.kind] += skip.range.count
        if self._max_consecutive and self._consecutive >= self._max_consecutive:
            self._stop()

    def _decode_all(self, messages: Sequence[Record]) -> list[Skip]:
        """Decode messages into the batch; returns the tombstones among them."""
        decode, form, batch = self._decode, self._form, self.batch
        load, attempt = self._load, self._attempt
        limit, size = self._settings.max_message_bytes, 0
        rows, loaded, tombstones = list[tuple[Any, ...]](), list[Record](), []
        for message in messages:
            value, offset, partition = message.value(), message.offset(), message.partition()
            if value is None:
                tombstones.append(OffsetRange(partition, offset, offset + 1))
                continue
            size += len(value)
            at = message.timestamp()[1]
            if not 0 <= at <= LAST_TIMESTAMP:
                batch.timestamps.append(UnusableTimestamp(partition, offset, at))
                at = 0
            tracing = read_tracing(readable_headers(message), value)
            if tracing.trace_id and tracing.span_id and len(batch.producers) < self._links:
                batch.producers[tracing.trace_id] = tracing.span_id
            if len(value) > limit:
                text = f"{len(value):,} bytes; the limit is {limit:,} (SLUICE_MAX_MESSAGE_BYTES)"
                decoded: Decoded | Refusal = Refusal(Reason.TOO_LARGE, text)
            else:
                decoded = decode(value, tracing.version)
            if isinstance(decoded, Refusal):
                self._refuse(message, value, decoded)
                continue
            self._consecutive = 0
            body, version = decoded
            if form is not None:
                body = form(body)
            if self._repairing.repaired_value is not None:
                repaired = RepairedValue(partition, offset, self._repairing.repaired_value)
                batch.repairs.append(repaired)
            row = (
                load,
                attempt,
                partition,
                offset,
                at,
                version,
                tracing.correlation_id,
                tracing.trace_id,
                tracing.span_id,
                body,
            )
            rows.append(row)
            loaded.append(message)
        if rows:
            lines = self._encode(rows, loaded)
            batch.lines.append(lines)
            batch.bytes += len(lines)
            batch.rows += len(rows)
        self.read_bytes += size
        return [Skip(r, "tombstone") for r in merge(tombstones)]

    def _refuse(self, message: Record, value: bytes, refusal: Refusal) -> None:
        self._consecutive += 1
        self.batch.refused.append(RefusedRecord(message, refusal))
        self.batch.bytes += len(value)
        self.reasons[refusal.reason] += 1

    def _encode(self, rows: list[tuple[Any, ...]], messages: Sequence[Record]) -> bytes:
        """Encode rows; those that cannot be encoded are refused, and removed from the list."""
        try:
            return ENCODER.encode_lines(rows)
        except UnicodeEncodeError:
            pass
        good = []
        for row, message in zip(rows, messages, strict=True):
            try:
                ENCODER.encode(row)
            except UnicodeEncodeError as error:
                text = f"a text has a surrogate, which is not a character: {error}"
                self._refuse(message, message.value() or b"", Refusal(Reason.BAD_ENCODING, text))
                place = (message.partition(), message.offset())
                repairs = self.batch.repairs
                repairs[:] = [r for r in repairs if (r.partition, r.offset) != place]
            else:
                good.append(row)
        rows[:] = good
        return ENCODER.encode_lines(good)

    def _stop(self) -> None:
        """Stop early: nothing but refused messages is read."""
        for reason, count in self.reasons.most_common(LOGGED_REASONS):
            example = next((r for r in self.batch.refused if r.refusal.reason == reason), None)
            text = self._masked(example.refusal) if example else ""
            log.warning("refused", reason=str(reason), count=count, example=text)
        last = self.batch.refused[-1]
        raise BreakerTripped(
            f"{self._consecutive:,} messages in a row were refused (the contract's limit is"
            f" {self._max_consecutive:,}), the last one here: {last.refusal.reason}"
            f" {self._masked(last.refusal)}. Nothing is published",
            topic=self._contract.topic,
            partition=last.message.partition(),
            offset=last.message.offset(),
        )

    def _masked(self, refusal: Refusal) -> str:
        text = mask(self._contract, refusal.reason, refusal.field, refusal.message)
        return f"{refusal.field} {text}".strip()
