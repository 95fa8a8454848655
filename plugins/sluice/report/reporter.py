"""Making the report of a load from what ledger, quarantine and audit have recorded; storing it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from sluice.audit.accounting import Accounting
from sluice.audit.quality_results import QualityResults
from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.plan.reservations import Reservation, find_reservations
from sluice.plan.survey import PlanPreview
from sluice.ranges import merge
from sluice.report.advice import advise
from sluice.report.html import render
from sluice.report.model import DRY_RUN, Report, StepTiming
from sluice.sql import quote_identifier
from sluice.store.attempts import ChunkResult
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Event, EventDetail, State
from sluice.store.request import Request, describe_request


class Reporter:
    """Makes and stores the reports of one contract's loads."""

    def __init__(self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger

    def build(self, load_id: str, waiting: int | None = None) -> Report:
        """The report of a load as it stands; reads only.

        Args:
            waiting: offsets that no load accounts for now, if that was measured.

        Raises:
            LoadLost: the ledger has no such load.
        """
        ledger = self._ledger
        load = ledger.known(self._contract.topic, load_id, fresh=False)
        events = ledger.events(load.topic, load_id)
        accepted = list(ledger.attempts.accepted(load.topic, load_id).values())
        attempts = [result.attempt for result in accepted]
        audited = _last_detail(events, State.AUDITED)
        errors = [event.detail.error for event in events if event.detail.error]
        ranges = merge(load.ranges)
        report = Report(
            load_id=load_id,
            topic=load.topic,
            table=self._table,
            owner=load.owner,
            state=load.state,
            error=errors[-1] if errors and load.state is not State.PUBLISHED else "",
            planned_at=load.planned_at,
            ended_at=load.last_at,
            ranges=ranges,
            accounts=ledger.attempts.accounts(load.topic, load_id),
            versions=audited.versions,
            filled=self._filled(audited.versions),
            reasons=self._accounting.reasons(load_id, attempts),
            quality=QualityResults(self._clickhouse, ledger.database).results_of(
                load.topic, load_id
            ),
            steps=_timings(events, accepted, sum(r.count for r in ranges)),
            expired=self._expired(load_id, attempts),
            kind=load.kind,
            asked=describe_request(load.plan.request),
            survey={name: count for name, count in load.plan.survey.items() if count},
            changes=_last_detail(events, State.REPLACING).changes,
            refused_by_target=next(
                (e.detail.error for e in events if e.state is State.PUBLISHING and e.detail.error),
                "",
            ),
            outside=audited.outside,
            unusable_timestamps=ledger.attempts.unusable_timestamps(load.topic, load_id, attempts),
            decision=next((d for e in reversed(events) if (d := e.detail.decision)), ""),
            bytes=sum(result.bytes for result in accepted),
            cpu_seconds=sum(result.cpu_seconds for result in accepted),
            nulls=audited.nulls,
            waiting_before=load.plan.waiting,
            waiting_after=waiting,
            reservations=find_reservations(ledger, load.topic, load)
            if load.plan.survey.get("elsewhere")
            else [],
            published_by=next(
                (e.owner for e in events if e.state is State.PUBLISHED and e.owner != load.owner),
                "",
            ),
        )
        return msgspec.structs.replace(report, advice=advise(report, ledger.database))

    def build_dry_run(self, preview: PlanPreview, request: Request, owner: str) -> Report:
        """The report of a dry run: what a load would read."""
        now = datetime.now(UTC)
        reservations: list[Reservation] = []
        if preview.selection.elsewhere:
            reservations = find_reservations(self._ledger, self._contract.topic)
        return Report(
            load_id=f"dry-run/{owner}",
            topic=self._contract.topic,
            table=self._table,
            owner=owner,
            state=DRY_RUN,
            error="",
            planned_at=now,
            ended_at=now,
            ranges=preview.selection.ranges,
            advice=[
                "Nothing was read or loaded: this was a dry run.",
                *map(str, reservations),
            ],
            kind=DRY_RUN,
            asked=describe_request(request),
            survey=preview.selection.left_alone,
            reservations=reservations,
        )

    def save(self, report: Report) -> None:
        """Store the report; repeating it leaves no second row."""
        text = msgspec.json.encode(report).decode()
        row = {
            "load_id": report.load_id,
            "topic": report.topic,
            "owner": report.owner,
            "report": text,
        }
        table = f"{quote_identifier(self._ledger.database)}.reports"
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._clickhouse.insert(table, [row], f"{report.load_id}/report/{digest}")

    @property
    def _table(self) -> str:
        return f"{self._clickhouse.database}.{self._contract.table.name}"

    @property
    def _accounting(self) -> Accounting:
        return Accounting(self._contract, self._clickhouse, self._ledger)

    def _filled(self, versions: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Version → field that an upgrade fills → messages."""
        decoder = Decoder(self._contract)
        return {
            version: dict.fromkeys(fields, count)
            for version, count in versions.items()
            if (fields := decoder.filled(version))
        }

    def _expired(self, load_id: str, attempts: list[str]) -> int:
        rows = self._clickhouse.rows(
            "SELECT sum(high - low) AS n"
            f" FROM {quote_identifier(self._ledger.database)}.load_skips"
            " WHERE topic = {topic:String} AND load_id = {load:String} AND kind = 'expired'"
            " AND attempt IN {attempts:Array(String)}",
            {"topic": self._contract.topic, "load": load_id, "attempts": attempts},
        )
        return int(rows[0]["n"])


def find_report(
    clickhouse: ClickHouse, database: str, topic: str, load_id: str = "", owner: str = ""
) -> Report | None:
    """The last report of a load, or of the loads of an owner.

    Args:
        topic: empty for any topic, which takes longer.
    """
    rows = clickhouse.rows(
        f"SELECT report FROM {quote_identifier(database)}.reports"
        " WHERE (topic = {topic:String} OR {topic:String} = '')"
        " AND (load_id = {load:String} OR {load:String} = '')"
        " AND (owner = {owner:String} OR {owner:String} = '') ORDER BY at DESC LIMIT 1",
        {"topic": topic, "load": load_id, "owner": owner},
    )
    return msgspec.json.decode(rows[0]["report"], type=Report) if rows else None


def render_report(report: Report, docs: str = "") -> str:
    """The report as one HTML page. Every value is escaped; nothing is loaded from elsewhere.

    Args:
        docs: address of the quality suite's own document, to link to.
    """
    return render("report.html", report=report, docs=docs)


def _last_detail(events: Sequence[Event], state: State) -> EventDetail:
    return next((e.detail for e in reversed(events) if e.state is state), EventDetail())


def _timings(
    events: Sequence[Event], accepted: Sequence[ChunkResult], offsets: int
) -> list[StepTiming]:
    at = {event.state: event.at for event in events}
    seconds = {"drain": sum(result.seconds for result in accepted)} if accepted else {}
    if State.PUBLISHING in at and State.PUBLISHED in at:
        took = at[State.PUBLISHED] - at[State.PUBLISHING]
        seconds["publish"] = took.total_seconds()
    seconds["from plan to end"] = (events[-1].at - events[0].at).total_seconds()
    return [
        StepTiming(name=name, seconds=took, rows_per_second=round(offsets / took) if took else 0)
        for name, took in seconds.items()
    ]
