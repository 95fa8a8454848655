"""What is behind the address of ClickHouse: one server, or replicas, and nothing else.

Servers that do not replicate each other would each have rows, and a log, of their own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sluice.errors import SettingsError
from sluice.sql import quote_string

WITH_REPLICAS = ("Replicated", "Shared")
"""Engines of databases whose tables are on several servers, behind one address."""

PROBES = 8
"""Connections that are opened at the first contact, to see whether the same server responds."""


class Server(NamedTuple):
    """The server that has responded to a statement, as its database of target tables shows it.

    Attributes:
        host: its own name for itself.
        engine, database_id: engine and UUID of the database; empty if it does not exist there.
    """

    host: str
    engine: str
    database_id: str

    @property
    def has_replicas(self) -> bool:
        """Whether the server is one of several that replicate the database."""
        return self.engine in WITH_REPLICAS


def server_sql(database: str) -> str:
    """Columns of a query that describe the server which runs it; see :func:`server_of`."""
    found = f"FROM system.databases WHERE name = {quote_string(database)}"
    return (
        f"hostName() AS server_host, (SELECT any(engine) {found}) AS server_engine,"
        f" (SELECT any(toString(uuid)) {found}) AS server_database_id"
    )


def server_of(row: Mapping[str, str]) -> Server:
    """The server that has returned a row with those columns."""
    return Server(row["server_host"], row["server_engine"], row["server_database_id"])


def refuse_unrelated(servers: Sequence[Server], database: str, address: str) -> None:
    """Refuse servers that respond at one address and do not replicate each other.

    Raises:
        SettingsError: names them.
    """
    different = list(dict.fromkeys(servers))
    if len(different) < 2 or all(server.has_replicas for server in different):
        return
    listed = " and ".join(
        f"{s.host} (database {s.database_id or 'missing'}, engine {s.engine or 'none'})"
        for s in different
    )
    raise SettingsError(
        f"different ClickHouse servers respond at {address}, and database {database!r} is not"
        f" replicated between them: {listed}. Loads would be recorded and stored by either. Connect"
        " to one server, or use a database with the engine Replicated"
    )
