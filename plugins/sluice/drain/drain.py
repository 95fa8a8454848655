"""Reading a chunk: from Kafka's bytes to staged rows, quarantine and skips."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from sluice.contract import Contract
from sluice.contract.masking import masked
from sluice.decode.decoder import Decoded
from sluice.decode.factory import decoder_of
from sluice.decode.tracing import tracing_of
from sluice.drain.repair import Repair
from sluice.drain.stager import ROWS, Batch, Position, Refused, Repaired, Stager
from sluice.errors import AttemptFailed, BreakerTripped, OffsetsExpired, Reason, Refusal
from sluice.kafka.schema_registry import SchemaRegistry
from sluice.ranges import OffsetRange, merge, total
from sluice.records import Record, Skip, Source, Topic, stamp
from sluice.settings import Settings
from sluice.sql import quoted
from sluice.store.attempts import ChunkResult
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.telemetry import LINKS, batch_span, is_recorded

log = structlog.get_logger()

Progress = Callable[[int], None]
"""Called with the number of offsets that a batch disposed of."""


class Drain:
    """One attempt at one chunk.

    Args:
        source: the broker; or the quarantine, for a replay.
        replaying: whether the messages were refused before. Then many refusals are no reason to
            stop, and the contract's repair function may mend a message.
    """

    def __init__(
        self,
        contract: Contract,
        source: Source,
        clickhouse: ClickHouse,
        ledger: Ledger,
        settings: Settings,
        progress: Progress = lambda offsets: None,
        registry: SchemaRegistry | None = None,
        replaying: bool = False,
    ) -> None:
        self._contract, self._source, self._clickhouse = contract, source, clickhouse
        self._ledger, self._settings, self._progress = ledger, settings, progress
        self._repair = Repair(contract, decoder_of(contract, registry))
        self._decode = self._repair.decode if replaying else self._repair.decoder.decode
        self._most_in_a_row = 0 if replaying else contract.breaker.max_consecutive

    def run(
        self, load_id: str, topic: Topic, chunk: int, ranges: Sequence[OffsetRange], attempt: str
    ) -> ChunkResult:
        """Read the ranges to their ends, stage what is good, and prove it by counting.

        Raises:
            BrokerError, EngineError: the attempt could not go on.
            RegistryError: the schema registry does not answer, and a schema is not known yet.
            BreakerTripped: too many messages in a row were refused.
            OffsetsExpired: retention was faster, and the contract says to fail.
            AttemptFailed: ClickHouse holds other counts than were sent.
        """
        started, cpu = time.monotonic(), time.process_time()
        self._attempt = attempt
        self._refusals: Counter[str] = Counter()
        self._in_a_row = 0
        self._links = LINKS if is_recorded() else 0
        read_bytes, number = 0, 0
        read_again = partial(self._read_again, topic)
        stager = Stager(self._clickhouse, self._ledger, load_id, topic.name, attempt, read_again)
        batch = Batch(number)
        skipped: Counter[str] = Counter()
        try:
            with _no_collection():
                for messages, skips in self._source.read(topic, ranges):
                    self._check_expired(topic, skips)
                    tombstones, size = self._add(batch, messages)
                    self._check_row(batch)
                    read_bytes += size
                    batch.skips += [*skips, *tombstones]
                    for skip in (*skips, *tombstones):
                        skipped[skip.kind] += skip.range.count
                    if self._full(batch):
                        number = self._hand_over(stager, batch)
                        batch = Batch(number)
                self._hand_over(stager, batch)
        except BaseException:
            stager.abandon()
            raise
        stager.close()
        expected = total(ranges)
        held = stager.staged + stager.refused + sum(skipped.values())
        if held != expected:
            raise AttemptFailed(
                f"topic {topic.name!r}, chunk {chunk}: {expected} offsets to read,"
                f" {held} disposed of"
            )
        self._verify(load_id, attempt, stager, skipped)
        seconds = time.monotonic() - started
        result = ChunkResult(
            chunk=chunk,
            attempt=attempt,
            bytes=read_bytes,
            seconds=seconds,
            cpu_seconds=time.process_time() - cpu,
            batches=number + 1,
        )
        self._ledger.finish_chunk(load_id, topic.name, result)
        log.info(
            "chunk_drained",
            chunk=chunk,
            offsets=expected,
            staged=stager.staged,
            refused=stager.refused,
            **skipped,
            reasons=dict(self._refusals),
            rows_per_second=round(expected / seconds) if seconds else 0,
        )
        return result

    def _add(self, batch: Batch, messages: Sequence[Record]) -> tuple[list[Skip], int]:
        """Decode messages into the batch; gives the tombstones among them and the bytes read."""
        decode, attempt = self._decode, self._attempt
        limit, size = self._settings.max_message_bytes, 0
        rows, tombstones = [], []
        for message in messages:
            value, offset, partition = message.value(), message.offset(), message.partition()
            if value is None:
                tombstones.append(OffsetRange(partition, offset, offset + 1))
                continue
            size += len(value)
            about = tracing_of(message.headers(), value)
            if about.trace_id and about.span_id and len(batch.producers) < self._links:
                batch.producers[about.trace_id] = about.span_id
            if len(value) > limit:
                text = f"{len(value):,} bytes; the limit is {limit:,} (SLUICE_MAX_MESSAGE_BYTES)"
                decoded: Decoded | Refusal = Refusal(Reason.TOO_LARGE, text)
            else:
                decoded = decode(value, about.version)
            if isinstance(decoded, Refusal):
                self._in_a_row += 1
                batch.refused.append(Refused(message, decoded))
                batch.bytes += len(value)
                self._refusals[decoded.reason] += 1
                continue
            self._in_a_row = 0
            body, version = decoded
            if self._repair.mended is not None:
                batch.repairs.append(Repaired(partition, offset, self._repair.mended))
            rows.append(
                (
                    attempt,
                    partition,
                    offset,
                    stamp(message),
                    version,
                    about.correlation_id,
                    about.trace_id,
                    about.span_id,
                    body,
                )
            )
        if rows:
            lines = ROWS.encode_lines(rows)
            batch.lines.append(lines)
            batch.bytes += len(lines)
            batch.rows += len(rows)
        return [Skip(r, "tombstone") for r in merge(tombstones)], size

    def _read_again(self, topic: Topic, positions: Collection[Position]) -> list[Record]:
        """Messages that were read before; what lies between them is read over.

        Raises:
            AttemptFailed: one is gone by now; the next attempt will account for it as such.
        """
        offsets: dict[int, list[int]] = {}
        for partition, offset in positions:
            offsets.setdefault(partition, []).append(offset)
        ranges = [OffsetRange(p, min(found), max(found) + 1) for p, found in offsets.items()]
        records = [
            record
            for read, _ in self._source.read(topic, ranges)
            for record in read
            if (record.partition(), record.offset()) in positions
        ]
        if len(records) != len(positions):
            raise AttemptFailed(
                f"topic {topic.name!r}: {len(positions) - len(records)} messages that ClickHouse"
                f" refused are gone from the topic before they could be quarantined"
            )
        return records

    def _full(self, batch: Batch) -> bool:
        return (
            batch.rows >= self._settings.batch_rows
            or batch.bytes >= self._settings.batch_bytes
            or len(batch.refused) + len(batch.skips) >= self._settings.batch_rows
        )

    def _hand_over(self, stager: Stager, batch: Batch) -> int:
        started = time.monotonic()
        stager.put(batch)
        count = batch.rows + len(batch.refused) + sum(s.range.count for s in batch.skips)
        self._progress(count)
        batch_span(batch.started, batch.producers, offsets=count, refused=len(batch.refused))
        log.info(
            "batch",
            number=batch.number,
            rows=batch.rows,
            refused=len(batch.refused),
            waited_seconds=round(time.monotonic() - started, 2),
        )
        return batch.number + 1

    def _check_expired(self, topic: Topic, skips: Sequence[Skip]) -> None:
        expired = [skip.range for skip in skips if skip.kind == "expired"]
        if expired and self._contract.on_expired == "fail":
            raise OffsetsExpired(
                f"topic {topic.name!r}: {total(expired):,} planned offsets were removed by"
                f" retention before they were read: {', '.join(map(str, expired))}"
            )

    def _check_row(self, batch: Batch) -> None:
        """Stop early when nothing but refused messages comes."""
        most = self._most_in_a_row
        if not most or self._in_a_row < most:
            return
        for reason, count in self._refusals.most_common(5):
            example = next((r for r in batch.refused if r.refusal.reason == reason), None)
            said = self._said(example.refusal) if example else ""
            log.warning("refused", reason=str(reason), count=count, example=said)
        last = batch.refused[-1]
        raise BreakerTripped(
            f"topic {self._contract.topic!r}: {self._in_a_row:,} messages in a row were refused"
            f" (the contract's limit is {most:,}), up to partition {last.message.partition()},"
            f" offset {last.message.offset()}: {last.refusal.reason} {self._said(last.refusal)}."
            " Nothing is published"
        )

    def _said(self, refusal: Refusal) -> str:
        said = masked(self._contract, refusal.reason, refusal.field, refusal.message)
        return f"{refusal.field} {said}".strip()

    def _verify(self, load_id: str, attempt: str, stager: Stager, skipped: Counter[str]) -> None:
        """Count what ClickHouse holds of this attempt."""
        db = quoted(self._ledger.database)
        found = self._clickhouse.rows(
            "SELECT"
            f" (SELECT count() FROM {self._ledger.staging_table(load_id)}"
            "   WHERE _attempt = {attempt:String}) AS staged,"
            f" (SELECT count() FROM {db}.quarantine_rows"
            "   WHERE load_id = {load:String} AND attempt = {attempt:String}) AS refused,"
            f" (SELECT sum(high - low) FROM {db}.load_skips"
            "   WHERE load_id = {load:String} AND attempt = {attempt:String}) AS skipped",
            {"load": load_id, "attempt": attempt},
        )[0]
        sent = {
            "staged": stager.staged,
            "refused": stager.refused,
            "skipped": sum(skipped.values()),
        }
        if found != sent:
            raise AttemptFailed(f"attempt {attempt} sent {sent}, and ClickHouse holds {found}")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cycle collector, which would take most of the time; decoding makes no cycles."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
