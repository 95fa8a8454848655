"""Pinning the ranges of a load and reserving them, so that no other load takes them."""

import random
import re
import time
import uuid
from datetime import UTC, datetime

import msgspec
import structlog

from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import PlanError, ShapeChanged
from sluice.kafka.broker import Broker
from sluice.plan.settle import Settler
from sluice.plan.survey import Surveyor
from sluice.ranges import OffsetRange, chunk, subtract, total
from sluice.settings import Settings
from sluice.store import ledger as states
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Kind, Ledger, Load, Taken
from sluice.store.request import Request

log = structlog.get_logger()

PLAN_TRIES = 20
"""How often a planner that met another's reservation tries again."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a load will read.

    Attributes:
        revision: above 0 when it answers for offsets that other loads have published.
        replaces: the loads whose rows go.
    """

    load_id: str
    topic: str
    chunks: list[list[OffsetRange]]
    kind: Kind = "load"
    revision: int = 0
    replaces: tuple[str, ...] = ()

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
        self.surveyor = Surveyor(contract, broker, clickhouse, ledger, settings)
        self._mapper = ClickHouseSchemaMapper.of(contract, settings.cluster)

    def plan(self, request: Request = Request(), resume: bool = False) -> Plan:
        """Pin the ranges of this run's load and reserve them.

        The same run gets its recorded plan back, also after the topic has grown, unless its
        load was abandoned. Loads that their runs left unfinished are settled first.

        Args:
            resume: go on with an unfinished load of the same request whose process is gone.

        Raises:
            PlanError: the request cannot be planned; says what to change.
            OffsetsExpired: offsets are gone, and the contract says to fail.
        """
        if (load := self.current()) and not (self._fits(load) and self._same_contract(load)):
            # Another deployment planned it: what it staged cannot be mixed with ours.
            self.settler.abandon(load)
            load = self.current()
        if load is None and resume:
            load = self._adopt(request)
        if load:
            recorded = self._recorded(load)
            if load.state != states.PLANNED or self._confirm(recorded):
                log.info("plan_found", load_id=load.load_id, state=load.state)
                return recorded
        self.settler.settle()
        return self._plan_anew(request)

    def plan_again(self, request: Request) -> Plan:
        """Pin and reserve for a run whose earlier load, of another request, is not wanted any more.

        A load of the same request that is not published yet is gone on with.

        Raises:
            PlanError, OffsetsExpired: see :meth:`plan`.
        """
        load = self.current()
        if load and load.live:
            if Request.recorded(load.plan) == request:
                return self.plan(request)
            if self.settler.publisher.is_publishing(load.load_id):
                self.settler.publisher.publish(load.load_id, self.owner)
            else:
                self.settler.abandon(load)
        self.settler.settle()
        return self._plan_anew(request)

    def _plan_anew(self, request: Request) -> Plan:
        for attempt in range(PLAN_TRIES):
            plan = self._reserve(request)
            if plan is not None:
                return plan
            log.info("plan_withdrawn", attempt=attempt)
            time.sleep(random.uniform(0.05, 0.5) * (attempt + 1))
        raise PlanError(
            f"topic {self.contract.topic!r}: other loads keep reserving the same offsets; try"
            " again later"
        )

    def _adopt(self, request: Request) -> Load | None:
        """An unfinished load of the same request whose owner is gone; it is ours from now on."""
        for load in self.ledger.loads_of(self.contract.topic, live=True):
            same = (
                Request.recorded(load.plan) == request
                and self._fits(load)
                and self._same_contract(load)
            )
            goes_on = load.state not in (states.PLANNED, states.HELD)
            if same and goes_on and self.settler.is_over(load.owner):
                self.ledger.record(load.load_id, load.topic, states.ADOPTED, self.owner)
                log.info("load_adopted", load_id=load.load_id, owner=load.owner)
                return load
        return None

    def current(self) -> Load | None:
        """The load of this run; None before it has planned, and after another settled it."""
        loads = self.ledger.loads_of(self.contract.topic, self.owner)
        ended = (states.ABANDONED, states.WITHDRAWN)
        return next((load for load in loads if load.state not in ended), None)

    def last(self) -> Load | None:
        """The latest load of this run, also one that was given up."""
        loads = self.ledger.loads_of(self.contract.topic, self.owner)
        return next((load for load in loads if load.state != states.WITHDRAWN), None)

    def _fits(self, load: Load) -> bool:
        """Whether this deployment can go on with a load: it stages alike, or need not any more."""
        alike = load.plan.get("shape") == self._mapper.shape
        return alike or load.state in (*states.UNDER_WAY, states.PUBLISHED)

    def _same_contract(self, load: Load) -> bool:
        """Whether the file of the contract is the one it was planned with, or need not be."""
        same = load.plan.get("contract", self.contract.digest) == self.contract.digest
        return same or not load.live or load.state in states.UNDER_WAY

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

    def _reserve(self, request: Request) -> Plan | None:
        """Write a plan and keep it unless another live load overlaps it."""
        contract = self.contract
        found = self.surveyor.prospect(request)
        ranges = found.survey.ranges
        chunks = chunk(ranges, self.settings.chunk_offsets)
        now = datetime.now(UTC)
        load_id = f"{_safe(contract.topic)}_{now:%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}"
        # The table comes first: who settles this load finds it, or finds it gone.
        staging = self.ledger.staging_table(load_id)
        self.clickhouse.execute(self._mapper.create_staging(staging))
        detail = {
            "topic_id": found.topic.id,
            "shape": self._mapper.shape,
            "contract": self.contract.digest,
            "request": msgspec.to_builtins(request),
            "watermarks": {str(p): [w.low, w.high] for p, w in found.watermarks.items()},
            "kind": found.kind,
            "replaces": found.replaces,
            "survey": found.survey.left_alone,
            "waiting": found.waiting,
        }
        self.ledger.reserve(
            load_id, contract.topic, self.owner, chunks, detail, found.kind, found.revision
        )
        plan = Plan(
            load_id=load_id,
            topic=contract.topic,
            chunks=chunks,
            kind=found.kind,
            revision=found.revision,
            replaces=tuple(found.replaces),
        )
        if not self._confirm(plan):
            return None
        log.info(
            "planned",
            load_id=load_id,
            kind=found.kind,
            offsets=plan.offsets,
            chunks=len(chunks),
            ranges=[str(r) for r in ranges[:50]],
        )
        return plan

    def _confirm(self, plan: Plan) -> bool:
        """Hold a written plan against all others; it is kept, or withdrawn when one overlaps.

        Of two planners the one that wrote later sees the other, also when it was interrupted
        in between and asks again. A load may overlap published ones that it replaces: those of
        lower revisions, and when it replaces rows, those that it knew of when it was planned.
        """
        taken = self.ledger.taken(plan.topic, besides=plan.load_id)
        others = [t.range for t in taken if self._conflicts(plan, t)]
        mine = [r for part in plan.chunks for r in part]
        if total(subtract(mine, others)) == plan.offsets:
            self.ledger.record(plan.load_id, plan.topic, states.RESERVED, self.owner)
            return True
        self.ledger.record(plan.load_id, plan.topic, states.WITHDRAWN, self.owner)
        self.clickhouse.execute(f"DROP TABLE IF EXISTS {self.ledger.staging_table(plan.load_id)}")
        return False

    def _conflicts(self, plan: Plan, other: Taken) -> bool:
        if not other.published or other.revision >= plan.revision:
            return True
        return plan.kind == "replace" and other.load_id not in plan.replaces

    def _recorded(self, load: Load) -> Plan:
        chunks = self.ledger.chunks(load.load_id)
        return Plan(
            load_id=load.load_id,
            topic=self.contract.topic,
            chunks=[chunks[number] for number in sorted(chunks)],
            kind=load.kind,
            revision=self.ledger.revision(load.load_id),
            replaces=tuple(load.plan.get("replaces", ())),
        )


def _safe(topic: str) -> str:
    return re.sub(r"\W", "_", topic, flags=re.A)
