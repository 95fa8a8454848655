"""The quality gate: a Great Expectations suite made from the contract, run inside ClickHouse.

The one module that knows Great Expectations. Importing that takes seconds and 300 MB, so it is
imported where it is used, in the task that audits. The suite runs on a view of the load's
staged rows as they will be published; only counts and a few failing rows leave the server.
"""

import logging
import os
import re
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus, urlencode

import structlog

from sluice.audit.data_docs import document_of
from sluice.audit.expectations import ROW_KEY, SENT_AT, Check, suite
from sluice.audit.quality_results import EXAMPLES, Result
from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import QualityError
from sluice.settings import Connection
from sluice.sql import literal, quoted
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

log = structlog.get_logger()


RUNS_AGAIN = 2
"""How often a suite is run again in which a check raised."""


class Outcome(NamedTuple):
    """What a suite found, and the library's own document about it (HTML, see `data_docs`)."""

    results: list[Result]
    document: str


class Gate:
    """Runs the suite of a contract over a load's staged rows."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, connection: Connection
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._connection = connection

    def run(self, load_id: str, attempts: list[str], rows: int, new: bool = False) -> Outcome:
        """Run every check of the contract over a load's staged rows.

        Args:
            attempts: the attempts whose rows count.
            rows: how many rows the accounting says there are.
            new: whether the load takes everything new.

        Raises:
            QualityError: the suite as a whole could not be run.
        """
        view = f"audit_{load_id}"
        name = f"{quoted(self._ledger.database)}.{quoted(view)}"
        # Every statement may be sent twice: an answer may be lost.
        self._clickhouse.execute(
            f"CREATE OR REPLACE VIEW {name} AS {self._select(load_id, attempts)}"
        )
        try:
            return self._run_patiently(view, suite(self._contract, rows, new))
        except Exception as error:  # Great Expectations raises what its parts raise
            secret = self._connection.password.get_secret_value()
            text = str(error).replace(secret, "***") if secret else str(error)
            raise QualityError(f"load {load_id}: the quality suite did not run: {text}") from None
        finally:
            self._clickhouse.execute(f"DROP VIEW IF EXISTS {name}")

    def _select(self, load_id: str, attempts: list[str]) -> str:
        """The staged rows as they will be published."""
        columns = ClickHouseSchemaMapper.of(self._contract).columns
        shown = [f"{column.source} AS {quoted(column.name)}" for column in columns]
        among = ", ".join(map(literal, attempts))
        staged = self._ledger.staging_table(load_id)
        named = ", ".join([*shown, *ROW_KEY, SENT_AT])
        return f"SELECT {named} FROM {staged} WHERE _attempt IN ({among})"

    def _run_patiently(self, view: str, checks: list[Check]) -> Outcome:
        """Run again when a check raised: a server that was away for a moment fails no load.

        The library tells that a check raised, not why; one that always does counts as failed.
        """
        outcome = self._run(view, checks)
        for _ in range(RUNS_AGAIN):
            raised = sum(bool(result.error) for result in outcome.results)
            if not raised:
                break
            log.warning("quality_runs_again", raised=raised)
            self._clickhouse.rows("SELECT 1 AS one")  # returns when the server is there
            outcome = self._run(view, checks)
        return outcome

    def _run(self, view: str, checks: list[Check]) -> Outcome:
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
        results = [self._result(result) for result in found["results"]]
        # What raised repeats values, and the library does not escape it.
        raised = any(result.error for result in results)
        return Outcome(results, "" if raised else document_of(validated))

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

    def _result(self, found: dict[str, Any]) -> Result:
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
        observed, meta = result.get("observed_value"), config.get("meta") or {}
        count = result.get("unexpected_count")
        if count is None and config["type"] == "unexpected_rows_expectation" and not error:
            count = int(observed or 0)
        return Result(
            expectation=config["type"],
            column=meta.get("column", ""),
            description=meta.get("description", ""),
            severity=config["severity"],
            success=bool(found["success"]),
            element_count=result.get("element_count") or 0,
            unexpected_count=count or 0,
            observed="" if observed is None else str(observed),
            error=self._said(error or "")[:2000],
            examples=[{k: row[k] for k in ROW_KEY if k in row} for row in rows[:EXAMPLES]],
        )

    def _said(self, error: str) -> str:
        """What a check raised, without secrets; and of sensitive contracts without its words."""
        if error and self._contract.sensitive:
            code = re.search(r"Code: \d+", error)
            return f"it could not be checked (ClickHouse {code[0]})" if code else "it raised"
        secret = self._connection.password.get_secret_value()
        return error.replace(secret, "***") if secret else error


def _expectation(check: Check) -> "Expectation":
    import great_expectations.expectations as gxe

    made: Expectation = getattr(gxe, check.kind)(
        **check.arguments,
        description=escape(check.description),  # it goes into the document as HTML
        severity=check.severity,
        meta={"column": check.column, "description": check.description},
    )
    return made
