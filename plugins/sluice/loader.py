"""A load, step by step. Each step may be repeated; the table of docs/how-it-works.md in code.

    plan → drain (one a chunk) → audit → publish → report

The functions take what they need and know nothing of who calls them: Airflow's tasks and the
command line run the same ones.
"""

import uuid

import structlog

from sluice.audit.auditor import AuditStep
from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.drain.drain import Drain
from sluice.drain.quarantine_source import Replayed
from sluice.errors import BreakerTripped, BrokerError, EngineError, LoadLost, TopicRecreated
from sluice.kafka.broker import Broker
from sluice.kafka.schema_registry import registry_from_environment
from sluice.plan.planner import Plan, Planner
from sluice.plan.settle import IsOver, Settler
from sluice.plan.survey import Prospect
from sluice.publish.publisher import Publisher
from sluice.ranges import merge, total
from sluice.records import Progress
from sluice.report.lag import lag_of
from sluice.report.metrics import Emit, keep, values_of
from sluice.report.reporter import Report, Reporter
from sluice.settings import Connection, Settings, lineage_is_wanted
from sluice.store import ledger as states
from sluice.store.attempts import ChunkResult
from sluice.store.clickhouse import UNKNOWN_TABLE, ClickHouse, connect
from sluice.store.ledger import Ledger, Load
from sluice.store.migration import Migrator
from sluice.store.quarantine import Quarantine
from sluice.store.request import Request
from sluice.telemetry import span

log = structlog.get_logger()


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
        self._kafka_connection, self._clickhouse_connection = kafka, clickhouse
        self.broker = Broker(kafka, settings)
        self.clickhouse: ClickHouse = connect(clickhouse)
        self.registry = registry_from_environment(contract.subject)
        self.ledger = Ledger(self.clickhouse, settings.database)
        self.publisher = Publisher(contract, self.clickhouse, self.ledger, settings.cluster)
        self._mapper = ClickHouseSchemaMapper.of(contract, settings.cluster)
        self.migrator = Migrator(contract, self.clickhouse, settings.database, settings.cluster)
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
            MigrationError: the table differs in a way that must not be changed by itself.
        """
        self.ledger.create()
        for statement in self.create_statements():
            self.clickhouse.execute(statement)
        self.migrator.bring_up()

    def create_statements(self) -> list[str]:
        """The statements that make the target table."""
        return self._mapper.create_tables()

    def plan(self, request: Request = Request(), resume: bool = False, again: bool = False) -> Plan:
        """Bring the tables up to the contract, then pin and reserve the ranges of this run.

        Args:
            resume: go on with an unfinished load of the same request whose process is gone.
            again: plan anew when the run has a load of another request, or a published one.

        Raises:
            MigrationError: the target table does not fit the contract.
            PlanError, OffsetsExpired: see :meth:`Planner.plan`.
        """
        with span("plan", topic=self.contract.topic) as made:
            self.create_tables()
            planner = self.planner
            plan = planner.plan_again(request) if again else planner.plan(request, resume)
            made.set_attributes({"sluice.load_id": plan.load_id, "sluice.offsets": plan.offsets})
            return plan

    def survey(self, request: Request) -> Prospect:
        """What a plan would read now; creates the ledger, and changes nothing else.

        Raises:
            PlanError, OffsetsExpired, BrokerError: see :meth:`Surveyor.prospect`.
        """
        self.ledger.create()
        return self.planner.surveyor.prospect(request)

    def last(self) -> Load | None:
        """The last load of this run; see :meth:`Planner.last`."""
        return self.planner.last()

    def drain(
        self, load_id: str, number: int, progress: Progress = lambda offsets: None
    ) -> ChunkResult:
        """Read one chunk into the staging table, or say who has.

        Raises:
            LoadLost: the load was settled by another.
            ShapeChanged: another deployment planned it.
            BrokerError, EngineError, OffsetsExpired, AttemptFailed, BreakerTripped: see
                :class:`Drain`.
        """
        load = self.known(load_id)
        finished = self.ledger.winners(load_id)
        if number in finished:
            log.info("chunk_found", load_id=load_id, chunk=number)
            progress(total(self.ledger.chunks(load_id)[number]))
            return finished[number]
        if not load.live:
            raise LoadLost(f"load {load_id} is {load.state}; chunk {number} is not read")
        self.planner.check_shape(load)
        topic = self.broker.topic(load.topic)
        if topic.id != load.plan["topic_id"]:
            raise TopicRecreated(
                f"topic {topic.name!r} was recreated since load {load_id} was planned: its id was"
                f" {load.plan['topic_id']} and is {topic.id}; nothing of it is read"
            )
        replaying = load.kind == "replay"
        drain = Drain(
            self.contract,
            Replayed(Quarantine(self.clickhouse, self.ledger.database))
            if replaying
            else self.broker,
            self.clickhouse,
            self.ledger,
            self.settings,
            progress,
            self.registry,
            replaying,
        )
        ranges = self.ledger.chunks(load_id)[number]
        attempt = f"{number}-{uuid.uuid4().hex[:12]}"
        try:
            with span("drain", topic=load.topic, load_id=load_id, chunk=number):
                return drain.run(load_id, topic, number, ranges, attempt)
        except BreakerTripped as error:
            detail = {"error": str(error), "kind": type(error).__name__}
            self.ledger.record(load_id, load.topic, states.HELD, self.owner, detail)
            raise
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
        load = self.known(load_id)
        if load.state in (states.PUBLISHED, *states.UNDER_WAY):
            log.info("audit_found", load_id=load_id, state=load.state)
            return
        if not load.live:
            raise LoadLost(f"load {load_id} is {load.state}; there is nothing to audit")
        self.planner.check_shape(load)
        with span("audit", topic=load.topic, load_id=load_id):
            AuditStep(self.contract, self.clickhouse, self.ledger, self._clickhouse_connection).run(
                load, self.owner
            )

    def publish(self, load_id: str) -> None:
        """Make an audited load visible, then mirror its ends in the consumer group.

        Raises:
            LoadLost: the load was abandoned, or its audit has not passed.
            AccountingError: the target does not hold what was staged.
        """
        load = self.known(load_id)
        if load.live and load.state not in (states.AUDITED, *states.UNDER_WAY):
            raise LoadLost(f"load {load_id} is {load.state}; its audit has not passed")
        with span("publish", topic=load.topic, load_id=load_id):
            self.publisher.publish(load_id, self.owner)
            self.mirror()

    def mirror(self) -> None:
        """Commit, for each partition, the offset up to which everything is published."""
        topic = self.broker.topic(self.contract.topic)
        ends: dict[int, int] = {}
        for r in merge(t.range for t in self.ledger.taken(topic.name) if t.published):
            ends.setdefault(r.partition, r.high)
        if ends:
            self.broker.mirror(topic.name, self.group, ends)

    def write_report(self, load_id: str, waiting: int | None = None) -> Report:
        """Make and keep the report of a load as it stands; see :meth:`Reporter.make`."""
        self.known(load_id)
        reporter = Reporter(self.contract, self.clickhouse, self.ledger)
        report = reporter.make(load_id, waiting)
        reporter.keep(report)
        return report

    def report(self, load_id: str, emit: Emit = lambda values: None) -> Report:
        """Make and keep the report of a load, however far it came, and tell those who listen.

        Args:
            emit: is given the load's numbers, to send them elsewhere too.
        """
        lags, waiting = [], None
        try:
            lags = lag_of(self.contract.topic, self.broker, self.ledger)
            waiting = sum(lag.waiting for lag in lags)
        except BrokerError as error:  # the report must be made while the broker is away, too
            log.warning("lag_unknown", error=str(error))
        report = self.write_report(load_id, waiting)
        values = list(values_of(report, lags))
        keep(self.clickhouse, self.ledger.database, report, values)
        emit(values)
        if lineage_is_wanted():
            from sluice.report.openlineage import Lineage  # its library takes a while to import

            lineage = Lineage(self.contract, self._kafka_connection, self._clickhouse_connection)
            lineage.send(report, self.ledger.database)
        return report

    def foresee(self, request: Request) -> Report:
        """Keep a report of what a plan would read now, in place of a load.

        Raises:
            PlanError, OffsetsExpired, BrokerError: see :meth:`survey`.
        """
        reporter = Reporter(self.contract, self.clickhouse, self.ledger)
        report = reporter.foreseen(self.survey(request), request, self.owner)
        reporter.keep(report)
        return report

    def known(self, load_id: str) -> Load:
        """A load that the ledger has.

        Raises:
            LoadLost: it has none of this id.
        """
        load = self.ledger.load(load_id)
        if load is None:
            raise LoadLost(f"the ledger knows no load {load_id}")
        return load
