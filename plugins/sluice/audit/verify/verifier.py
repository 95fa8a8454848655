"""An audit of everything that was ever loaded of a topic, offset by offset. Reads only.

Three things are compared: the ledger (what loads have published), the tables (target, quarantine,
skips), and the broker. Each is read as sets of offset ranges, so that a finding names the offsets.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from sluice.audit.verify.findings import Finding, offset_finding
from sluice.audit.verify.load_accounts import check_accounts
from sluice.audit.verify.stored_offsets import StoredOffsets, StoredRanges
from sluice.contract import Contract
from sluice.errors import BrokerError
from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange, intersect, merge, subtract, total
from sluice.records import Progress, Topic, retained_ranges
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import HeldRange
from sluice.store.target_table import TargetTable

log = structlog.get_logger()

STUCK = timedelta(hours=1)
"""Inactivity of a load that is publishing, after which it is a finding."""


class PartitionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one partition; ``open`` offsets are in the topic and not published yet."""

    partition: int
    published: int
    loaded: int
    quarantined: int
    skipped: int
    open: int


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an audit; good when there are no findings.

    Attributes:
        without_row: published offsets that have no place of their own in a replacing table. The
            audit of the tables does not show whether a newer row of their key is there; see
            :class:`ContentCheck`.
    """

    topic: str
    partitions: list[PartitionSummary]
    findings: list[Finding]
    without_row: list[OffsetRange]
    offsets: int
    seconds: float


class Verifier:
    """Audits one topic.

    Args:
        within: only these ranges; everything when None.
    """

    def __init__(
        self,
        contract: Contract,
        broker: Broker,
        clickhouse: ClickHouse,
        ledger: Ledger,
        cluster: str = "",
        within: list[OffsetRange] | None = None,
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._broker, self._within = broker, within
        self._target = TargetTable(contract, clickhouse, cluster)
        self._holdings = StoredOffsets(
            contract.topic, clickhouse, ledger, self._target.name, within
        )

    def run(self, progress: Progress = lambda offsets: None) -> Verification:
        """Compare ledger, tables and watermarks."""
        began = time.monotonic()
        taken = self._ledger.held_ranges(self._contract.topic)
        loads = [t for t in taken if t.published]
        published = self._holdings.inside(t.range for t in loads)
        rows = self._holdings.target(published, progress)
        refused, skips = self._holdings.quarantine(), self._holdings.skipped(loads)
        publishing = self._publishing(taken)
        live = self._holdings.inside(t.range for t in publishing)
        moving = self._holdings.inside(t.range for t in publishing if t.revision)
        places = {"the target": rows, "quarantine": refused} | {
            f"the {kind} offsets": held for kind, held in skips.items()
        }
        somewhere = merge(r for held in places.values() for r in held.ranges)
        nowhere = subtract(published, [*somewhere, *moving])
        findings = [
            *self._overlaps(loads),
            *self._doubled(places, moving),
            *self._unplaced(nowhere, subtract(somewhere, [*published, *live])),
            *self._accounts(),
            *self._leftovers(),
        ]
        return Verification(
            topic=self._contract.topic,
            partitions=self._summaries(merge(published), rows, refused, skips),
            findings=findings,
            without_row=nowhere if self._target.replaces else [],
            offsets=total(merge(published)),
            seconds=time.monotonic() - began,
        )

    def _publishing(self, before: list[HeldRange]) -> list[HeldRange]:
        """Ranges of loads that are publishing, or have begun to since ``before`` was read."""
        was = {t.load_id: t.state for t in before}
        return [
            t
            for t in self._ledger.held_ranges(self._contract.topic)
            if t.state.is_publishing
            or ((earlier := was.get(t.load_id)) and earlier.is_publishing)
            or (t.published and earlier is not t.state)
        ]

    def against_broker(self, progress: Progress = lambda offsets: None) -> list[Finding]:
        """Read the topic, and compare every message that it still has with the tables.

        A message that is no longer in the topic (retention, compaction) proves nothing.
        """
        topic = self._broker.topic(self._contract.topic)
        taken = self._ledger.held_ranges(topic.name)
        published = merge(t.range for t in taken if t.published)
        marks = self._broker.watermarks(topic)
        asked = intersect(self._holdings.inside(published), retained_ranges(marks))
        messages, nulls = self._read(topic, asked, progress)
        rows = self._holdings.target(asked, lambda _: None)
        loaded = merge([*rows.ranges, *self._holdings.quarantine().ranges])
        moving = [t.range for t in self._publishing(taken) if t.revision]
        findings = []
        # A replacing table may have merged away the row of a message that is still there.
        if missing := [] if self._target.replaces else subtract(messages, [*loaded, *moving]):
            text = "the topic has messages that are neither loaded nor in quarantine"
            findings.append(offset_finding("broker", text, missing))
        if unexpected := intersect(nulls, loaded):
            text = "the topic has null values where there are rows"
            findings.append(offset_finding("broker", text, unexpected))
        return findings

    def _read(
        self, topic: Topic, asked: list[OffsetRange], progress: Progress
    ) -> tuple[list[OffsetRange], list[OffsetRange]]:
        """Offsets of the topic that carry a value, and those whose value is null."""
        nulls: list[OffsetRange] = []
        absent: list[OffsetRange] = []
        for records, skips in self._broker.read(topic, asked):
            absent += [skip.range for skip in skips]
            nulls += [
                OffsetRange(record.partition(), record.offset(), record.offset() + 1)
                for record in records
                if record.value() is None
            ]
            progress(len(records) + sum(skip.range.count for skip in skips))
        return subtract(asked, [*nulls, *absent]), merge(nulls)

    def _overlaps(self, loads: list[HeldRange]) -> Iterator[Finding]:
        """Two loads of one revision never hold the same offset."""
        for revision in sorted({t.revision for t in loads}):
            published = [t.range for t in loads if t.revision == revision]
            held = self._holdings.inside(published)
            if total(merge(published)) == total(published):
                continue
            seen: list[OffsetRange] = []
            twice: list[OffsetRange] = []
            for r in held:
                twice += intersect([r], seen)
                seen.append(r)
            if twice:
                yield offset_finding("ledger", "two loads have published the same offsets", twice)

    def _doubled(
        self, places: Mapping[str, StoredRanges], moving: list[OffsetRange]
    ) -> Iterator[Finding]:
        """No offset in two places, or twice in one.

        What a load is replacing at this moment (``moving``) may be in two.
        """
        for name, held in places.items():
            if twice := subtract(held.twice, moving):
                yield offset_finding("doubled", f"twice in {name}", twice)
        for first, second in itertools.combinations(places, 2):
            both = intersect(places[first].ranges, places[second].ranges)
            if both := subtract(both, moving):
                yield offset_finding("doubled", f"both in {first} and in {second}", both)

    def _unplaced(
        self, nowhere: list[OffsetRange], unexplained: list[OffsetRange]
    ) -> Iterator[Finding]:
        """No published offset without a place, and no row without a load."""
        if nowhere and not self._target.replaces:
            text = "published by the ledger, and neither loaded, refused nor skipped"
            yield offset_finding("missing", text, nowhere)
        if unexplained:
            text = "rows of offsets that no load has published"
            yield offset_finding("unexplained", text, unexplained)

    def _accounts(self) -> Iterator[Finding]:
        """The loads' accounts against the rows that carry their ids."""
        if self._target.replaces or self._within is not None:
            return
        yield from check_accounts(
            self._contract.topic, self._target.name, self._clickhouse, self._ledger
        )

    def _leftovers(self) -> Iterator[Finding]:
        loads = self._ledger.loads_of(self._contract.topic)
        over = {load.load_id for load in loads if not load.live}
        for row in self._ledger.work_tables():
            if row["load_id"] in over:
                yield Finding(kind="leftover", text=f"table {row['name']} of a load that is over")
        state = self._ledger.state(self._contract.topic)
        for table, partition in self._ledger.staging.leftovers(state):
            text = f"partition {partition} of table {table}: rows that a load that is over staged"
            yield Finding(kind="leftover", text=text)
        for load in loads:
            silent = datetime.now(UTC) - self._ledger.last_activity(load)
            if load.state.is_publishing and silent > STUCK:
                yield Finding(
                    kind="leftover",
                    text=f"load {load.load_id} began to publish and has recorded nothing for"
                    f" {silent.total_seconds() / 60:.0f} minutes; its report and the log of the"
                    " next plan say why",
                )

    def _summaries(
        self,
        published: list[OffsetRange],
        rows: StoredRanges,
        refused: StoredRanges,
        skips: Mapping[str, StoredRanges],
    ) -> list[PartitionSummary]:
        try:
            topic = self._broker.topic(self._contract.topic)
            marks = self._broker.watermarks(topic)
        except BrokerError as error:
            log.warning("broker_not_asked", error=str(error))
            marks = {}
        there = self._holdings.inside(retained_ranges(marks))
        waiting = subtract(there, published)
        skipped = merge(r for held in skips.values() for r in held.ranges)
        partitions = sorted({r.partition for r in [*published, *there, *rows.ranges]})

        def of(ranges: Iterable[OffsetRange], partition: int) -> int:
            return total(r for r in ranges if r.partition == partition)

        return [
            PartitionSummary(
                partition=p,
                published=of(published, p),
                loaded=of(rows.ranges, p),
                quarantined=of(refused.ranges, p),
                skipped=of(skipped, p),
                open=of(waiting, p),
            )
            for p in partitions
        ]
