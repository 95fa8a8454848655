"""The results of a load's quality rules: stored by load, logged, and judged."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from sluice.contract import Severity
from sluice.errors import QualityHeld
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse

log = structlog.get_logger()

LISTED = 5
"""Failed rules that the reason of a held load lists."""

EXAMPLES = 20
"""Failing rows kept of each rule."""

ANOMALY = "anomaly"
"""The ``expectation`` of results that compare a load with those before it."""


class FailingRow(msgspec.Struct, frozen=True):
    """Where a row that breaks a rule came from."""

    partition: int = msgspec.field(name="_partition")
    offset: int = msgspec.field(name="_offset")


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one quality rule found.

    Attributes:
        expectation: type of the Great Expectations expectation, or ``anomaly``.
        column: the column that it is about; empty for a rule about whole rows.
        description: what holds for good rows.
        unexpected_count: rows that break it.
        observed: the value that was found, in words; empty when there is none.
        error: why it could not be checked; empty when it was.
        examples: some of the rows that break it.
    """

    expectation: str
    column: str
    description: str
    severity: Severity
    success: bool
    unexpected_count: int = 0
    observed: str = ""
    error: str = ""
    element_count: int = 0
    examples: list[FailingRow] = msgspec.field(default_factory=list, name="failing_rows")

    @property
    def is_anomaly(self) -> bool:
        """Whether it reports that the load is unlike those before it."""
        return self.expectation == ANOMALY and not self.success

    @property
    def is_unchecked(self) -> bool:
        """Whether it is critical and could not be checked, so nothing is known of the rows."""
        return self.severity == "critical" and bool(self.error)

    @property
    def finding(self) -> str:
        """What was found, in a few words, with the first failing row."""
        if self.error:
            return f"could not be checked: {self.error}"
        if not self.examples:
            return f"{self.unexpected_count:,} rows" if self.unexpected_count else self.observed
        first = self.examples[0]
        where = f"e.g. partition {first.partition}, offset {first.offset}"
        return f"{self.unexpected_count:,} rows, {where}"


class SuiteOutcome(NamedTuple):
    """What a suite found, and Great Expectations' own document about it as HTML."""

    results: list[RuleResult]
    document: str


class QualityResults:
    """The tables of results and documents."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quote_identifier(database)

    def save(self, load_id: str, topic: str, results: Sequence[RuleResult], document: str) -> None:
        """Store one audit of a load; the last one counts."""
        audit = uuid.uuid4().hex
        common = {"load_id": load_id, "topic": topic, "audit": audit}
        rows = [
            common
            | msgspec.structs.asdict(result)
            | {"examples": msgspec.json.encode(result.examples).decode()}
            for result in results
        ]
        if rows:
            table = f"{self._db}.quality_results"
            self._clickhouse.insert(table, rows, f"{load_id}/{audit}/quality")
        if document:
            row = common | {"document": document}
            self._clickhouse.insert(f"{self._db}.data_docs", [row], f"{load_id}/{audit}/docs")

    def results_of(self, topic: str, load_id: str) -> list[RuleResult]:
        """The results of a load's last audit, failures first."""
        table = f"{self._db}.quality_results"
        rows = self._clickhouse.rows(
            "SELECT q.expectation AS expectation, q.description AS description,"
            " q.column AS column, q.severity AS severity, q.success AS success,"
            " q.unexpected_count AS unexpected_count, q.observed AS observed, q.error AS error,"
            " q.examples AS examples"
            f" FROM {table} AS q WHERE topic = {{topic:String}} AND load_id = {{load:String}}"
            f" AND q.audit = (SELECT argMax(audit, at) FROM {table}"
            "  WHERE topic = {topic:String} AND load_id = {load:String})"
            " ORDER BY q.success, q.severity, q.description",
            {"topic": topic, "load": load_id},
        )
        return [
            RuleResult(
                **row | {"examples": msgspec.json.decode(row["examples"], type=list[FailingRow])}
            )
            for row in rows
        ]

    def document(self, load_id: str, topic: str) -> str:
        """The data document of a load's last audit; empty when there is none."""
        rows = self._clickhouse.rows(
            f"SELECT d.document AS document FROM {self._db}.data_docs AS d"
            " WHERE topic = {topic:String} AND load_id = {load:String} ORDER BY d.at DESC LIMIT 1",
            {"load": load_id, "topic": topic},
        )
        return str(rows[0]["document"]) if rows else ""


def judge(load_id: str, results: Sequence[RuleResult]) -> QualityHeld | None:
    """Log what failed; returns why the load is held, or None when no critical rule failed."""
    failed = [result for result in results if not result.success]
    for result in failed:
        log.warning(
            "quality_failed",
            severity=result.severity,
            rule=result.description,
            rows=result.unexpected_count,
            examples=msgspec.to_builtins(result.examples[:3]),
            error=result.error or None,
        )
    log.info("quality", rules=len(results), failed=len(failed))
    held = [result for result in failed if result.severity == "critical"]
    if not held:
        return None
    rules = "; ".join(f"{r.description} ({r.finding})" for r in held[:LISTED])
    more = f"; and {len(held) - LISTED} more" if len(held) > LISTED else ""
    return QualityHeld(
        f"{len(held)} critical quality rules failed, nothing is published: {rules}{more}",
        load_id=load_id,
    )
