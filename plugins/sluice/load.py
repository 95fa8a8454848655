"""A load, step by step. Each step may be repeated; DESIGN's table in code.

    plan → drain (one a chunk) → audit → publish → report

The functions take what they need and know nothing of who calls them: Airflow's tasks and the
command line run the same ones.
"""

import random
import re
import time
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from sluice import ledger as states
from sluice.audit import Auditor, Balance
from sluice.clickhouse import UNKNOWN_TABLE, ClickHouse, connect
from sluice.contract import Contract
from sluice.ddl import ClickHouseSchemaMapper
from sluice.drain import Drain, Progress
from sluice.errors import (
    EngineError,
    LoadLost,
    PlanError,
    QualityError,
    SluiceError,
    TopicRecreated,
)
from sluice.kafka import Broker
from sluice.ledger import ChunkResult, Ledger, Load
from sluice.planning import Known, Request, new_messages, origins
from sluice.publish import Publisher
from sluice.quality import Gate
from sluice.ranges import OffsetRange, chunk, merge, subtract, total
from sluice.report import Report, Reporter
from sluice.settings import Connection, Settings

log = structlog.get_logger()

PLAN_TRIES = 20
"""How often a planner that met another's reservation tries again."""

IsOver = Callable[[str], bool | None]
"""Whether the run that owns a load is over; None when there is no telling."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a load will read."""

    load_id: str
    topic: str
    chunks: list[list[OffsetRange]]

    @property
    def offsets(self) -> int:
        """How many offsets the load will read."""
        return sum(total(part) for part in self.chunks)


class Loader:
    """The steps of loads of one contract, over open connections.

    Args:
        contract: what is loaded.
        kafka: Airflow connection of the Kafka cluster.
        clickhouse: Airflow connection of ClickHouse.
        owner: names the run: the same run planning again gets the same plan.
        is_over: tells of other owners whether they are over.
    """

    def __init__(
        self,
        contract: Contract,
        kafka: Connection,
        clickhouse: Connection,
        settings: Settings,
        owner: str,
        is_over: IsOver = lambda owner: None,
    ) -> None:
        self.contract, self.settings, self.owner = contract, settings, owner
        self._clickhouse_connection = clickhouse
        self.broker = Broker(kafka, settings)
        self.clickhouse: ClickHouse = connect(clickhouse)
        self.ledger = Ledger(self.clickhouse, settings.database)
        self.publisher = Publisher(contract, self.clickhouse, self.ledger, settings.cluster)
        self._mapper = ClickHouseSchemaMapper.of(contract, settings.cluster)
        self._is_over = is_over

    @property
    def group(self) -> str:
        """The consumer group that mirrors what is published."""
        return self.settings.consumer_group.replace("{topic}", self.contract.topic)

    def create_tables(self) -> None:
        """Create the ledger and the target table; harmless when they are there."""
        self.ledger.create()
        for statement in self._mapper.create_tables():
            self.clickhouse.execute(statement)

    def plan(self, request: Request = Request()) -> Plan:
        """Pin the ranges of this run's load and reserve them.

        The same run gets its recorded plan back, also after the topic has grown, unless its
        load was abandoned. Loads that their runs left unfinished are settled first.

        Raises:
            PlanError: the request cannot be planned; says what to change.
            OffsetsExpired: offsets are gone, and the contract says to fail.
        """
        self.create_tables()
        topic = self.contract.topic
        if load := self.current():
            recorded = self._recorded(load.load_id)
            if load.state != states.PLANNED or self._confirm(recorded):
                log.info("plan_found", load_id=load.load_id, state=load.state)
                return recorded
        self.settle()
        for attempt in range(PLAN_TRIES):
            plan = self._reserve(request)
            if plan is not None:
                return plan
            log.info("plan_withdrawn", attempt=attempt)
            time.sleep(random.uniform(0.05, 0.5) * (attempt + 1))
        raise PlanError(
            f"topic {topic!r}: other loads keep reserving the same offsets; try again later"
        )

    def current(self) -> Load | None:
        """The load of this run; None before it has planned, and after another settled it."""
        loads = self.ledger.loads_of(self.contract.topic, self.owner)
        ended = (states.ABANDONED, states.WITHDRAWN)
        return next((load for load in loads if load.state not in ended), None)

    def _reserve(self, request: Request) -> Plan | None:
        """Write a plan and keep it unless another live load overlaps it."""
        contract = self.contract
        topic = self.broker.topic(contract.topic)
        watermarks = self.broker.watermarks(topic)
        ranges = new_messages(contract, topic, watermarks, self._known(topic.partitions), request)
        chunks = chunk(ranges, self.settings.chunk_offsets)
        now = datetime.now(UTC)
        load_id = f"{_safe(contract.topic)}_{now:%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}"
        # The table comes first: who settles this load finds it, or finds it gone.
        staging = self.ledger.staging_table(load_id)
        self.clickhouse.execute(self._mapper.create_staging(staging))
        detail = {
            "topic_id": topic.id,
            "shape": self._mapper.shape,
            "request": msgspec.to_builtins(request),
            "watermarks": {str(p): [w.low, w.high] for p, w in watermarks.items()},
        }
        self.ledger.reserve(load_id, contract.topic, self.owner, chunks, detail)
        plan = Plan(load_id=load_id, topic=contract.topic, chunks=chunks)
        if not self._confirm(plan):
            return None
        log.info(
            "planned",
            load_id=load_id,
            offsets=plan.offsets,
            chunks=len(chunks),
            ranges=[str(r) for r in ranges[:50]],
        )
        return plan

    def _confirm(self, plan: Plan) -> bool:
        """Hold a written plan against all others; it is kept, or withdrawn when one overlaps.

        Of two planners the one that wrote later sees the other, also when it was interrupted
        in between and asks again.
        """
        taken = self.ledger.taken(plan.topic, besides=plan.load_id)
        others = [r for _, _, r in taken]
        mine = [r for part in plan.chunks for r in part]
        if total(subtract(mine, others)) == plan.offsets:
            self.ledger.record(plan.load_id, plan.topic, states.RESERVED, self.owner)
            return True
        self.ledger.record(plan.load_id, plan.topic, states.WITHDRAWN, self.owner)
        self.clickhouse.execute(f"DROP TABLE IF EXISTS {self.ledger.staging_table(plan.load_id)}")
        return False

    def _known(self, partitions: Collection[int]) -> Known:
        topic = self.contract.topic
        taken = self.ledger.taken(topic)
        published = [r for _, state, r in taken if state == states.PUBLISHED]
        reserved = [r for _, state, r in taken if state != states.PUBLISHED]
        loads = self.ledger.loads_of(topic)
        ids = [load.plan["topic_id"] for load in loads if load.state == states.PUBLISHED]
        return Known(
            topic_id=ids[0] if ids else "",
            origins=origins([load.plan for load in reversed(loads)], partitions),
            loaded=published,
            reserved=reserved,
        )

    def _recorded(self, load_id: str) -> Plan:
        chunks = self.ledger.chunks(load_id)
        return Plan(
            load_id=load_id,
            topic=self.contract.topic,
            chunks=[chunks[number] for number in sorted(chunks)],
        )

    def settle(self) -> None:
        """End what runs that are over have left: roll forward or abandon."""
        for load in self.ledger.loads_of(self.contract.topic, live=True):
            if load.owner == self.owner or not self._over(load):
                continue
            if not self.publisher.is_publishing(load.load_id):
                self.abandon(load)
                continue
            log.warning("rolling_forward", load_id=load.load_id, owner=load.owner)
            try:
                self.publisher.publish(load.load_id, self.owner)
            except SluiceError as error:
                # Its offsets stay reserved, so loading what is new is safe meanwhile.
                log.error("rolling_forward_failed", load_id=load.load_id, error=str(error))

    def _over(self, load: Load) -> bool:
        over = self._is_over(load.owner)
        if over is None:
            silent = datetime.now(UTC) - load.last_at
            return silent > timedelta(minutes=self.settings.lease_minutes)
        return over

    def abandon(self, load: Load) -> None:
        """Free the offsets of a load; its late tasks fail on the missing table.

        Dropping the staging table decides it: a load that has begun to publish has renamed
        the table, and is not abandoned.
        """
        try:
            self.clickhouse.execute(f"DROP TABLE {self.ledger.staging_table(load.load_id)}")
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:
                raise
            again = self.ledger.load(load.load_id)
            if self.publisher.is_publishing(load.load_id) or (again and not again.live):
                return
        self.ledger.record(load.load_id, load.topic, states.ABANDONED, self.owner)
        log.warning("abandoned", load_id=load.load_id, owner=load.owner, state=load.state)

    def drain(
        self, load_id: str, number: int, progress: Progress = lambda offsets: None
    ) -> ChunkResult:
        """Read one chunk into the staging table, or say who has.

        Raises:
            LoadLost: the load was settled by another.
            BrokerError, EngineError, OffsetsExpired, AttemptFailed: see :class:`Drain`.
        """
        load = self._load(load_id)
        finished = self.ledger.winners(load_id)
        if number in finished:
            log.info("chunk_found", load_id=load_id, chunk=number)
            progress(total(self.ledger.chunks(load_id)[number]))
            return finished[number]
        if not load.live:
            raise LoadLost(f"load {load_id} is {load.state}; chunk {number} is not read")
        topic = self.broker.topic(load.topic)
        if topic.id != load.plan["topic_id"]:
            raise TopicRecreated(
                f"topic {topic.name!r} was recreated since load {load_id} was planned: its id was"
                f" {load.plan['topic_id']} and is {topic.id}; nothing of it is read"
            )
        drain = Drain(
            self.contract, self.broker, self.clickhouse, self.ledger, self.settings, progress
        )
        try:
            return drain.run(
                load_id,
                topic,
                number,
                self.ledger.chunks(load_id)[number],
                attempt=f"{number}-{uuid.uuid4().hex[:12]}",
            )
        except EngineError as error:
            if error.code == UNKNOWN_TABLE:
                raise LoadLost(
                    f"load {load_id} has no staging table: it was settled by another"
                ) from error
            raise

    def audit(self, load_id: str) -> None:
        """The law, the breaker, the quality rules. Reads only, but for its own records.

        Raises:
            AccountingError, BreakerTripped, QualityHeld: nothing will be published.
            LoadLost: the load was settled by another.
        """
        load = self._load(load_id)
        if load.state in (states.PUBLISHED, states.PUBLISHING):
            log.info("audit_found", load_id=load_id, state=load.state)
            return
        if not load.live:
            raise LoadLost(f"load {load_id} is {load.state}; there is nothing to audit")
        auditor = Auditor(self.contract, self.clickhouse, self.ledger)
        try:
            balance = auditor.balance(load_id)
            auditor.check_breaker(load_id, balance)
            if balance.sum("loaded"):
                gate = Gate(
                    self.contract, self.clickhouse, self.ledger, self._clickhouse_connection
                )
                gate.audit(load_id, list(balance.winners.values()), balance.sum("loaded"))
        except SluiceError as error:
            passing = isinstance(error, EngineError | QualityError)
            state = states.FAILED if passing else states.HELD
            self.ledger.record(
                load_id,
                load.topic,
                state,
                self.owner,
                {"error": str(error), "kind": type(error).__name__},
            )
            raise
        told = _detail(balance)
        detail = told | {"attempts": {str(n): a for n, a in balance.winners.items()}}
        self.ledger.record(load_id, load.topic, states.AUDITED, self.owner, detail)
        log.info("audited", load_id=load_id, **told)

    def publish(self, load_id: str) -> None:
        """Make an audited load visible, then mirror its ends in the consumer group.

        Raises:
            LoadLost: the load was abandoned, or its audit has not passed.
            AccountingError: the target does not hold what was staged.
        """
        load = self._load(load_id)
        if load.live and load.state not in (states.AUDITED, states.PUBLISHING):
            raise LoadLost(f"load {load_id} is {load.state}; its audit has not passed")
        self.publisher.publish(load_id, self.owner)
        self.mirror()

    def mirror(self) -> None:
        """Commit, for each partition, the offset up to which everything is published."""
        topic = self.broker.topic(self.contract.topic)
        ends: dict[int, int] = {}
        published = [r for _, s, r in self.ledger.taken(topic.name) if s == states.PUBLISHED]
        for r in merge(published):
            ends.setdefault(r.partition, r.high)
        if ends:
            self.broker.mirror(topic.name, self.group, ends)

    def report(self, load_id: str) -> Report:
        """Make and keep the report of a load, however far it came."""
        self._load(load_id)
        reporter = Reporter(self.contract, self.clickhouse, self.ledger)
        report = reporter.make(load_id)
        reporter.keep(report)
        return report

    def _load(self, load_id: str) -> Load:
        load = self.ledger.load(load_id)
        if load is None:
            raise LoadLost(f"the ledger knows no load {load_id}")
        return load


def _detail(balance: Balance) -> dict[str, Any]:
    terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent")
    return {term: balance.sum(term) for term in terms} | {"versions": balance.versions}


def _safe(topic: str) -> str:
    return re.sub(r"\W", "_", topic, flags=re.A)
