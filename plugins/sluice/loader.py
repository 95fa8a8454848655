"""A load, step by step. Each step may be repeated; docs/how-it-works.md has the table.

    plan → drain (once per chunk) → audit → publish → report

A loader does not depend on its caller: Airflow's tasks and the command line run the same steps.
"""

import uuid

import structlog

from sluice.audit.auditor import Auditor
from sluice.audit.quality_gate import QualityGate
from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.decode.factory import build_decoder
from sluice.drain.drain import Drain
from sluice.drain.quarantine_source import QuarantineSource
from sluice.errors import (
    BreakerTripped,
    BrokerError,
    LoadLost,
    TopicRecreated,
)
from sluice.kafka.broker import Broker
from sluice.kafka.schema_registry import registry_from_environment
from sluice.plan.range_pinning import Plan, Planner
from sluice.plan.survey import PlanPreview
from sluice.plan.takeover import IsOver, Settler
from sluice.publish.publisher import Publisher
from sluice.ranges import total
from sluice.records import Progress, Source, Topic
from sluice.report.lag import Lag, measure_lag, total_waiting
from sluice.report.metrics import Emit, metric_values, save_metrics
from sluice.report.model import Report
from sluice.report.reporter import Reporter
from sluice.settings import Connection, Settings, lineage_is_wanted
from sluice.store.attempts import ChunkResult
from sluice.store.clickhouse import ClickHouse, connect
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load, State
from sluice.store.migration import Migration
from sluice.store.quarantine import Quarantine
from sluice.store.request import Request
from sluice.telemetry import span

log = structlog.get_logger()

READY = (State.AUDITED, State.PUBLISHING, State.REPLACING)
"""States of a load that may be published."""

STOPPED = (State.HELD, State.FAILED)
"""States of a live load whose run may be over."""


class Loader:
    """The steps of loads of one contract, over open connections.

    Args:
        contract: what is loaded.
        kafka: Airflow connection of the Kafka cluster.
        clickhouse: Airflow connection of ClickHouse.
        owner: names the run: the same run planning again gets the same plan.
        is_over: whether another owner's run is over.
        quality_rules: whether the audit runs the contract's quality rules.
    """

    def __init__(
        self,
        contract: Contract,
        kafka: Connection,
        clickhouse: Connection,
        settings: Settings,
        owner: str,
        is_over: IsOver = lambda owner: None,
        quality_rules: bool = True,
    ) -> None:
        self.contract, self.settings, self.owner = contract, settings, owner
        self.kafka_connection, self.clickhouse_connection = kafka, clickhouse
        self.broker = Broker(kafka, settings)
        self.clickhouse: ClickHouse = connect(
            clickhouse, settings.clickhouse_retry_seconds, hides_values=bool(contract.sensitive)
        )
        self.registry = registry_from_environment(contract.subject)
        self.ledger = Ledger(self.clickhouse, settings.database)
        self.publisher = Publisher(contract, self.clickhouse, self.ledger, settings.cluster)
        self.migration = Migration(contract, self.clickhouse, settings.database, settings.cluster)
        self.reporter = Reporter(contract, self.clickhouse, self.ledger)
        self._mapper = ClickHouseSchemaMapper.of(contract, settings.cluster)
        gate = QualityGate(contract, self.clickhouse, self.ledger, clickhouse)
        self.auditor = Auditor(
            contract,
            self.clickhouse,
            self.ledger,
            gate if quality_rules else None,
            settings.cluster,
        )
        self.settler = Settler(
            contract.topic,
            self.clickhouse,
            self.ledger,
            self.publisher,
            owner,
            is_over,
            settings.lease_minutes,
            settings.hold_hours,
        )
        self.planner = Planner(
            contract, self.broker, self.clickhouse, self.ledger, settings, self.settler
        )

    @property
    def group(self) -> str:
        """The consumer group that mirrors what is published."""
        return self.settings.consumer_group.replace("{topic}", self.contract.topic)

    def create_tables(self) -> None:
        """Create the ledger and the target table, or bring the table up to its contract.

        Raises:
            MigrationError: the table differs in a way that must not be changed automatically.
            TableMissing: the ledger has published rows of the table, and it does not exist.
        """
        self.ledger.create()
        self._bring_up_target()

    def _bring_up_target(self) -> str:
        """Create the target table, or bring it up to its contract, unless the last plan has found
        that it matches; :meth:`Migration.digest` of what is there then.
        """
        digest = self.migration.digest()
        if digest and digest == self.ledger.state(self.contract.topic, fresh=False).target:
            return digest
        self.refuse_missing_table()
        for statement in self.create_statements():
            self.clickhouse.create(statement)
        self.migration.apply_required()
        return self.migration.digest()

    def refuse_missing_table(self) -> None:
        """Refuse to continue without the table that published loads have filled.

        Raises:
            TableMissing: states what to do.
        """
        if self.migration.exists():
            return
        published = self.ledger.published_rows(self.contract.topic)
        if published and not self.clickhouse.until(self.migration.exists, bool):
            self.migration.refuse_missing(published)

    def create_statements(self) -> list[str]:
        """The statements that create the target table."""
        return self._mapper.create_tables()

    def plan(self, request: Request = Request(), resume: bool = False, again: bool = False) -> Plan:
        """Bring the tables up to the contract, then pin and reserve the ranges of this run.

        If there is nothing to load, and no load is unfinished, nothing is written, and the plan
        has no load.

        Args:
            resume: continue an unfinished load of the same request whose process is gone.
            again: plan afresh when the run has a load of another request, or a published one.

        Raises:
            MigrationError: the target table does not fit the contract.
            PlanError, OffsetsExpired: see :meth:`Planner.plan`.
        """
        with span("plan", topic=self.contract.topic) as current:
            self.ledger.create()
            self.ledger.state(self.contract.topic)
            if request == Request() and not again and self.planner.is_up_to_date():
                self.refuse_missing_table()
                log.info("nothing_new", topic=self.contract.topic)
                return Plan(load_id="", topic=self.contract.topic, chunks=[])
            target, planner = self._bring_up_target(), self.planner
            if again:
                plan = planner.plan_again(request, target)
            else:
                plan = planner.plan(request, resume, target)
            current.set_attributes({"sluice.load_id": plan.load_id, "sluice.offsets": plan.offsets})
            return plan

    def preview(self, request: Request) -> PlanPreview:
        """What a plan would read now; creates the ledger, and changes nothing else.

        Raises:
            PlanError, OffsetsExpired, BrokerError: see :meth:`Survey.preview`.
            TableMissing: see :meth:`refuse_missing_table`.
        """
        self.ledger.create()
        self.ledger.state(self.contract.topic)
        self.refuse_missing_table()
        return self.planner.survey.preview(request)

    def last(self) -> Load | None:
        """The last load of this run; see :meth:`Planner.last`."""
        return self.planner.last()

    def drain(
        self, load_id: str, number: int, progress: Progress = lambda offsets: None
    ) -> ChunkResult:
        """Read one chunk into the staging table; a chunk that is finished is not read again.

        Raises:
            LoadLost: the load was ended by another run.
            ShapeChanged: another deployment planned it.
            BrokerError, EngineError, OffsetsExpired, AttemptFailed, BreakerTripped: see
                :class:`Drain`.
        """
        load = self.known(load_id)
        ranges = load.chunks[number]
        if result := self.ledger.attempts.accepted(load.topic, load_id).get(number):
            log.info("chunk_found", load_id=load_id, chunk=number)
            progress(total(ranges))
            return result
        topic = self._check_drainable(load)
        drain = Drain(
            self.contract,
            self._source(load),
            self.clickhouse,
            self.ledger,
            self.settings,
            build_decoder(self.contract, self.registry),
            progress,
            replaying=load.kind == "replay",
        )
        attempt = f"{number}-{uuid.uuid4().hex[:12]}"
        try:
            with span("drain", topic=load.topic, load_id=load_id, chunk=number):
                return drain.run(load, topic, number, ranges, attempt)
        except BreakerTripped as error:
            detail = EventDetail.of_error(error)
            self.ledger.record(load_id, load.topic, State.HELD, self.owner, detail)
            raise

    def _check_drainable(self, load: Load) -> Topic:
        """Refuse to read for a load that has ended, or whose topic is another one now."""
        if not load.live:
            raise LoadLost(f"the load is {load.state}; nothing is read", load_id=load.load_id)
        self.planner.check_shape(load)
        topic = self.broker.topic(load.topic)
        if topic.id != load.plan.topic_id:
            raise TopicRecreated(
                f"it was recreated since the load was planned: its id was {load.plan.topic_id} and"
                f" is {topic.id}; nothing of it is read",
                topic=topic.name,
                load_id=load.load_id,
            )
        return topic

    def _source(self, load: Load) -> Source:
        if load.kind == "replay":
            return QuarantineSource(Quarantine(self.clickhouse, self.ledger.database))
        return self.broker

    def audit(self, load_id: str) -> None:
        """Check the accounting identity, the breaker and the quality rules.

        Raises:
            AccountingError, BreakerTripped, QualityHeld: nothing will be published.
            LoadLost: the load was ended by another run.
        """
        load = self.known(load_id)
        if load.state.is_publishing or load.state is State.PUBLISHED:
            log.info("audit_found", load_id=load_id, state=load.state)
            return
        if not load.live:
            raise LoadLost(f"the load is {load.state}; there is nothing to audit", load_id=load_id)
        self.planner.check_shape(load)
        with span("audit", topic=load.topic, load_id=load_id):
            self.auditor.run(load, self.owner)

    def publish(self, load_id: str) -> None:
        """Make an audited load visible, then mirror its ends in the consumer group.

        Raises:
            LoadLost: the load was abandoned, or its audit has not passed.
            AccountingError: the target does not hold what was staged.
        """
        # Another process has audited it, which a replica may not know yet.
        load = self.clickhouse.until(
            lambda: self.known(load_id),
            lambda found: not found.live or found.state in READY,
        )
        if load.live and load.state not in READY:
            raise LoadLost(f"the load is {load.state}; its audit has not passed", load_id=load_id)
        with span("publish", topic=load.topic, load_id=load_id):
            self.publisher.publish(load_id, self.owner)
            self.mirror()

    def mirror(self) -> None:
        """Commit, for each partition, the end of what is published without a gap.

        It starts at the low watermark. Tools that show lag read it, and no load does: if it cannot
        be committed, a warning is logged.
        """
        try:
            topic = self.broker.topic(self.contract.topic)
            lows = {p: marks.low for p, marks in self.broker.watermarks(topic).items()}
            ends = {
                r.partition: r.high
                for r in self.ledger.state(topic.name, fresh=False).loaded
                if r.low <= lows.get(r.partition, -1) <= r.high
            }
            if ends:
                self.broker.mirror(topic.name, self.group, ends)
        except BrokerError as error:
            log.warning("offsets_not_mirrored", group=self.group, error=str(error))

    def write_report(self, load_id: str, waiting: int | None = None) -> Report:
        """Make and store the report of a load as it stands; see :meth:`Reporter.build`."""
        report = self.reporter.build(load_id, waiting)
        self.reporter.save(report)
        return report

    def report(self, load_id: str, emit: Emit = lambda values: None) -> Report:
        """Make and store the report of a load, however far it came, and send its metrics.

        Args:
            emit: receives the load's metrics, to send them elsewhere too.
        """
        self.clickhouse.until(
            lambda: self.known(load_id), lambda found: not found.live or found.state in STOPPED
        )
        lags = self._lags()
        report = self.write_report(load_id, None if lags is None else total_waiting(lags))
        quarantine = Quarantine(self.clickhouse, self.ledger.database)
        values = list(metric_values(report, lags or [], quarantine.count_open(report.topic)))
        save_metrics(self.clickhouse, self.ledger.database, report, values)
        emit(values)
        if lineage_is_wanted():
            from sluice.report.openlineage import Lineage  # its library takes long to import

            lineage = Lineage(self.contract, self.kafka_connection, self.clickhouse_connection)
            lineage.send(report, self.ledger.database)
        return report

    def _lags(self) -> list[Lag] | None:
        """The topic's lag; None while the broker is away: a report is made all the same."""
        try:
            return measure_lag(self.contract.topic, self.broker, self.ledger)
        except BrokerError as error:
            log.warning("lag_unknown", error=str(error))
            return None

    def report_dry_run(self, request: Request) -> Report:
        """Store a report of what a plan would read now, in place of a load.

        Raises:
            PlanError, OffsetsExpired, BrokerError: see :meth:`preview`.
        """
        report = self.reporter.build_dry_run(self.preview(request), request, self.owner)
        self.reporter.save(report)
        return report

    def known(self, load_id: str) -> Load:
        """The load of an id.

        Raises:
            LoadLost: the ledger has none.
        """
        return self.ledger.known(self.contract.topic, load_id)
