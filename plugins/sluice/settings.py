"""Settings and connections from the environment.

Connections have Airflow's own format, so that one definition serves both the DAGs and the command
line. Outside Airflow they are read from the environment, as Airflow itself would read them::

    AIRFLOW_CONN_KAFKA_DEFAULT='{"conn_type": "kafka", "extra": {
        "bootstrap.servers": "broker:9093", "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p"}}'
    AIRFLOW_CONN_CLICKHOUSE_DEFAULT='{"conn_type": "clickhouse", "host": "ch", "port": 8443,
        "login": "loader", "password": "p", "schema": "shop", "extra": {"secure": true}}'

``extra`` is passed on unchanged, to librdkafka or to clickhouse-connect.
"""

import html
import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

import msgspec
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from sluice.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENV_FILES: tuple[str, ...] = (".local/stack.env", ".env")
"""Files of settings: the local stack's, then the user's own. A later one takes precedence, and the
environment takes precedence over both."""


class Settings(BaseSettings):
    """Sluice's own settings: environment variables with the prefix ``SLUICE_``, or ``.env``.

    Raises:
        SettingsError: a value cannot be used; names the variable.

    Attributes:
        contracts: importable package whose modules define the contracts.
        kafka_conn_id: Airflow connection of the Kafka cluster.
        clickhouse_conn_id: Airflow connection of ClickHouse; its schema is the database of
            the target tables.
        database: database of the ledger, the quarantine and the staging tables.
        cluster: ClickHouse cluster of the target tables; empty for a single server. With a
            cluster, the connection must name one node, which holds ledger and staging tables.
        chunk_offsets: approximate number of offsets that one drain task reads.
        batch_rows: maximum number of rows in a micro-batch.
        batch_bytes: maximum size of a micro-batch in bytes of JSON; a larger row is a batch of
            its own.
        lease_minutes: a load without activity for this time may be taken over or abandoned, if
            its owner's state cannot be determined.
        hold_hours: how long a held load waits for a person to release or discard it. Its offsets
            stay reserved; other loads continue.
        keep_days: how long reports, quality results and data documents are kept.
        stall_seconds: how long a drain waits for the next message that must exist.
        broker_seconds: how long to wait for a response of the Kafka broker.
        clickhouse_retry_seconds: how long transient errors of ClickHouse are retried.
        max_message_bytes: maximum size of a message; a larger one is quarantined as ``too_large``.
        scan_offsets: maximum number of unread offsets that a plan searches for the messages of a
            time range; messages out of order beyond it are not found.
        pool: Airflow pool of the tasks that drain and publish; empty for Airflow's default pool.
        consumer_group: consumer group to which published offsets are mirrored; ``{topic}`` is
            replaced.
    """

    model_config = SettingsConfigDict(env_prefix="SLUICE_", env_file=ENV_FILES, extra="ignore")

    contracts: str = Field("include.schemas", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
    kafka_conn_id: str = Field("kafka_default", min_length=1)
    clickhouse_conn_id: str = Field("clickhouse_default", min_length=1)
    database: str = Field("sluice", min_length=1)
    cluster: str = ""
    chunk_offsets: int = Field(500_000, ge=1)
    batch_rows: int = Field(40_000, ge=1)
    batch_bytes: int = Field(16 * 1024 * 1024, ge=1)
    lease_minutes: float = Field(60, ge=0, allow_inf_nan=False)
    hold_hours: float = Field(24, ge=0, allow_inf_nan=False)
    keep_days: float = Field(90, ge=0, allow_inf_nan=False)
    stall_seconds: float = Field(60, gt=0, allow_inf_nan=False)
    broker_seconds: float = Field(30, gt=0, allow_inf_nan=False)
    clickhouse_retry_seconds: float = Field(120, ge=0, allow_inf_nan=False)
    max_message_bytes: int = Field(16 * 1024 * 1024, ge=1)
    scan_offsets: int = Field(5_000_000, ge=0)
    pool: str = ""
    consumer_group: str = Field("sluice-{topic}", min_length=1)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError("; ".join(map(_describe, error.errors()))) from None


def _describe(error: "ErrorDetails") -> str:
    name = "_".join(map(str, error["loc"])).upper()
    return f"SLUICE_{name}={error['input']!r} cannot be used: {error['msg']}"


def lineage_is_wanted() -> bool:
    """Whether OpenLineage's own variables configure where its client sends events.

    They are ``OPENLINEAGE_URL``, ``OPENLINEAGE_CONFIG`` and ``OPENLINEAGE__TRANSPORT__…``.
    """
    names = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG")
    return any(n in names or n.startswith("OPENLINEAGE__TRANSPORT") for n in os.environ)


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an Airflow connection that the library uses. Its repr omits the secrets."""

    host: str = ""
    port: int | None = None
    login: str = ""
    password: SecretStr = SecretStr("")
    schema: str = ""
    extra: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Connection(host={self.host!r}, port={self.port!r}, schema={self.schema!r})"

    def redact(self, text: str) -> str:
        """Replace the password, in every form in which a library may have written it."""
        secret = self.password.get_secret_value()
        if not secret:
            return text
        quoted = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
        escaped = {repr(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret)}
        for form in sorted({secret} | quoted | escaped, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


def connection_from_environment(conn_id: str) -> Connection:
    """A connection from ``AIRFLOW_CONN_<ID>``, as JSON or as a URI; see the module's docstring.

    Raises:
        SettingsError: it is not set or cannot be parsed. The error never contains its value.
    """
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    value = os.environ.get(name) or _from_env_files(name)
    if not value:
        raise SettingsError(
            f"connection {conn_id!r} is not set: set {name} in the environment or in .env, or start"
            " the local stack with 'make demo'"
        )
    try:
        return parse_connection(value)
    except (msgspec.MsgspecError, ValueError):
        raise SettingsError(
            f"{name} must be a JSON object or a URI in the format of Airflow connections"
        ) from None


def parse_connection(value: str) -> Connection:
    """Parse the JSON or URI form of an Airflow connection.

    Raises:
        ValueError, msgspec.MsgspecError: the value has neither form.
    """
    if not value.lstrip().startswith("{"):
        uri = urlsplit(value)
        if not uri.scheme:
            raise ValueError("not a URI")
        return Connection(
            host=unquote(uri.hostname or ""),
            port=uri.port,
            login=unquote(uri.username or ""),
            password=SecretStr(unquote(uri.password or "")),
            schema=uri.path.lstrip("/"),
            extra=_uri_extra(uri.query),
        )
    fields = msgspec.json.decode(value, type=dict[str, Any])
    extra = fields.get("extra") or {}
    return Connection(
        host=fields.get("host") or "",
        port=int(fields["port"]) if fields.get("port") else None,
        login=fields.get("login") or "",
        password=SecretStr(fields.get("password") or ""),
        schema=fields.get("schema") or "",
        extra=msgspec.json.decode(extra, type=dict[str, Any]) if isinstance(extra, str) else extra,
    )


def _uri_extra(query: str) -> dict[str, Any]:
    """The ``extra`` of a URI: its parameters, or what ``__extra__`` holds as JSON, as Airflow."""
    extra: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if nested := extra.pop("__extra__", ""):
        extra |= msgspec.json.decode(nested, type=dict[str, Any])
    return extra


def _from_env_files(name: str) -> str | None:
    source = DotEnvSettingsSource(Settings, env_file=ENV_FILES, case_sensitive=True)
    return source.env_vars.get(name)
