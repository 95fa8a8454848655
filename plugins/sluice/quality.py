"""The quality gate: a Great Expectations suite made from the contract, run inside ClickHouse.

The one module that knows Great Expectations. Importing that takes seconds and 300 MB, so it is
imported where it is used, in the task that audits. The suite runs on a view of the load's
staged rows as they will be published; only counts and a few failing rows leave the server.
"""

import logging
import os
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import msgspec
import structlog

from sluice.checks import ROW_KEY, Check, suite
from sluice.clickhouse import ClickHouse
from sluice.contract import Contract
from sluice.ddl import ClickHouseSchemaMapper
from sluice.errors import QualityError, QualityHeld
from sluice.ledger import Ledger
from sluice.quoting import literal, quoted
from sluice.settings import Connection

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

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


RUNS_AGAIN = 2
"""How often a suite is run again in which a check raised."""


class Gate:
    """Runs the suite of a contract over a load's staged rows, and keeps the results."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, connection: Connection
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._connection = connection

    def audit(self, load_id: str, attempts: list[str], rows: int) -> list[Result]:
        """Run every check and record what it found; replaces an earlier audit's results.

        Raises:
            QualityHeld: a critical check failed, or could not be run.
            QualityError: the suite as a whole could not be run.
        """
        view = f"audit_{load_id}"
        name = f"{quoted(self._ledger.database)}.{quoted(view)}"
        # Every statement may be sent twice: an answer may be lost.
        self._clickhouse.execute(
            f"CREATE OR REPLACE VIEW {name} AS {self._select(load_id, attempts)}"
        )
        try:
            results = self._run_patiently(view, suite(self._contract, rows))
        except Exception as error:  # Great Expectations raises what its parts raise
            secret = self._connection.password.get_secret_value()
            text = str(error).replace(secret, "***") if secret else str(error)
            raise QualityError(f"load {load_id}: the quality suite did not run: {text}") from None
        finally:
            self._clickhouse.execute(f"DROP VIEW IF EXISTS {name}")
        self._keep(load_id, results)
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
        log.info(
            "quality", checks=len(results), failed=sum(not result.success for result in results)
        )
        if held := [r for r in results if not r.success and r.severity == "critical"]:
            failed = (f"{r.description} ({r.error or r.unexpected_count})" for r in held[:5])
            raise QualityHeld(
                f"load {load_id}: {len(held)} critical quality rules failed, nothing is"
                f" published: {'; '.join(failed)}"
            )
        return results

    def _select(self, load_id: str, attempts: list[str]) -> str:
        """The staged rows as they will be published."""
        columns = ClickHouseSchemaMapper.of(self._contract).columns
        shown = [f"{column.source} AS {quoted(column.name)}" for column in columns]
        among = ", ".join(map(literal, attempts))
        return (
            f"SELECT {', '.join([*shown, *ROW_KEY])} FROM {self._ledger.staging_table(load_id)}"
            f" WHERE _attempt IN ({among})"
        )

    def _run_patiently(self, view: str, checks: list[Check]) -> list[Result]:
        """Run again when a check raised: a server that was away for a moment fails no load.

        The library tells that a check raised, not why; one that always does counts as failed.
        """
        results = self._run(view, checks)
        for _ in range(RUNS_AGAIN):
            if not any(result.error for result in results):
                break
            log.warning("quality_runs_again", raised=sum(bool(r.error) for r in results))
            self._clickhouse.rows("SELECT 1 AS one")  # returns when the server is there
            results = self._run(view, checks)
        return results

    def _run(self, view: str, checks: list[Check]) -> list[Result]:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        for name in ("great_expectations", "py.warnings"):
            logging.getLogger(name).setLevel(logging.WARNING)
        import great_expectations as gx
        from clickhouse_connect.cc_sqlalchemy import dialect
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_sql(
            "clickhouse", connection_string=self._url(), create_temp_table=False
        )
        # Great Expectations looks regular expressions up by the dialect's module.
        source.get_execution_engine().dialect_module = dialect
        batch = source.add_table_asset(
            "staged", table_name=view, schema_name=self._ledger.database
        ).add_batch_definition_whole_table("load")
        expectations = gx.ExpectationSuite(
            name=self._contract.topic, expectations=[_expectation(check) for check in checks]
        )
        definition = gx.ValidationDefinition(
            name=self._contract.topic, data=batch, suite=context.suites.add(expectations)
        )
        validated = context.validation_definitions.add(definition).run(
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": list(ROW_KEY),
                "partial_unexpected_count": EXAMPLES,
                "return_unexpected_index_query": False,
            }
        )
        found: dict[str, Any] = validated.to_json_dict()  # type: ignore[no-untyped-call]
        return [_result(result) for result in found["results"]]

    def _url(self) -> str:
        connection = self._connection
        login = quote_plus(connection.login or "default")
        password = quote_plus(connection.password.get_secret_value())
        # `limit` caps what a failing check pulls; counts stay exact.
        query = urlencode(connection.extra | {"limit": 1000})
        return (
            f"clickhousedb://{login}:{password}@{connection.host}:{connection.port or 8123}"
            f"/{self._ledger.database}?{query}"
        )

    def _keep(self, load_id: str, results: list[Result]) -> None:
        audit = uuid.uuid4().hex
        rows = [
            {"load_id": load_id, "topic": self._contract.topic, "audit": audit}
            | msgspec.structs.asdict(result)
            | {"examples": msgspec.json.encode(result.examples).decode()}
            for result in results
        ]
        table = f"{quoted(self._ledger.database)}.quality_results"
        self._clickhouse.insert(table, rows, f"{load_id}/{audit}/quality")


def _expectation(check: Check) -> "Expectation":
    import great_expectations.expectations as gxe

    made: Expectation = getattr(gxe, check.kind)(
        **check.arguments,
        description=check.description,
        severity=check.severity,
        meta={"column": check.column},
    )
    return made


def _result(found: dict[str, Any]) -> Result:
    """One result in our words; an expectation that raised has failed."""
    config, result = found["expectation_config"], found["result"]
    raised = found.get("exception_info") or {}
    error = raised.get("exception_message") or next(
        (e["exception_message"] for e in raised.values() if isinstance(e, dict)), ""
    )
    rows = (
        result.get("unexpected_index_list")
        or (result.get("details") or {}).get("unexpected_rows")
        or []
    )
    observed = result.get("observed_value")
    count = result.get("unexpected_count")
    if count is None and config["type"] == "unexpected_rows_expectation" and not error:
        count = int(observed or 0)
    return Result(
        expectation=config["type"],
        column=(config.get("meta") or {}).get("column", ""),
        description=config.get("description") or "",
        severity=config["severity"],
        success=bool(found["success"]),
        element_count=result.get("element_count") or 0,
        unexpected_count=count or 0,
        observed="" if observed is None else str(observed),
        error=(error or "")[:2000],
        examples=[{k: row[k] for k in ROW_KEY if k in row} for row in rows[:EXAMPLES]],
    )
