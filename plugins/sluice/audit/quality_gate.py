"""The quality gate: a Great Expectations suite made from the contract, run inside ClickHouse.

Only this module uses Great Expectations. Importing the library takes seconds and 300 MB, so it is
imported where it is used, in the task that audits. The suite runs on a view of the load's staged
rows as they will be published; only counts and a few failing rows leave the server.
"""

import logging
import os
import re
from html import escape
from typing import TYPE_CHECKING, Any

import nh3
import structlog
import tenacity

from sluice.audit.expectations import ROW_KEY, SENT_AT, ExpectationSpec, expectations_for
from sluice.audit.quality_results import EXAMPLES, FailingRow, RuleResult, SuiteOutcome
from sluice.contract import Contract
from sluice.contract.ddl import WORK_TABLE, ClickHouseSchemaMapper
from sluice.errors import QualityError
from sluice.settings import Connection
from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.clickhouse_client import dbapi_connection, open_client, sqlalchemy_dialect
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

log = structlog.get_logger()

TRIES = 3
"""How often a suite is run when an expectation raised; four times as often with replicas, where any
of them may still lack rows.
"""

_DOCUMENT_TAGS = nh3.ALLOWED_TAGS - {"a", "img", "map", "area"} | {"nav", "section", "button"}


class QualityGate:
    """Runs the suite of a contract over a load's staged rows."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, connection: Connection
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._connection = connection

    def run(self, load: Load, attempts: list[str], rows: int) -> SuiteOutcome:
        """Run every expectation of the contract over a load's staged rows.

        Args:
            attempts: the attempts whose rows count.
            rows: how many rows the accounting has counted.

        Raises:
            QualityError: the suite as a whole could not be run.
        """
        view = f"audit_{load.load_id}"
        name = f"{quote_identifier(self._ledger.database)}.{quote_identifier(view)}"
        # Every statement may be sent twice: a response may be lost.
        self._clickhouse.execute(
            f"CREATE OR REPLACE VIEW {name} AS {self._select(load, attempts, rows)}"
            f" COMMENT {quote_string(WORK_TABLE)}"
        )
        try:
            specs = expectations_for(self._contract, rows, load.loads_everything_new)
            return self._run_patiently(view, specs)
        except Exception as error:  # Great Expectations raises what its parts raise
            raise QualityError(
                f"the quality suite did not run: {self._connection.redact(str(error))}",
                topic=self._contract.topic,
                load_id=load.load_id,
            ) from None
        finally:
            self._clickhouse.execute(f"DROP VIEW IF EXISTS {name}")

    def _select(self, load: Load, attempts: list[str], rows: int) -> str:
        """The staged rows as they will be published."""
        columns = ClickHouseSchemaMapper.of(self._contract).columns
        selected = [f"{c.source} AS {quote_identifier(c.name)}" for c in columns]
        staged = self._ledger.staging.rows(load).complete(attempts, rows)
        listed = ", ".join([*selected, *ROW_KEY, SENT_AT])
        return f"SELECT {listed} {staged.of(attempts)}"

    def _run_patiently(self, view: str, specs: list[ExpectationSpec]) -> SuiteOutcome:
        """Run again when an expectation raised: a server that was away briefly fails no load, nor
        does a replica that lacks rows, or the view.

        The library reports that an expectation raised, not why; one that always does has failed.
        """
        has_replicas = self._clickhouse.has_replicas

        def again(state: tenacity.RetryCallState) -> None:
            log.warning("quality_runs_again", attempt=state.attempt_number)
            self._clickhouse.rows("SELECT 1 AS one")  # returns when the server is there

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda found: any(r.error for r in found.results))
            | tenacity.retry_if_exception(lambda _: has_replicas),
            stop=tenacity.stop_after_attempt(TRIES * (4 if has_replicas else 1)),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5),
            before_sleep=again,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        outcome: SuiteOutcome = retrying(self._run, view, specs)
        return outcome

    def _run(self, view: str, specs: list[ExpectationSpec]) -> SuiteOutcome:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        for name in ("great_expectations", "py.warnings"):
            logging.getLogger(name).setLevel(logging.WARNING)
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_sql(
            "clickhouse",
            # Of its own for each database, without a login; the creator makes the connections.
            connection_string=f"clickhousedb://sluice/{self._ledger.database}",
            kwargs={"creator": self._dbapi_connection},  # type: ignore[call-arg]
            create_temp_table=False,
        )
        # Great Expectations looks regular expressions up by the dialect's module.
        source.get_execution_engine().dialect_module = sqlalchemy_dialect()
        batch = source.add_table_asset(
            "staged", table_name=view, schema_name=self._ledger.database
        ).add_batch_definition_whole_table("load")
        suite = gx.ExpectationSuite(
            name=self._contract.topic, expectations=[_expectation(spec) for spec in specs]
        )
        definition = gx.ValidationDefinition(
            name=self._contract.topic, data=batch, suite=context.suites.add(suite)
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
        return SuiteOutcome(results, "" if raised else render_document(validated))

    def _dbapi_connection(self) -> Any:
        """The connection that SQLAlchemy uses: of our own client, so no URL has the password."""
        # `limit` caps what a failing expectation fetches; counts stay exact.
        client = open_client(self._connection, self._ledger.database, {"limit": 1000})
        return dbapi_connection(client)

    def _result(self, found: dict[str, Any]) -> RuleResult:
        """One result of the library as ours; an expectation that raised has failed."""
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
        partition, offset = ROW_KEY
        return RuleResult(
            expectation=config["type"],
            column=meta.get("column", ""),
            description=meta.get("description", ""),
            severity=config["severity"],
            success=bool(found["success"]),
            element_count=result.get("element_count") or 0,
            unexpected_count=count or 0,
            observed="" if observed is None else str(observed),
            error=self._without_secrets(error or "")[:2000],
            examples=[
                FailingRow(row[partition], row[offset])
                for row in rows[:EXAMPLES]
                if partition in row and offset in row
            ],
        )

    def _without_secrets(self, error: str) -> str:
        """What an expectation raised; for contracts with sensitive fields only its code."""
        if error and self._contract.sensitive:
            code = re.search(r"Code: \d+", error)
            return f"it could not be checked (ClickHouse {code[0]})" if code else "it raised"
        return self._connection.redact(error)


def _expectation(spec: ExpectationSpec) -> "Expectation":
    import great_expectations.expectations as gxe

    made: Expectation = getattr(gxe, spec.kind)(
        **spec.arguments,
        description=escape(spec.description),  # it goes into the document as HTML
        severity=spec.severity,
        meta={"column": spec.column, "description": spec.description},
    )
    return made


def render_document(validated: Any) -> str:
    """Great Expectations' own document of a validation (Data Docs), as plain HTML.

    The library's page loads styles and scripts from other addresses. Its sections are kept, without
    links, scripts and anything else that is not plain content; pages show them in their own frame.
    """
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    content = ValidationResultsPageRenderer(run_info_at_end=True).render(validated)
    page: str = DefaultJinjaPageView().render(content)  # type: ignore[no-untyped-call]
    _, start, rest = page.partition('<div id="section-1"')
    html = nh3.clean(
        start + rest.partition("<footer")[0],
        tags=_DOCUMENT_TAGS,
        attributes={"*": {"class", "id", "title"}},
        clean_content_tags={"script", "style"},
    )
    return re.sub(r"\n\s+", "\n", html)
