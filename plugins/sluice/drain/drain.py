"""Reading a chunk: from Kafka's bytes to staged rows, quarantine and skips."""

import gc
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.drain.batch_builder import Batch, BatchBuilder
from sluice.drain.row_insert import Position
from sluice.drain.stager import Stager
from sluice.errors import AttemptFailed, LoadLost, OffsetsExpired
from sluice.ranges import OffsetRange, total
from sluice.records import Progress, Record, Skip, Source, Topic
from sluice.settings import Settings
from sluice.sql import quote_identifier
from sluice.store.attempts import ChunkResult
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load
from sluice.telemetry import record_batch

log = structlog.get_logger()

LOOK_SECONDS = 30.0
"""How often an attempt reads the log, to stop when its load has ended."""


class Drain:
    """Reads chunks of one contract's loads.

    Args:
        source: the broker; or the quarantine, for a replay.
        progress: called with the number of offsets that a batch accounts for.
        replaying: whether the messages were refused before; see :class:`BatchBuilder`.
    """

    def __init__(
        self,
        contract: Contract,
        source: Source,
        clickhouse: ClickHouse,
        ledger: Ledger,
        settings: Settings,
        decoder: Decoder,
        progress: Progress = lambda offsets: None,
        replaying: bool = False,
    ) -> None:
        self._contract, self._source, self._clickhouse = contract, source, clickhouse
        self._ledger, self._settings, self._progress = ledger, settings, progress
        self._decoder, self._replaying = decoder, replaying
        self._looked_at = time.monotonic()

    def run(
        self, load: Load, topic: Topic, chunk: int, ranges: Sequence[OffsetRange], attempt: str
    ) -> ChunkResult:
        """Read the ranges to their ends, stage what is good, and prove it by counting.

        Returns:
            The accepted attempt at the chunk: this one, unless another was faster.

        Raises:
            BrokerError, EngineError: the attempt could not continue.
            RegistryError: the schema registry does not respond, and a schema is not cached.
            BreakerTripped: too many messages in a row were refused.
            OffsetsExpired: retention was faster, and the contract says to fail.
            AttemptFailed: ClickHouse holds other counts than were sent.
            LoadLost: the load was ended meanwhile.
        """
        started, cpu = time.monotonic(), time.process_time()
        builder = BatchBuilder(
            self._contract, self._decoder, self._settings, load.number, attempt, self._replaying
        )
        read_again = partial(self._read_again, topic)
        limit = 0 if self._replaying else self._contract.breaker.max_consecutive
        stager = Stager(self._clickhouse, self._ledger, load, attempt, read_again, limit)
        try:
            with _no_collection():
                for messages, skips in self._source.read(topic, ranges):
                    self._check_expired(topic, skips)
                    builder.add(messages, skips)
                    if builder.is_full:
                        self._hand_over(stager, builder.take())
                        if time.monotonic() - self._looked_at > LOOK_SECONDS:
                            self._refuse_ended(load)
                self._hand_over(stager, builder.take())
        except BaseException:
            stager.abandon()
            raise
        stager.close()
        self._refuse_ended(load)
        self._check_counts(load, attempt, total(ranges), stager, builder)
        seconds = time.monotonic() - started
        result = ChunkResult(
            chunk=chunk,
            attempt=attempt,
            bytes=builder.read_bytes,
            seconds=seconds,
            cpu_seconds=time.process_time() - cpu,
            batches=builder.batch.number,
        )
        accepted = self._ledger.attempts.finish(load.load_id, topic.name, result)
        log.info(
            "chunk_drained",
            chunk=chunk,
            accepted=accepted.attempt == attempt,
            offsets=total(ranges),
            staged=stager.staged,
            refused=stager.refused,
            **builder.skipped,
            reasons=dict(builder.reasons),
            rows_per_second=round(total(ranges) / seconds) if seconds else 0,
        )
        return accepted

    def _hand_over(self, stager: Stager, batch: Batch) -> None:
        started = time.monotonic()
        stager.put(batch)
        self._progress(batch.offsets)
        refused = len(batch.refused)
        record_batch(batch.started, batch.producers, offsets=batch.offsets, refused=refused)
        log.info(
            "batch",
            number=batch.number,
            rows=batch.rows,
            refused=refused,
            waited_seconds=round(time.monotonic() - started, 2),
        )

    def _refuse_ended(self, load: Load) -> None:
        """Stop when another run has ended the load, and drop what was staged since."""
        self._looked_at = time.monotonic()
        if self._ledger.state(load.topic).has_ended(load):
            self._ledger.staging.drop(load)
            raise LoadLost("it was ended by another run", load_id=load.load_id)

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
        if gone := set(positions) - {(r.partition(), r.offset()) for r in records}:
            partition, offset = min(gone)
            raise AttemptFailed(
                f"{len(gone)} messages that ClickHouse refused, this one first, are gone from the"
                " topic before they could be quarantined",
                topic=topic.name,
                partition=partition,
                offset=offset,
            )
        return records

    def _check_expired(self, topic: Topic, skips: Sequence[Skip]) -> None:
        expired = [skip.range for skip in skips if skip.kind == "expired"]
        if expired and self._contract.on_expired == "fail":
            raise OffsetsExpired(
                f"{total(expired):,} planned offsets were removed by retention before they were"
                f" read: {', '.join(map(str, expired))}",
                topic=topic.name,
                partition=expired[0].partition,
                offset=expired[0].low,
            )

    def _check_counts(
        self, load: Load, attempt: str, planned: int, stager: Stager, builder: BatchBuilder
    ) -> None:
        """Count what ClickHouse holds of this attempt."""
        sent = {
            "staged": stager.staged,
            "refused": stager.refused,
            "skipped": sum(builder.skipped.values()),
        }
        if sum(sent.values()) != planned:
            raise AttemptFailed(
                f"attempt {attempt} had {planned} offsets to read, and accounts for {sent}",
                topic=load.topic,
                load_id=load.load_id,
            )
        staged = self._ledger.staging.rows(load)
        db = quote_identifier(self._ledger.database)
        sql = (
            "SELECT"
            f" (SELECT count() FROM {staged.table}"
            f"   WHERE {staged.condition} AND _attempt = {{attempt:String}}) AS staged,"
            f" (SELECT count() FROM {db}.quarantine_rows WHERE topic = {{topic:String}}"
            "   AND load_id = {load:String} AND attempt = {attempt:String}) AS refused,"
            f" (SELECT sum(high - low) FROM {db}.load_skips WHERE topic = {{topic:String}}"
            "   AND load_id = {load:String} AND attempt = {attempt:String}) AS skipped"
        )
        parameters = {"topic": load.topic, "load": load.load_id, "attempt": attempt}
        stored = self._clickhouse.until(
            lambda: self._clickhouse.rows(sql, parameters)[0],
            lambda found: all(found[name] >= count for name, count in sent.items()),
        )
        if stored != sent:
            raise AttemptFailed(
                f"attempt {attempt} sent {sent}, and ClickHouse holds {stored}",
                topic=load.topic,
                load_id=load.load_id,
            )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cycle collector, which would take most of the time; decoding makes no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
