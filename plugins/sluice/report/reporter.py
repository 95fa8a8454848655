"""What a run tells afterwards: one report, as data and as a page without outside parts."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from sluice.audit.accounting import Auditor, Reasons
from sluice.audit.quality_results import QualityResults
from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.plan.survey import Prospect
from sluice.ranges import OffsetRange, merge
from sluice.report.advice import advice_on
from sluice.report.html import render
from sluice.sql import quoted
from sluice.store.attempts import Account
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import AUDITED, PUBLISHED, REPLACING, Ledger
from sluice.store.request import Request, words

DRY_RUN = "dry run"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """How long a part of the load took, and how fast it was."""

    name: str
    seconds: float
    rows_per_second: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of one load.

    Attributes:
        state: the ledger's state; ``published`` is the good end.
        error: why the load stopped; empty when it did not.
        advice: what to do next, a sentence each.
        expired: offsets that retention had removed before they were read; part of the absent.
        filled: fields filled by an upgrade, as version → field → messages.
        kind: ``load``, ``replace`` or ``replay``; or ``dry run``, which has no load.
        asked: what was asked for, in words.
        survey: for a part of the topic, the offsets that were left alone; see :class:`Survey`.
        changes: what a replacing load has changed: rows ``compared``, ``changed``, by ``columns``.
        outside: rows with timestamps outside of the range of time that was asked for.
        bytes: of the values that were read.
        cpu_seconds: of reading and validating them.
        nulls: null values by column, of the columns that may have any.
        waiting_before: offsets that no load accounted for when it was planned; None when nobody
            looked.
        waiting_after: the same when the report was made.
        decision: who has released or discarded the load, and why; empty when nobody had to.
    """

    load_id: str
    topic: str
    table: str
    owner: str
    state: str
    error: str
    planned_at: datetime
    ended_at: datetime
    ranges: list[OffsetRange]
    accounts: list[Account]
    versions: dict[str, int]
    filled: dict[str, dict[str, int]]
    reasons: list[Reasons]
    quality: list[dict[str, Any]]
    steps: list[Step]
    advice: list[str]
    expired: int = 0
    kind: str = "load"
    asked: str = ""
    survey: dict[str, int] = {}
    changes: dict[str, Any] = {}
    outside: int = 0
    decision: str = ""
    bytes: int = 0
    cpu_seconds: float = 0.0
    nulls: dict[str, int] = {}
    waiting_before: int | None = None
    waiting_after: int | None = None

    def sum(self, term: str) -> int:
        """A term of the law over all partitions."""
        return sum(getattr(account, term) for account in self.accounts)


class Reporter:
    """Makes, keeps and finds reports."""

    def __init__(self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger

    def make(self, load_id: str, waiting: int | None = None) -> Report:
        """The report of a load as it stands; reads only.

        Args:
            waiting: offsets that no load accounts for now, if anybody has looked.
        """
        contract, ledger = self._contract, self._ledger
        load = ledger.load(load_id)
        assert load is not None, f"the ledger knows no load {load_id}"
        events = ledger.events(load_id)
        winners = ledger.winners(load_id)
        audited = [e["detail"] for e in events if e["state"] == AUDITED]
        versions: dict[str, int] = audited[-1].get("versions", {}) if audited else {}
        errors = [e["detail"].get("error", "") for e in events if e["detail"].get("error")]
        decoder = Decoder(contract)
        filled = {
            version: dict.fromkeys(decoder.filled(version), count)
            for version, count in versions.items()
            if decoder.filled(version)
        }
        attempts = [result.attempt for result in winners.values()]
        reasons = Auditor(contract, self._clickhouse, ledger).reasons(load_id, attempts)
        report = Report(
            load_id=load_id,
            topic=load.topic,
            table=f"{self._clickhouse.database}.{contract.table.name}",
            owner=load.owner,
            state=load.state,
            error="" if load.state == PUBLISHED else (errors[-1] if errors else ""),
            planned_at=load.planned_at,
            ended_at=load.last_at,
            ranges=merge(r for part in ledger.chunks(load_id).values() for r in part),
            accounts=ledger.accounts(load_id),
            versions=versions,
            waiting_before=load.plan.get("waiting"),
            waiting_after=waiting,
            nulls=audited[-1].get("nulls", {}) if audited else {},
            filled=filled,
            reasons=reasons,
            quality=QualityResults(self._clickhouse, ledger.database).of(load_id),
            steps=self._steps(events, load_id),
            advice=[],
            expired=self._expired(load_id, attempts),
            kind=load.kind,
            asked=words(Request.recorded(load.plan)),
            survey={n: count for n, count in load.plan.get("survey", {}).items() if count},
            changes=next((e["detail"]["changes"] for e in events if e["state"] == REPLACING), {}),
            decision=_decision(events),
            bytes=sum(result.bytes for result in winners.values()),
            cpu_seconds=sum(result.cpu_seconds for result in winners.values()),
            outside=audited[-1].get("outside", 0) if audited else 0,
        )
        return msgspec.structs.replace(report, advice=advice_on(report, ledger.database))

    def foreseen(self, prospect: Prospect, request: Request, owner: str) -> Report:
        """The report of a dry run: what a load would read."""
        now = datetime.now(UTC)
        return Report(
            load_id=f"dry-run/{owner}",
            topic=self._contract.topic,
            table=f"{self._clickhouse.database}.{self._contract.table.name}",
            owner=owner,
            state=DRY_RUN,
            error="",
            planned_at=now,
            ended_at=now,
            ranges=prospect.survey.ranges,
            accounts=[],
            versions={},
            filled={},
            reasons=[],
            quality=[],
            steps=[],
            advice=["Nothing was read or loaded: this was a dry run."],
            kind=DRY_RUN,
            asked=words(request),
            survey=prospect.survey.left_alone,
        )

    def keep(self, report: Report) -> None:
        """Store the report; repeating it leaves no second row."""
        text = msgspec.json.encode(report).decode()
        row = {
            "load_id": report.load_id,
            "topic": report.topic,
            "owner": report.owner,
            "report": text,
        }
        table = f"{quoted(self._ledger.database)}.reports"
        self._clickhouse.insert(table, [row], f"{report.load_id}/report/{_digest(text)}")

    def _expired(self, load_id: str, attempts: list[str]) -> int:
        rows = self._clickhouse.rows(
            f"SELECT sum(high - low) AS n FROM {quoted(self._ledger.database)}.load_skips"
            " WHERE load_id = {load:String} AND kind = 'expired'"
            " AND attempt IN {attempts:Array(String)}",
            {"load": load_id, "attempts": attempts},
        )
        return int(rows[0]["n"])

    def _steps(self, events: list[dict[str, Any]], load_id: str) -> list[Step]:
        winners = list(self._ledger.winners(load_id).values())
        at = {e["state"]: e["at"] for e in events}
        rows = sum(r.count for part in self._ledger.chunks(load_id).values() for r in part)
        steps = []
        if winners:
            seconds = sum(result.seconds for result in winners)
            steps.append(Step(name="drain", seconds=seconds, rows_per_second=_rate(rows, seconds)))
        if "publishing" in at and PUBLISHED in at:
            seconds = (at[PUBLISHED] - at["publishing"]).total_seconds()
            steps.append(
                Step(name="publish", seconds=seconds, rows_per_second=_rate(rows, seconds))
            )
        whole = (events[-1]["at"] - events[0]["at"]).total_seconds()
        steps.append(
            Step(name="from plan to end", seconds=whole, rows_per_second=_rate(rows, whole))
        )
        return steps


def find(
    clickhouse: ClickHouse, database: str, load_id: str = "", owner: str = ""
) -> Report | None:
    """The last report of a load, or of the loads of an owner."""
    rows = clickhouse.rows(
        f"SELECT report FROM {quoted(database)}.reports"
        " WHERE (load_id = {load:String} OR {load:String} = '')"
        " AND (owner = {owner:String} OR {owner:String} = '') ORDER BY at DESC LIMIT 1",
        {"load": load_id, "owner": owner},
    )
    return msgspec.json.decode(rows[0]["report"], type=Report) if rows else None


def page(report: Report, docs: str = "") -> str:
    """The report as one HTML page. Every value is escaped; nothing is loaded from elsewhere.

    Args:
        docs: address of the quality suite's own document, to link to.
    """
    return render("report.html", report=report, docs=docs)


def _decision(events: list[dict[str, Any]]) -> str:
    """Who has decided about a held load, and why."""
    for event in reversed(events):
        for did in ("released", "discarded"):
            if who := event["detail"].get(f"{did}_by"):
                return f"{did} by {who}: {event['detail']['why']}"
    return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _rate(rows: int, seconds: float) -> int:
    return round(rows / seconds) if seconds > 0 else 0
