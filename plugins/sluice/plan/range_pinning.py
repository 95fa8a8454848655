"""Pinning the ranges of a load: reserved once, they never move, and no other load reads them."""

import re
import uuid
from datetime import UTC, datetime

import msgspec
import structlog
import tenacity

from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import PlanError, ShapeChanged
from sluice.kafka.broker import Broker
from sluice.plan.survey import Survey
from sluice.plan.takeover import Settler
from sluice.ranges import OffsetRange, chunk, subtract, total
from sluice.settings import Settings
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import HeldRange, Load, LoadKind, PlanRecord, State
from sluice.store.request import Request

log = structlog.get_logger()

RESERVATION_TRIES = 20
"""How often a planner that met another's reservation tries again."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a load will read.

    Attributes:
        revision: above 0 when it answers for offsets that other loads have published.
        replaces: the loads whose rows it replaces.
    """

    load_id: str
    topic: str
    chunks: list[list[OffsetRange]]
    kind: LoadKind = "load"
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
        self.survey = Survey(contract, broker, clickhouse, ledger, settings)
        self.mapper = ClickHouseSchemaMapper.of(contract, settings.cluster)

    def plan(self, request: Request = Request(), resume: bool = False) -> Plan:
        """Pin the ranges of this run's load and reserve them.

        The same run gets its recorded plan back, also after the topic has grown, unless its
        load was abandoned. Loads that other runs left unfinished are settled first.

        Args:
            resume: continue an unfinished load of the same request whose process is gone.

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
            if load.state is not State.PLANNED or self._confirm(recorded):
                log.info("plan_found", load_id=load.load_id, state=load.state)
                return recorded
        self.settler.settle()
        return self._plan_afresh(request)

    def plan_again(self, request: Request) -> Plan:
        """Pin and reserve for a run whose earlier load, of another request, is obsolete.

        A load of the same request that is not published yet is continued.

        Raises:
            PlanError, OffsetsExpired: see :meth:`plan`.
        """
        load = self.current()
        if load and load.live:
            if load.plan.request == request:
                return self.plan(request)
            if self.settler.publisher.is_publishing(load.load_id):
                self.settler.publisher.publish(load.load_id, self.owner)
            else:
                self.settler.abandon(load)
        self.settler.settle()
        return self._plan_afresh(request)

    def _plan_afresh(self, request: Request) -> Plan:
        """Reserve until no other load's reservation overlaps."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda plan: plan is None),
            stop=tenacity.stop_after_attempt(RESERVATION_TRIES),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            before_sleep=lambda state: log.info("plan_withdrawn", attempt=state.attempt_number),
        )
        try:
            plan = retrying(self._reserve, request)
        except tenacity.RetryError as error:
            raise PlanError(
                "other loads keep reserving the same offsets; try again later",
                topic=self.contract.topic,
            ) from error
        assert plan is not None
        return plan

    def _adopt(self, request: Request) -> Load | None:
        """An unfinished load of the same request whose owner is gone; this run owns it now."""
        for load in self.ledger.loads_of(self.contract.topic, live=True):
            same = load.plan.request == request and self._fits(load) and self._same_contract(load)
            resumable = load.state not in (State.PLANNED, State.HELD)
            if same and resumable and self.settler.is_over(load.owner):
                self.ledger.record(load.load_id, load.topic, State.ADOPTED, self.owner)
                log.info("load_adopted", load_id=load.load_id, owner=load.owner)
                return load
        return None

    def current(self) -> Load | None:
        """The load of this run; None before it has planned, and after another settled it."""
        loads = self.ledger.loads_of(self.contract.topic, self.owner)
        return next((load for load in loads if not load.state.is_given_up), None)

    def last(self) -> Load | None:
        """The latest load of this run, also one that was abandoned."""
        loads = self.ledger.loads_of(self.contract.topic, self.owner)
        return next((load for load in loads if load.state is not State.WITHDRAWN), None)

    def _fits(self, load: Load) -> bool:
        """Whether this deployment can continue a load: it stages alike, or staging is over."""
        alike = load.plan.shape == self.mapper.shape
        return alike or load.state.is_publishing or load.state is State.PUBLISHED

    def _same_contract(self, load: Load) -> bool:
        """Whether the contract's file is the one it was planned with, or no longer matters."""
        same = load.plan.contract in (None, self.contract.digest)
        return same or not load.live or load.state.is_publishing

    def check_shape(self, load: Load) -> None:
        """Refuse to continue a load of another deployment.

        Raises:
            ShapeChanged: what it has staged cannot be mixed with what this one would stage.
        """
        if not self._fits(load):
            raise ShapeChanged(
                "it was planned under another version of the contract; clear the run's plan task"
                " to plan it again",
                topic=load.topic,
                load_id=load.load_id,
            )

    def _reserve(self, request: Request) -> Plan | None:
        """Write a plan and keep it unless another live load overlaps it."""
        topic = self.contract.topic
        preview = self.survey.preview(request)
        ranges = preview.selection.ranges
        plan = Plan(
            load_id=_new_load_id(topic),
            topic=topic,
            chunks=chunk(ranges, self.settings.chunk_offsets),
            kind=preview.kind,
            revision=preview.revision,
            replaces=tuple(preview.replaces),
        )
        # The table comes first: whoever settles this load finds it, or finds it gone.
        staging = self.ledger.staging_table(plan.load_id)
        self.clickhouse.execute(self.mapper.create_staging(staging))
        record = PlanRecord(
            topic_id=preview.topic.id,
            shape=self.mapper.shape,
            contract=self.contract.digest,
            request=request,
            watermarks={p: (w.low, w.high) for p, w in preview.watermarks.items()},
            kind=plan.kind,
            replaces=plan.replaces,
            survey=preview.selection.left_alone,
            waiting=preview.waiting,
        )
        self.ledger.reserve(plan.load_id, topic, self.owner, plan.chunks, record, plan.revision)
        if not self._confirm(plan):
            return None
        log.info(
            "planned",
            load_id=plan.load_id,
            kind=plan.kind,
            offsets=plan.offsets,
            chunks=len(plan.chunks),
            ranges=[str(r) for r in ranges[:50]],
        )
        return plan

    def _confirm(self, plan: Plan) -> bool:
        """Compare a written plan with all others; it is kept, or withdrawn when one overlaps.

        Of two planners the one that wrote later sees the other, also when it was interrupted
        in between and compares again. A load may overlap published ones that it replaces: those of
        lower revisions, and when it replaces rows, those that it was planned to replace.
        """
        held = self.ledger.held_ranges(plan.topic, besides=plan.load_id)
        others = [h.range for h in held if self._conflicts(plan, h)]
        mine = [r for part in plan.chunks for r in part]
        if total(subtract(mine, others)) == plan.offsets:
            self.ledger.record(plan.load_id, plan.topic, State.RESERVED, self.owner)
            return True
        self.ledger.record(plan.load_id, plan.topic, State.WITHDRAWN, self.owner)
        self.clickhouse.execute(f"DROP TABLE IF EXISTS {self.ledger.staging_table(plan.load_id)}")
        return False

    def _conflicts(self, plan: Plan, other: HeldRange) -> bool:
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
            replaces=load.plan.replaces,
        )


LONGEST_PREFIX = 100
"""Characters of a topic in its loads' ids: ClickHouse limits the names of their tables."""


def _new_load_id(topic: str) -> str:
    safe = re.sub(r"\W", "_", topic, flags=re.A)[:LONGEST_PREFIX]
    return f"{safe}_{datetime.now(UTC):%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}"
