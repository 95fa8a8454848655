"""A table as ClickHouse declares it, read from the server."""

import re
from collections.abc import Mapping

from msgspec import Struct

from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse


class DeclaredColumn(Struct, frozen=True):
    """A column as ClickHouse declares it; absent parts are empty."""

    type: str
    default: str
    comment: str
    codec: str
    ttl: str


class TableDeclaration(Struct, frozen=True):
    """A table as ClickHouse declares it.

    Attributes:
        columns: name → declaration, in the order of the table.
        indexes: skip index → its expression, type and granularity.
        clauses: ``ENGINE``, ``PARTITION BY``, ``ORDER BY``, ``TTL`` → their text.
        settings: setting → its value as SQL.
        aliases: column that is an alias → its expression; not among the columns.
    """

    columns: dict[str, DeclaredColumn]
    indexes: dict[str, str]
    clauses: dict[str, str]
    settings: dict[str, str]
    aliases: dict[str, str]


def read_declaration(clickhouse: ClickHouse, database: str, table: str) -> TableDeclaration:
    """The declaration of an existing table.

    Raises:
        EngineError: carries ClickHouse's code.
    """
    columns = clickhouse.until(
        lambda: clickhouse.rows(
            "SELECT name, type, default_kind AS kind, default_expression AS default, comment,"
            " compression_codec AS codec"
            " FROM system.columns WHERE database = {db:String} AND table = {name:String}"
            " ORDER BY position",
            {"db": database, "name": table},
        ),
        bool,
    )
    result = clickhouse.rows(
        f"SHOW CREATE TABLE {quote_identifier(database)}.{quote_identifier(table)}"
    )
    statement = str(next(iter(result[0].values())))
    return parse_declaration(statement, {row.pop("name"): row for row in columns})


_LINE = re.compile(r"^    (INDEX )?(`(?:[^`\\]|\\.)+`|\w+) (.*?),?$", re.M)
_CLAUSE = re.compile(r"^(ENGINE =|PARTITION BY|ORDER BY|TTL|SETTINGS) ?(.*)$", re.M)
_SETTING = re.compile(r"(\w+) = ('(?:[^'\\]|\\.)*'|[^,]+)")


def parse_declaration(statement: str, columns: Mapping[str, Mapping[str, str]]) -> TableDeclaration:
    """Parse a CREATE TABLE statement as ClickHouse formats it.

    Args:
        columns: name → ``type``, ``kind``, ``default``, ``comment`` and ``codec``, from
            ``system.columns``.
    """
    body, _, tail = statement.partition("\n)\n")
    ttls, indexes = {}, {}
    for index, quoted_name, rest in _LINE.findall(body):
        name = quoted_name.strip("`")
        if index:
            indexes[name] = rest
        elif match := re.search(r" TTL ((?:[^'])*)$", rest):
            ttls[name] = match[1]
    clauses = {key.removesuffix(" ="): value for key, value in _CLAUSE.findall(tail)}
    settings = dict(_SETTING.findall(clauses.pop("SETTINGS", "")))
    engine = clauses["ENGINE"].removeprefix("Replicated").removeprefix("Shared")
    # The server chooses the paths of a replicated table; they are not part of the comparison.
    clauses["ENGINE"] = re.sub(r"\('[^']*', '[^']*'(?:, )?", "(", engine).replace("()", "")
    return TableDeclaration(
        {
            name: DeclaredColumn(
                row["type"], row["default"], row["comment"], row["codec"], ttls.get(name, "")
            )
            for name, row in columns.items()
            if row["kind"] != "ALIAS"
        },
        indexes,
        clauses,
        settings,
        {name: row["default"] for name, row in columns.items() if row["kind"] == "ALIAS"},
    )
