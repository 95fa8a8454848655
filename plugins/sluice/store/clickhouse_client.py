"""Opening clickhouse-connect's client: one function makes all, also the quality suite's."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sluice.errors import SettingsError
from sluice.settings import Connection
from sluice.store.engine_errors import from_driver


def open_client(
    connection: Connection, database: str = "", settings: Mapping[str, Any] | None = None
) -> Client:
    """clickhouse-connect's client for an Airflow connection.

    Args:
        connection: its ``extra`` is passed to clickhouse-connect; ``{"settings": {…}}`` are
            settings of every statement.
        database: by default the connection's schema.
        settings: more settings of every statement.

    Raises:
        SettingsError: clickhouse-connect does not accept an option in ``extra``.
        EngineError: the server cannot be reached or refuses the login.
    """
    extra = {name: _typed(value) for name, value in connection.extra.items()}
    given = extra.pop("settings", None) or {}
    if not isinstance(given, Mapping):
        raise SettingsError("ClickHouse connection: `settings` in extra must be a JSON object")
    options: dict[str, Any] = {"autogenerate_session_id": False, "tz_mode": "aware"} | extra
    try:
        return clickhouse_connect.get_client(
            host=connection.host or "127.0.0.1",
            port=connection.port,
            username=connection.login or "default",
            password=connection.password.get_secret_value(),
            database=database or connection.schema or "default",
            settings={**given, **(settings or {})},
            **options,
        )
    except (TypeError, ValueError) as error:
        raise SettingsError(f"ClickHouse connection: {connection.redact(str(error))}") from None
    except ClickHouseError as error:
        host, port = server_address(connection)
        raise from_driver(error, f"{host}:{port}") from None


def server_address(connection: Connection) -> tuple[str, int]:
    """Host and port of a connection, with the driver's own default ports."""
    extra = {name: _typed(value) for name, value in connection.extra.items()}
    secure = extra.get("secure") is True or extra.get("interface") == "https"
    return connection.host or "127.0.0.1", connection.port or (8443 if secure else 8123)


def _typed(value: Any) -> Any:
    """A value of ``extra``; in the URI form of a connection all of them are text."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.isascii() and value.isdigit():
        return int(value)
    if value.startswith("{"):
        return msgspec.json.decode(value)
    return value


def sqlalchemy_dialect() -> ModuleType:
    """The module of clickhouse-connect's SQLAlchemy dialect, imported only when needed."""
    from clickhouse_connect.cc_sqlalchemy import dialect

    return dialect


def dbapi_connection(client: Client) -> Any:
    """A DB-API connection over an open client, for SQLAlchemy."""
    from clickhouse_connect.dbapi.connection import Connection as DbapiConnection

    class OverClient(DbapiConnection):
        """The driver's own class would open a client from a URL's parts."""

        def __init__(self) -> None:
            self.client = client
            self.timezone = client.server_tz

    return OverClient()
