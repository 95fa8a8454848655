"""What the rules of a load's audit found: kept by load, told in the log, and judged."""

import uuid
from typing import Any

import msgspec
import structlog

from sluice.errors import QualityHeld
from sluice.sql import quoted
from sluice.store.clickhouse import ClickHouse

log = structlog.get_logger()

EXAMPLES = 20
"""Failing rows kept of each expectation."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one expectation found."""

    expectation: str
    column: str
    description: str
    severity: str
    success: bool
    element_count: int
    unexpected_count: int
    observed: str
    error: str
    examples: list[dict[str, Any]]


class QualityResults:
    """The table of results."""

    def __init__(self, clickhouse: ClickHouse, database: str) -> None:
        self._clickhouse, self._db = clickhouse, quoted(database)

    def keep(self, load_id: str, topic: str, results: list[Result], document: str) -> None:
        """Record one audit of a load; the last one counts."""
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

    def of(self, load_id: str) -> list[dict[str, Any]]:
        """The results of a load's last audit, what failed first."""
        table = f"{self._db}.quality_results"
        return self._clickhouse.rows(
            "SELECT q.expectation AS expectation, q.description AS description,"
            " q.column AS column, q.severity AS severity, q.success AS success,"
            " q.unexpected_count AS unexpected_count, q.observed AS observed, q.error AS error,"
            " q.examples AS examples"
            f" FROM {table} AS q WHERE load_id = {{load:String}} AND q.audit ="
            f" (SELECT argMax(audit, at) FROM {table} WHERE load_id = {{load:String}})"
            " ORDER BY q.success, q.severity, q.description",
            {"load": load_id},
        )

    def document(self, load_id: str, topic: str) -> str:
        """The data document of a load's last audit; empty when there is none."""
        rows = self._clickhouse.rows(
            f"SELECT d.document AS document FROM {self._db}.data_docs AS d"
            " WHERE topic = {topic:String} AND load_id = {load:String} ORDER BY d.at DESC LIMIT 1",
            {"load": load_id, "topic": topic},
        )
        return str(rows[0]["document"]) if rows else ""


def judge(load_id: str, results: list[Result]) -> None:
    """Tell what failed.

    Raises:
        QualityHeld: a critical rule failed, or could not be checked.
    """
    for result in results:
        if not result.success:
            log.warning(
                "quality_failed",
                severity=result.severity,
                rule=result.description,
                rows=result.unexpected_count,
                examples=result.examples[:3],
                error=result.error or None,
            )
    log.info("quality", checks=len(results), failed=sum(not r.success for r in results))
    if held := [r for r in results if not r.success and r.severity == "critical"]:
        failed = (f"{r.description} ({r.error or r.unexpected_count})" for r in held[:5])
        raise QualityHeld(
            f"load {load_id}: {len(held)} critical quality rules failed, nothing is"
            f" published: {'; '.join(failed)}"
        )
