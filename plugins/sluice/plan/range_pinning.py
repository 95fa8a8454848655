"""Pinning the ranges of a load: reserved once, they never move, and no other load reads them."""

import uuid
from datetime import UTC, datetime

import msgspec
import structlog
import tenacity

from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import LoadLost, PlanError, ShapeChanged
from sluice.kafka.broker import Broker
from sluice.plan.survey import Survey
from sluice.plan.takeover import Settler
from sluice.ranges import OffsetRange, chunk, total
from sluice.settings import Settings
from sluice.sql import topic_in_name
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load, LoadKind, PlanRecord, State
from sluice.store.request import Request
from sluice.store.topic_state import Entry

log = structlog.get_logger()

RESERVATION_TRIES = 20
"""How often a planner that met another's reservation tries again."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a load will read.

    Attributes:
        load_id: empty if there is nothing to load, so that there is no load.
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
    """Plans loads of one contract for one run, by the state of the log that was read last.

    A reservation that does not follow the log as it is then is refused, and planned again.
    """

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

    def plan(self, request: Request = Request(), resume: bool = False, target: str = "") -> Plan:
        """Pin the ranges of this run's load and reserve them.

        The same run gets its recorded plan back, also after the topic has grown, unless its
        load was abandoned. Loads that other runs left unfinished are settled first.

        Args:
            resume: continue an unfinished load of the same request whose process is gone.
            target: see :class:`PlanRecord`.

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
            log.info("plan_found", load_id=load.load_id, state=load.state)
            return self._recorded(load)
        self.settler.settle(fresh=False)
        return self._plan_afresh(request, target)

    def is_up_to_date(self) -> bool:
        """Whether there is nothing for this run to do: no new offset, and no unfinished load.

        The first plan of a topic is always recorded, because it says where the partitions began.
        """
        state = self.ledger.state(self.contract.topic, fresh=False)
        if state.live or state.origins is None or self.current():
            return False
        selection = self.survey.preview(Request()).selection
        return not selection.ranges and not selection.left_alone

    def plan_again(self, request: Request, target: str = "") -> Plan:
        """Pin and reserve for a run whose earlier load, of another request, is obsolete.

        A load of the same request that is not published yet is continued.

        Raises:
            PlanError, OffsetsExpired: see :meth:`plan`.
        """
        load = self.current()
        if load and load.live:
            if load.plan.request == request:
                return self.plan(request, target=target)
            if load.state.is_publishing:
                self.settler.publisher.publish(load.load_id, self.owner)
            else:
                self.settler.abandon(load)
        self.settler.settle(fresh=False)
        return self._plan_afresh(request, target)

    def _plan_afresh(self, request: Request, target: str) -> Plan:
        """Reserve; if another load was reserved meanwhile, look again what is left."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda plan: plan is None),
            stop=tenacity.stop_after_attempt(RESERVATION_TRIES),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
        )
        try:
            plan = retrying(self._reserve, request, target)
        except tenacity.RetryError as error:
            raise PlanError(
                "other loads keep reserving the same offsets; try again later",
                topic=self.contract.topic,
            ) from error
        assert plan is not None
        return plan

    def _adopt(self, request: Request) -> Load | None:
        """An unfinished load of the same request whose owner is gone; this run owns it now."""
        for load in self.ledger.loads_of(self.contract.topic, live=True, fresh=False):
            same = load.plan.request == request and self._fits(load) and self._same_contract(load)
            resumable = load.state not in (State.HELD, State.TAKING_BACK)
            over = same and resumable and self.settler.is_over(load.owner)
            if over and self.settler.adopt(load):
                return load
        return None

    def current(self) -> Load | None:
        """The load of this run; None before it has planned, and after another settled it."""
        load = self.last()
        return load if load and load.state is not State.ABANDONED else None

    def last(self) -> Load | None:
        """The latest load of this run, also one that was abandoned."""
        return next(iter(self.ledger.loads_of(self.contract.topic, self.owner)), None)

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

    def _reserve(self, request: Request, target: str) -> Plan | None:
        """Reserve what a request would read now; None if another load was reserved meanwhile."""
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
            target=target,
        )
        reservation = Entry(
            load_id=plan.load_id,
            state=State.RESERVED,
            owner=self.owner,
            plan=record,
            chunks=tuple(map(tuple, plan.chunks)),
            revision=plan.revision,
        )
        self.ledger.staging.create(topic, self.mapper)
        try:
            self.ledger.log(topic).append(reservation, preview.seen)
        except LoadLost as error:
            log.info("plan_overtaken", reason=error.detail)
            load = self.current()  # another task of this run may have planned
            return self._recorded(load) if load and load.live else None
        log.info(
            "planned",
            load_id=plan.load_id,
            kind=plan.kind,
            offsets=plan.offsets,
            chunks=len(plan.chunks),
            ranges=[str(r) for r in ranges[:50]],
        )
        return plan

    def _recorded(self, load: Load) -> Plan:
        return Plan(
            load_id=load.load_id,
            topic=self.contract.topic,
            chunks=[list(part) for part in load.chunks],
            kind=load.kind,
            revision=load.revision,
            replaces=load.plan.replaces,
        )


def _new_load_id(topic: str) -> str:
    name = topic_in_name(topic)
    return f"{name}_{datetime.now(UTC):%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}"
