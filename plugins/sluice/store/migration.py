"""The live table held against its contract, and the statements that bring it up to it.

Both are read back from the engine: the contract's table is made, empty, beside the ledger, so
that the engine itself writes both declarations in one way.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Literal

import structlog
from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.sql_type import SqlType
from sluice.errors import MigrationError
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.type_widening import widens

log = structlog.get_logger()

ChangeKind = Literal["addition", "choice", "refused", "note"]


class TableChange(Struct, frozen=True, kw_only=True):
    """One difference between a table and its contract.

    Attributes:
        kind: an *addition* (a new or wider column) is safe and a load needs it; a *choice*
            (comment, codec, default, index, setting) is safe and no load needs it; what is
            *refused* would lose data, or cannot be altered; a *note* needs nothing done.
        why: what differs, as a sentence.
        sql: the statements; of what is refused, the steps for a person.
    """

    kind: ChangeKind
    why: str
    sql: tuple[str, ...] = ()


class DeclaredColumn(Struct, frozen=True):
    """A column as the engine declares it."""

    type: str
    default: str
    comment: str
    codec: str
    ttl: str


class TableDeclaration(Struct, frozen=True):
    """A table as the engine declares it.

    Attributes:
        clauses: ``ENGINE``, ``PARTITION BY``, ``ORDER BY``, ``TTL`` → their text.
    """

    columns: dict[str, DeclaredColumn]
    indexes: dict[str, str]
    clauses: dict[str, str]
    settings: dict[str, str]


class Migration:
    """Compares one contract's table, and alters it."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, scratch: str, cluster: str = ""
    ) -> None:
        self._clickhouse, self._scratch, self._cluster = clickhouse, scratch, cluster
        self._mapper = ClickHouseSchemaMapper.of(contract, cluster)
        self._plain = ClickHouseSchemaMapper.of(contract)
        self._database = clickhouse.database
        self.table = self._mapper.stored_in

    def exists(self) -> bool:
        """Whether the table is there."""
        return self._clickhouse.has_table(self._database, self.table)

    def steps(self) -> list[TableChange]:
        """Every difference, in the order in which the statements can be run.

        Makes an empty table in the scratch database, and drops it.
        """
        name = f"wanted_{uuid.uuid4().hex}"
        table = f"{quote_identifier(self._scratch)}.{quote_identifier(name)}"
        self._clickhouse.execute(self._plain.create_table(table))
        try:
            wanted = self._declared(self._scratch, name)
        finally:
            self._clickhouse.execute(f"DROP TABLE IF EXISTS {table}")
        live = self._declared(self._database, self.table)
        return [*self._columns(live, wanted), *self._rest(live, wanted)]

    def apply_required(self) -> None:
        """Apply what a load needs: new and wider columns.

        Raises:
            MigrationError: the table differs in a way that must not be changed by itself.
        """
        steps = self.steps()
        if refused := [step for step in steps if step.kind == "refused"]:
            reasons = "; ".join(step.why for step in refused)
            raise MigrationError(
                f"table {self.table!r} differs from its contract: {reasons}. Nothing was read;"
                " 'sluice migrate --plan' shows what to do"
            )
        self.apply([step for step in steps if step.kind == "addition"])

    def apply(self, steps: list[TableChange]) -> None:
        """Run the statements of steps."""
        for step in steps:
            for sql in step.sql:
                log.info("table_altered", table=self.table, why=step.why, sql=sql)
                self._clickhouse.execute(sql, settings={"mutations_sync": 1, "alter_sync": 1})

    def alter(self, change: str) -> tuple[str, ...]:
        """The statement for the table; in a cluster, also for the one over its shards."""
        on = f" ON CLUSTER {quote_identifier(self._cluster)}" if self._cluster else ""
        tables = [self.table]
        if self._cluster and re.match(r"(ADD|MODIFY|COMMENT) COLUMN|COMMENT", change):
            tables.append(self._plain.table.name)
        return tuple(f"ALTER TABLE {quote_identifier(name)}{on} {change}" for name in tables)

    def _columns(self, live: TableDeclaration, wanted: TableDeclaration) -> Iterator[TableChange]:
        lines, before = self._plain.column_lines(), ""
        keys = " ".join((live.clauses["ORDER BY"], live.clauses.get("PARTITION BY", "")))
        in_keys = set(re.findall(r"\w+", keys))
        for name, column in wanted.columns.items():
            after, before = (f"AFTER {quote_identifier(before)}" if before else "FIRST"), name
            now = live.columns.get(name)
            if now is None:
                change = f"ADD COLUMN IF NOT EXISTS {lines[name]} {after}"
                yield TableChange(
                    kind="addition", why=f"column {name} is missing", sql=self.alter(change)
                )
                continue
            if now.type != column.type:
                yield self._retyped(name, now.type, column.type, name in in_keys)
            yield from self._redeclared(name, now, column)
        for name in live.columns.keys() - wanted.columns.keys():
            yield TableChange(
                kind="note",
                why=f"column {name} is not in the contract; it stays, and new rows get its default",
            )

    def _retyped(self, name: str, now: str, wanted: str, in_key: bool) -> TableChange:
        told = f"column {name} is {now}, and the contract says {wanted}"
        if widens(SqlType.parse(wanted), SqlType.parse(now)):
            return TableChange(kind="note", why=f"{told}, which fits into it")
        if widens(SqlType.parse(now), SqlType.parse(wanted)) and not in_key:
            change = f"MODIFY COLUMN {quote_identifier(name)} {wanted}"
            return TableChange(kind="addition", why=told, sql=self.alter(change))
        if in_key:
            return self._rebuild(f"{told}, but it is part of a key")
        fresh = quote_identifier(f"{name}_new")
        steps = (
            *self.alter(f"ADD COLUMN {fresh} {wanted}"),
            *self.alter(f"UPDATE {fresh} = <from {quote_identifier(name)}> WHERE 1"),
            *self.alter(f"DROP COLUMN {quote_identifier(name)}"),
            *self.alter(f"RENAME COLUMN {fresh} TO {quote_identifier(name)}"),
        )
        return TableChange(
            kind="refused", why=f"{told}, which does not hold all of its values", sql=steps
        )

    def _redeclared(
        self, name: str, now: DeclaredColumn, wanted: DeclaredColumn
    ) -> Iterator[TableChange]:
        column = quote_identifier(name)
        if now.ttl != wanted.ttl:
            change = f"TTL {wanted.ttl}" if wanted.ttl else "REMOVE TTL"
            yield TableChange(
                kind="refused",
                why=f"column {name} has TTL {now.ttl or 'none'}, and the contract says"
                f" {wanted.ttl or 'none'}; a TTL removes values",
                sql=self.alter(f"MODIFY COLUMN {column} {change}"),
            )
        if now.default != wanted.default:
            # Rows from before the column was there read its default: write it down first.
            kept = self.alter(f"MATERIALIZE COLUMN {column}") if now.default else ()
            change = f"DEFAULT {wanted.default}" if wanted.default else "REMOVE DEFAULT"
            yield self._choice(
                f"default of column {name}", f"MODIFY COLUMN {column} {change}", kept
            )
        if now.codec != wanted.codec:
            change = wanted.codec or "REMOVE CODEC"
            yield self._choice(f"codec of column {name}", f"MODIFY COLUMN {column} {change}")
        if now.comment != wanted.comment:
            text = self._comments()[name]
            yield self._choice(f"comment of column {name}", f"COMMENT COLUMN {column} {text}")

    def _comments(self) -> Mapping[str, str]:
        lines = self._plain.column_lines()
        found = {n: re.search(r" COMMENT ('(?:[^'\\]|\\.)*')", line) for n, line in lines.items()}
        return {name: match[1] if match else "''" for name, match in found.items()}

    def _rest(self, live: TableDeclaration, wanted: TableDeclaration) -> Iterator[TableChange]:
        for name, text in wanted.indexes.items():
            if live.indexes.get(name) == text:
                continue
            drop = (
                self.alter(f"DROP INDEX {quote_identifier(name)}") if name in live.indexes else ()
            )
            fill = self.alter(f"MATERIALIZE INDEX {quote_identifier(name)}")
            step = self._choice(
                f"index {name}", f"ADD {_if_not_exists(self._plain.index_lines()[name])}", drop
            )
            yield TableChange(kind="choice", why=step.why, sql=step.sql + fill)
        for clause in ("ENGINE", "PARTITION BY", "ORDER BY"):
            now, says = live.clauses.get(clause, "none"), wanted.clauses.get(clause, "none")
            if now != says:
                yield self._rebuild(f"{clause} is {now}, and the contract says {says}")
        now, says = live.clauses.get("TTL", ""), wanted.clauses.get("TTL", "")
        if now != says:
            change = f"MODIFY TTL {says}" if says else "REMOVE TTL"
            yield TableChange(
                kind="refused",
                why=f"TTL is {now or 'none'}, and the contract says {says or 'none'}; a TTL removes"
                " rows",
                sql=self.alter(change),
            )
        for name, value in self._mapper.settings().items():
            now = live.settings.get(name, "its default")
            if now == value:
                continue
            if name == "index_granularity":
                why = f"index_granularity is {now}, which cannot be altered, and not {value}"
                yield TableChange(kind="note", why=why)
            else:
                yield self._choice(f"setting {name}", f"MODIFY SETTING {name} = {value}")

    def _choice(self, what: str, change: str, first: tuple[str, ...] = ()) -> TableChange:
        return TableChange(kind="choice", why=f"{what} differs", sql=(*first, *self.alter(change)))

    def _rebuild(self, why: str) -> TableChange:
        fresh = f"{self._plain.table.name}_new"
        listed = ", ".join(map(quote_identifier, self._plain.column_lines()))
        name = quote_identifier(self.table)
        return TableChange(
            kind="refused",
            why=why,
            sql=(
                self._plain.create_table(quote_identifier(fresh)).rstrip(),
                f"INSERT INTO {quote_identifier(fresh)} ({listed}) SELECT {listed} FROM {name}",
                f"EXCHANGE TABLES {quote_identifier(fresh)} AND {name}",
                f"DROP TABLE {quote_identifier(fresh)}",
            ),
        )

    def _declared(self, database: str, name: str) -> TableDeclaration:
        """What the engine says of a table."""
        columns = self._clickhouse.rows(
            "SELECT name, type, default_expression AS default, comment, compression_codec AS codec"
            " FROM system.columns WHERE database = {db:String} AND table = {name:String}"
            " ORDER BY position",
            {"db": database, "name": name},
        )
        shown = self._clickhouse.rows(
            f"SHOW CREATE TABLE {quote_identifier(database)}.{quote_identifier(name)}"
        )
        text = str(next(iter(shown[0].values())))
        return parse_declaration(text, {row.pop("name"): row for row in columns})


def _if_not_exists(index: str) -> str:
    """An index's declaration that may be sent twice, because an answer may be lost."""
    return index.replace("INDEX", "INDEX IF NOT EXISTS", 1)


_LINE = re.compile(r"^    (INDEX )?(`(?:[^`\\]|\\.)+`|\w+) (.*?),?$", re.M)
_CLAUSE = re.compile(r"^(ENGINE =|PARTITION BY|ORDER BY|TTL|SETTINGS) ?(.*)$", re.M)
_SETTING = re.compile(r"(\w+) = ('(?:[^'\\]|\\.)*'|[^,]+)")


def parse_declaration(text: str, columns: Mapping[str, Mapping[str, str]]) -> TableDeclaration:
    """Read a CREATE TABLE as the engine formats it; ``columns`` is what it says of each."""
    body, _, tail = text.partition("\n)\n")
    ttls, indexes = {}, {}
    for index, quoted_name, rest in _LINE.findall(body):
        name = quoted_name.strip("`")
        if index:
            indexes[name] = rest
        elif match := re.search(r" TTL ((?:[^'])*)$", rest):
            ttls[name] = match[1]
    clauses = {key.removesuffix(" ="): value for key, value in _CLAUSE.findall(tail)}
    settings = dict(_SETTING.findall(clauses.pop("SETTINGS", "")))
    engine = clauses["ENGINE"].removeprefix("Replicated")
    # The paths of a replicated table are the server's own matter.
    clauses["ENGINE"] = re.sub(r"\('[^']*', '[^']*'(?:, )?", "(", engine).replace("()", "")
    return TableDeclaration(
        {name: DeclaredColumn(**about, ttl=ttls.get(name, "")) for name, about in columns.items()},
        indexes,
        clauses,
        settings,
    )
