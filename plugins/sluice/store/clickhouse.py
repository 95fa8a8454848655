"""A client of ClickHouse: statements, inserts, errors and retries."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

import clickhouse_connect
import msgspec
import structlog
import tenacity
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from sluice.errors import EngineError, SettingsError
from sluice.settings import Connection
from sluice.sql import quote_identifier

log = structlog.get_logger()
T = TypeVar("T")

TRANSIENT = {
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    252: "TOO_MANY_PARTS",
    285: "TOO_FEW_LIVE_REPLICAS",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    999: "KEEPER_EXCEPTION",
}
"""Transient errors, which are retried. Every insert has a token, so repeating it is harmless."""

REFUSED_DATA = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    376: "CANNOT_PARSE_UUID",
    407: "DECIMAL_OVERFLOW",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
"""Errors that a row causes. The batch is then bisected until the row is found."""

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
    """

    def __init__(
        self,
        client: Client,
        retry_seconds: float = 120,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
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
            )
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
        self, table: str, columns: Sequence[str] | None, body: bytes, format_: str, token: str
    ) -> None:
        """Insert encoded rows as one block.

        Repeatable: of several inserts with the same token only one takes effect.

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
        self._retried(
            lambda: self.client.raw_insert(
                table, list(columns) if columns else None, body, settings, format_
            )
        )

    def _retried(self, call: Callable[[], T]) -> T:
        """Repeat a call while it raises transient errors and time for retries remains."""

        def attempt() -> T:
            try:
                return call()
            except DatabaseError as error:
                raise _as_engine_error(error) from error

        result: T = self._retrying(attempt)
        return result


def _is_transient(error: BaseException) -> bool:
    if not isinstance(error, EngineError):
        return False
    return error.code in TRANSIENT or isinstance(error.__cause__, OperationalError)


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    code = error.code if isinstance(error, EngineError) else 0
    log.warning(
        "clickhouse_retry",
        code=code,
        error=TRANSIENT.get(code, "no connection"),
        attempt=state.attempt_number,
    )


def connect(connection: Connection, retry_seconds: float = 120) -> ClickHouse:
    """A client for an Airflow connection; its ``extra`` is passed to clickhouse-connect unchanged.

    Raises:
        SettingsError: clickhouse-connect does not accept an option in ``extra``.
        EngineError: the server cannot be reached or refuses the login.
    """
    options: dict[str, Any] = {
        "autogenerate_session_id": False,
        "tz_mode": "aware",
    } | connection.extra
    try:
        client = clickhouse_connect.get_client(
            host=connection.host or "127.0.0.1",
            port=connection.port,
            username=connection.login or "default",
            password=connection.password.get_secret_value(),
            database=connection.schema or "default",
            **options,
        )
    except TypeError as error:
        raise SettingsError(f"ClickHouse connection: {error}") from None
    except ClickHouseError as error:
        raise _as_engine_error(error, f"{connection.host}:{connection.port}") from error
    return ClickHouse(client, retry_seconds)


def _as_engine_error(error: ClickHouseError, server: str = "") -> EngineError:
    code = int(getattr(error, "code", None) or 0)
    text = str(error)
    if "DB::Exception: " in text:
        text = text.split("DB::Exception: ", 1)[1]
    return EngineError(code, f"{server}: {text.strip()}" if server else text.strip())


def sqlalchemy_dialect() -> ModuleType:
    """The module of clickhouse-connect's SQLAlchemy dialect, imported only when needed."""
    from clickhouse_connect.cc_sqlalchemy import dialect

    return dialect
