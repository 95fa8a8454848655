"""Pinning the ranges of a load and reserving them, so that no other load takes them."""

import random
import re
import time
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import msgspec
import structlog

from sluice import ledger as states
from sluice.bounds import bounds
from sluice.clickhouse import ClickHouse
from sluice.contract import Contract
from sluice.ddl import ClickHouseSchemaMapper
from sluice.errors import PlanError, ShapeChanged
from sluice.kafka import Broker
from sluice.ledger import Ledger, Load
from sluice.planning import Known, Request, new_messages, origins
from sluice.range_reader import Topic, Watermarks
from sluice.ranges import OffsetRange, chunk, subtract, total
from sluice.settings import Settings
from sluice.settling import Settler

log = structlog.get_logger()

PLAN_TRIES = 20
"""How often a planner that met another's reservation tries again."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a load will read."""

    load_id: str
    topic: str
    chunks: list[list[OffsetRange]]

    @property
    def offsets(self) -> int:
        """How many offsets the load will read."""
        return sum(total(part) for part in self.chunks)


class Planner:
    """Plans loads of one contract for one run."""

    def __init__(
        self,
        contract: Contract,
        broker: Broker,
        clickhouse: ClickHouse,
        ledger: Ledger,
        settings: Settings,
        settler: Settler,
    ) -> None:
        self.contract, self.settings, self.settler = contract, settings, settler
        self.broker, self.clickhouse, self.ledger = broker, clickhouse, ledger
        self.owner = settler.owner
        self._mapper = ClickHouseSchemaMapper.of(contract, settings.cluster)

    def plan(self, request: Request = Request()) -> Plan:
        """Pin the ranges of this run's load and reserve them.

        The same run gets its recorded plan back, also after the topic has grown, unless its
        load was abandoned. Loads that their runs left unfinished are settled first.

        Raises:
            PlanError: the request cannot be planned; says what to change.
            OffsetsExpired: offsets are gone, and the contract says to fail.
        """
        topic = self.contract.topic
        if (load := self.current()) and not self._fits(load):
            # Another deployment planned it: what it staged cannot be mixed with ours.
            self.settler.abandon(load)
            load = self.current()
        if load:
            recorded = self._recorded(load.load_id)
            if load.state != states.PLANNED or self._confirm(recorded):
                log.info("plan_found", load_id=load.load_id, state=load.state)
                return recorded
        self.settler.settle()
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

    def _fits(self, load: Load) -> bool:
        """Whether this deployment can go on with a load: it stages alike, or need not any more."""
        alike = load.plan.get("shape") == self._mapper.shape
        return alike or load.state in (states.PUBLISHING, states.PUBLISHED)

    def check_shape(self, load: Load) -> None:
        """Refuse to go on with a load of another deployment.

        Raises:
            ShapeChanged: what it has staged cannot be mixed with what this one would stage.
        """
        if not self._fits(load):
            raise ShapeChanged(
                f"load {load.load_id} was planned under another version of the contract of"
                f" {load.topic!r}; clear the run's plan task, and it is planned anew"
            )

    def wanted(
        self, topic: Topic, watermarks: Mapping[int, Watermarks], request: Request
    ) -> list[OffsetRange]:
        """What a load of a request would read now; reads only.

        Raises:
            PlanError, OffsetsExpired, BrokerError: see :func:`new_messages` and :func:`bounds`.
        """
        low, high = request.low or None, request.high or None
        window = bounds(self.broker, topic, low, high) if low or high else None
        known = self._known(topic.partitions)
        return new_messages(self.contract, topic, watermarks, known, request, window)

    def _reserve(self, request: Request) -> Plan | None:
        """Write a plan and keep it unless another live load overlaps it."""
        contract = self.contract
        topic = self.broker.topic(contract.topic)
        watermarks = self.broker.watermarks(topic)
        ranges = self.wanted(topic, watermarks, request)
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


def _safe(topic: str) -> str:
    return re.sub(r"\W", "_", topic, flags=re.A)
