"""A client of ClickHouse: statements, inserts, errors and retries."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
import tenacity
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from sluice.errors import EngineError
from sluice.settings import Connection
from sluice.sql import quote_identifier
from sluice.store.clickhouse_client import open_client
from sluice.store.engine_errors import TRANSIENT, from_driver

log = structlog.get_logger()
T = TypeVar("T")

DUPLICATE_COLUMN = 15
TABLE_EXISTS = 57
UNKNOWN_TABLE = 60
UNKNOWN_DATABASE = 81

INPUT_SETTINGS = {
    "date_time_input_format": "best_effort",
    "input_format_null_as_default": 0,
    "input_format_parallel_parsing": 0,
    "precise_float_parsing": 1,
}
"""How ClickHouse parses staged JSON: ISO times, no silent defaults for nulls, exact floats."""


class ClickHouse:
    """A client of one server. Safe to share between threads.

    Args:
        client: clickhouse-connect's client, without a session.
        retry_seconds: how long transient errors are retried.
        sleep: waits between retries; a test may pass its own.
        hides_values: whether the errors of inserts leave out the server's text, which may repeat
            sensitive values of rows.
    """

    def __init__(
        self,
        client: Client,
        retry_seconds: float = 120,
        sleep: Callable[[float], None] = time.sleep,
        hides_values: bool = False,
    ) -> None:
        self.client, self._hides_values = client, hides_values
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
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

    def qualified(self, table: str) -> str:
        """The quoted name of a target table, with its database."""
        return f"{quote_identifier(self.database)}.{quote_identifier(table)}"

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
        self._retried(
            lambda: self.client.command(
                sql, parameters=dict(parameters or {}), settings=dict(settings or {})
            ),
            writes=sql.startswith("INSERT"),
        )

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """The rows of a query, each as column → value.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        result = self._retried(
            lambda: self.client.query(
                sql, parameters=dict(parameters or {}), settings=dict(settings or {})
            )
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

    def insert(self, table: str, rows: Sequence[Any], token: str) -> None:
        """Insert bookkeeping rows (dicts or Structs) into ``table`` (database.table).

        Repeatable: of several inserts with the same token only one takes effect.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        if rows:
            body = msgspec.json.Encoder().encode_lines(list(rows))
            self.insert_lines(table, None, body, "JSONEachRow", token)

    def insert_lines(
        self,
        table: str,
        columns: Sequence[str] | None,
        body: bytes,
        format_: str,
        token: str,
        leaves_out: bool = False,
    ) -> None:
        """Insert encoded rows as one block.

        Repeatable: of several inserts with the same token only one takes effect.

        Args:
            leaves_out: whether rows that cannot be parsed are left out, in place of an error.

        Raises:
            EngineError: carries ClickHouse's code.
        """
        settings = INPUT_SETTINGS | {
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            "async_insert": 0,
            "max_insert_block_size": 1_048_576,
            "min_insert_block_size_rows": 1_048_576,
            "min_insert_block_size_bytes": 1 << 30,
        }
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

    def _retried(self, call: Callable[[], T], writes: bool = False) -> T:
        """Repeat a call while it raises transient errors and time for retries remains."""

        def attempt() -> T:
            try:
                return call()
            except DatabaseError as error:
                raise from_driver(error, hides_values=writes and self._hides_values) from None

        result: T = self._retrying(attempt)
        return result


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, EngineError) and error.transient


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    code = error.code if isinstance(error, EngineError) else 0
    log.warning(
        "clickhouse_retry",
        code=code,
        error=TRANSIENT.get(code, "no connection"),
        attempt=state.attempt_number,
    )


def connect(
    connection: Connection, retry_seconds: float = 120, hides_values: bool = False
) -> ClickHouse:
    """A client for an Airflow connection.

    Args:
        retry_seconds, hides_values: see :class:`ClickHouse`.

    Raises:
        SettingsError, EngineError: see :func:`open_client`.
    """
    return ClickHouse(open_client(connection), retry_seconds, hides_values=hides_values)
