"""A client of ClickHouse: statements, inserts, errors and retries."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import structlog
import tenacity
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from sluice.errors import EngineError, ShortRead
from sluice.settings import Connection
from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse_client import open_client
from sluice.store.engine_errors import TRANSIENT, from_driver
from sluice.store.topology import PROBES, Server, refuse_unrelated, server_of, server_sql

log = structlog.get_logger()
T = TypeVar("T")

DUPLICATE_COLUMN = 15
NO_SUCH_COLUMN = 16
UNKNOWN_IDENTIFIER = 47
TABLE_EXISTS = 57
UNKNOWN_TABLE = 60
UNKNOWN_DATABASE = 81
CANNOT_GET_CREATE_TABLE_QUERY = 390
THROWN = 395

SHORT_READ = "sluice: short read"
"""What a statement throws that finds fewer rows than it needs; see :class:`ShortRead`."""

NOT_THERE_YET = {
    NO_SUCH_COLUMN,
    UNKNOWN_IDENTIFIER,
    UNKNOWN_TABLE,
    UNKNOWN_DATABASE,
    CANNOT_GET_CREATE_TABLE_QUERY,
}
"""What a replica reports that has not received a statement which another one has run."""

LAG_SECONDS = 60.0
"""How long a replica may lag behind before what it lacks counts as missing."""

TOKENS_KEPT_SECONDS = 30 * 86_400
"""How long replicated tables keep the tokens of inserts; the default depends on the release."""

INPUT_SETTINGS = {
    "date_time_input_format": "best_effort",
    "input_format_null_as_default": 0,
    "input_format_parallel_parsing": 0,
    "precise_float_parsing": 1,
}
"""How ClickHouse parses staged JSON: ISO times, no silent defaults for nulls, exact floats."""


def needs_rows(rows: int, source: str) -> str:
    """A condition with which a statement fails where a source has fewer rows than there are: a
    replica that lags behind cannot answer. See :class:`~sluice.errors.ShortRead`.

    Args:
        source: ``FROM … WHERE …``.
    """
    return f"(SELECT throwIf(count() < {rows}, {quote_string(SHORT_READ)}) {source}) = 0"


class NotThereYet(EngineError):
    """A replica lacks a table or column that another one may have."""


ALSO_IN_VIEWS = {"deduplicate_blocks_in_dependent_materialized_views": 1}
"""A repeated insert also completes what materialized views have not received of it."""

QUORUM = {"insert_quorum": "auto", "insert_quorum_timeout": 60_000}
"""An insert completes when most replicas have it."""


class ClickHouse:
    """A client of one server, or of replicas behind one address. Safe to share between threads.

    Args:
        client: clickhouse-connect's client, without a session.
        retry_seconds: how long transient errors are retried.
        sleep: waits between retries; a test may pass its own.
        hides_values: whether the errors of inserts leave out the server's text, which may repeat
            sensitive values of rows.
        lag_seconds: how long a read is repeated when it lacks rows, if there are replicas.
    """

    def __init__(
        self,
        client: Client,
        retry_seconds: float = 120,
        sleep: Callable[[float], None] = time.sleep,
        hides_values: bool = False,
        lag_seconds: float = LAG_SECONDS,
    ) -> None:
        self.client, self._hides_values = client, hides_values
        self._lag_seconds, self._sleep = lag_seconds, sleep
        self._retrying = tenacity.Retrying(
            retry=self._is_worth_repeating,
            stop=tenacity.stop_before_delay(retry_seconds),
            wait=tenacity.wait_exponential(multiplier=0.2, max=10) + tenacity.wait_random(0, 0.2),
            sleep=sleep,
            before_sleep=_log_retry,
            reraise=True,
        )

    @property
    def database(self) -> str:
        """The database of the target tables."""
        return self.client.database or "default"

    @cached_property
    def has_replicas(self) -> bool:
        """Whether statements go to any of several servers, which receive rows with a delay."""
        return self.server.has_replicas

    @cached_property
    def server(self) -> Server:
        """The server that has responded first."""
        return self._responding_server()

    def _responding_server(self) -> Server:
        sql = f"SELECT {server_sql(self.database)}"
        rows = self._retried(lambda: list(self.client.query(sql).named_results()))
        return server_of(rows[0])

    def refuse_unrelated_servers(self) -> None:
        """See whether the same server responds to each of several connections, or a replica of it.

        Raises:
            SettingsError: names servers that do not replicate each other.
        """
        found = []
        for _ in range(PROBES):
            self.client.close_connections()
            found.append(self._responding_server())
        refuse_unrelated(found, self.database, getattr(self.client, "url", "one address"))

    def until(self, read: Callable[[], T], is_complete: Callable[[T], bool]) -> T:
        """Read until the result is complete, or replicas have had the time to receive what it
        lacks; the last result. On a single server it is read once.
        """
        found = read()
        if is_complete(found) or not self.has_replicas:
            return found
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda again: not is_complete(again)),
            stop=tenacity.stop_after_delay(self._lag_seconds),
            wait=tenacity.wait_exponential(multiplier=0.02, max=2),
            sleep=self._sleep,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        result: T = retrying(read)
        return result

    def qualified(self, table: str) -> str:
        """The quoted name of a target table, with its database."""
        return f"{quote_identifier(self.database)}.{quote_identifier(table)}"

    def create(self, sql: str) -> None:
        """Run a statement that creates something; tables get the engine that replicates them, and
        keep the tokens of inserts as replicas do.

        ClickHouse Cloud chooses the engine itself; a Replicated database replicates definitions
        only.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        if self.server.engine == "Replicated":
            sql = re.sub(r"\bENGINE = (?=\w*MergeTree)(?!Replicated)", "ENGINE = Replicated", sql)
        if self.has_replicas:
            window = rf"\1, replicated_deduplication_window_seconds = {TOKENS_KEPT_SECONDS}"
            sql = re.sub(r"\bnon_(replicated_deduplication_window = \d+)", window, sql)
        self.execute(sql)

    def execute(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a statement that returns no rows and may be repeated.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        writes = sql.startswith("INSERT")
        self._retried(
            lambda: self.client.command(
                sql, parameters=dict(parameters or {}), settings=self._consistent(settings, writes)
            ),
            writes=writes,
        )

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        waits: bool = True,
    ) -> list[dict[str, Any]]:
        """The rows of a query, each as column → value.

        Args:
            waits: whether a table that is missing may be on its way to a replica.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        result = self._retried(
            lambda: self.client.query(
                sql, parameters=dict(parameters or {}), settings=self._consistent(settings)
            ),
            waits=waits,
        )
        return list(result.named_results())

    def has_table(self, database: str, table: str) -> bool:
        """Whether a table or view exists."""
        tables = self.rows(
            "SELECT 1 AS one FROM system.tables"
            " WHERE database = {db:String} AND name = {table:String}",
            {"db": database, "table": table},
        )
        return bool(tables)

    def _consistent(
        self, settings: Mapping[str, Any] | None, writes: bool = False
    ) -> dict[str, Any]:
        """Settings of a statement; behind replicas it sees all rows of completed inserts, where
        the engine can promise that.
        """
        ours: dict[str, Any] = {}
        if self.has_replicas:
            ours = {"select_sequential_consistency": 1}
        if self.has_replicas and writes:
            ours |= QUORUM | {"insert_quorum_parallel": 0}
        return ours | dict(settings or {})

    def insert(self, table: str, rows: Sequence[Any], token: str, serial: bool = False) -> None:
        """Insert bookkeeping rows (dicts or Structs) into ``table`` (database.table).

        Repeatable: of several inserts with the same token only one takes effect, also in the
        materialized views of the table.

        Args:
            serial: see :meth:`insert_lines`.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        if rows:
            body = msgspec.json.Encoder().encode_lines(list(rows))
            self.insert_lines(table, None, body, "JSONEachRow", token, serial=serial)

    def insert_lines(
        self,
        table: str,
        columns: Sequence[str] | None,
        body: bytes,
        format_: str,
        token: str,
        leaves_out: bool = False,
        serial: bool = False,
    ) -> None:
        """Insert encoded rows as one block.

        Repeatable: of several inserts with the same token only one takes effect.

        Args:
            leaves_out: whether rows that cannot be parsed are left out, in place of an error.
            serial: whether, on replicas, inserts into the table take turns, so that a read that
                asks for all completed inserts gets them.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        settings = INPUT_SETTINGS | {
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            **ALSO_IN_VIEWS,
            "async_insert": 0,
            "max_insert_block_size": 1_048_576,
            "min_insert_block_size_rows": 1_048_576,
            "min_insert_block_size_bytes": 1 << 30,
        }
        if self.has_replicas:
            settings |= QUORUM | {"insert_quorum_parallel": int(not serial)}
        if leaves_out:
            settings |= {
                "input_format_allow_errors_num": body.count(b"\n"),
                "input_format_allow_errors_ratio": 1,
            }
        self._retried(
            lambda: self.client.raw_insert(
                table, list(columns) if columns else None, body, settings, format_
            ),
            writes=True,
        )

    def _is_worth_repeating(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, EngineError):
            return False
        if isinstance(error, NotThereYet | ShortRead):
            return (state.seconds_since_start or 0) < self._lag_seconds
        return error.transient

    def _retried(self, call: Callable[[], T], writes: bool = False, waits: bool = True) -> T:
        """Repeat a call while it raises transient errors and time for retries remains."""

        def attempt() -> T:
            try:
                return call()
            except DatabaseError as error:
                found = from_driver(error, hides_values=writes and self._hides_values)
                # Other errors may repeat the statement, and with it the text that it throws.
                if found.code == THROWN and SHORT_READ in str(error):
                    raise ShortRead(
                        THROWN, "the staged rows are not all there", found.name
                    ) from None
                if waits and found.code in NOT_THERE_YET and self.has_replicas:
                    raise NotThereYet(found.code, found.detail, found.name, found.field) from None
                raise found from None

        result: T = self._retrying(attempt)
        return result


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, EngineError)
    code = error.code
    log.warning(
        "clickhouse_retry",
        code=code,
        error=TRANSIENT.get(code) or (error.name if code else "no connection"),
        attempt=state.attempt_number,
    )


def connect(
    connection: Connection, retry_seconds: float = 120, hides_values: bool = False
) -> ClickHouse:
    """A client for an Airflow connection.

    A server that does not respond yet is waited for: an idle service of ClickHouse Cloud takes a
    minute to wake up. An address where nothing listens is an error at once.

    Args:
        retry_seconds, hides_values: see :class:`ClickHouse`.

    Raises:
        SettingsError, EngineError: see :func:`open_client`.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_wake_up),
        stop=tenacity.stop_before_delay(retry_seconds),
        wait=tenacity.wait_exponential(multiplier=0.5, max=5),
        before_sleep=_log_retry,
        reraise=True,
    )
    client = retrying(open_client, connection)
    return ClickHouse(client, retry_seconds, hides_values=hides_values)


def _may_wake_up(error: BaseException) -> bool:
    if not isinstance(error, EngineError) or not error.transient:
        return False
    nothing_there = ("refused", "resolve", "Name or service not known", "No route to host")
    return not any(text in error.detail for text in nothing_there)
