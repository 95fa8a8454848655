"""Databases of tests: one that a test has left unchanged is emptied and used again.

Making the tables of the Sluice database takes half a second, emptying them a few milliseconds.
"""

import uuid
from typing import Any

from sluice.sql import quote_identifier
from sluice.store.bookkeeping import create_bookkeeping
from sluice.store.clickhouse import ClickHouse


class Databases:
    """Pairs of databases on one server: ``test_…`` for targets, and ``test_…_sluice``."""

    def __init__(self, server: ClickHouse) -> None:
        self._server, self._free = server, list[str]()
        name = f"new_{uuid.uuid4().hex[:10]}_sluice"
        create_bookkeeping(server, name)
        self._declared, self._applied = self._tables(name), self._bookkeeping(name)
        server.execute(f"DROP DATABASE {name}")

    def take(self) -> str:
        """The name of an empty database; the one for Sluice is empty, or does not exist."""
        if self._free:
            return self._free.pop()
        name = f"test_{uuid.uuid4().hex[:10]}"
        self._server.execute(f"CREATE DATABASE {name}")
        return name

    def give_back(self, name: str) -> None:
        """Empty the databases of a test, or drop them if their tables have changed."""
        own = f"{name}_sluice"
        self._server.execute(f"DROP DATABASE IF EXISTS {name}")
        if self._is_unchanged(own):
            self._server.execute(f"TRUNCATE ALL TABLES FROM {own} NOT LIKE 'bookkeeping'")
            self._server.execute(f"CREATE DATABASE {name}")
            self._free.append(name)
        else:
            self._server.execute(f"DROP DATABASE IF EXISTS {own}")

    def _is_unchanged(self, name: str) -> bool:
        tables = self._tables(name)
        if not self._declared.items() <= tables.items():
            return False
        for table in tables.keys() - self._declared.keys():
            self._server.execute(f"DROP TABLE {name}.{quote_identifier(table)}")
        return self._bookkeeping(name) == self._applied

    def _tables(self, database: str) -> dict[str, str]:
        """Table or view → its declaration, without the name of the database."""
        rows = self._server.rows(
            "SELECT name, replaceAll(create_table_query, database, '') AS declared"
            " FROM system.tables WHERE database = {db:String}",
            {"db": database},
        )
        return {row["name"]: row["declared"] for row in rows}

    def _bookkeeping(self, database: str) -> list[dict[str, Any]]:
        return self._server.rows(f"SELECT version, digest FROM {database}.bookkeeping")
