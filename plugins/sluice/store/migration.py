"""Compares a live table with its contract, and generates the statements that update it.

Both declarations are read from ClickHouse: the contract's table is created empty in the Sluice
database, so that ClickHouse formats both in the same way.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping

import structlog

from sluice.contract import Contract
from sluice.contract.ddl import WORK_TABLE, ClickHouseSchemaMapper
from sluice.contract.sql_type import SqlType
from sluice.errors import EngineError, MigrationError, TableMissing
from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.column_renames import ColumnRenames, former_names
from sluice.store.table_change import RebuildReasons, TableChange, key_columns
from sluice.store.table_declaration import DeclaredColumn, TableDeclaration, read_declaration
from sluice.store.type_widening import widens
from sluice.store.unrecorded_renames import unrecorded_renames

log = structlog.get_logger()

RULES = 1
"""Of this comparison; to be raised when a table is to be compared again that was found to match."""


class Migration:
    """Compares the table of one contract, and alters it.

    Args:
        scratch: database for the temporary table.
        cluster: name of the ClickHouse cluster; empty for a single server.
    """

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, scratch: str, cluster: str = ""
    ) -> None:
        self._contract, self._topic = contract, contract.topic
        self._clickhouse, self._scratch, self._cluster = clickhouse, scratch, cluster
        self._mapper = ClickHouseSchemaMapper.of(contract, cluster)
        self._plain = ClickHouseSchemaMapper.of(contract)
        self._former = former_names(contract, self._plain.columns)
        self._database = clickhouse.database
        self.table = self._mapper.stored_in

    def exists(self) -> bool:
        """Whether the table exists."""
        return self._clickhouse.has_table(self._database, self.table)

    def digest(self) -> str:
        """Digest of the live table's declaration and of what the contract requires of it.

        While it is the same, so is the result of a comparison. Empty if there is no table, and in
        a cluster, whose other servers it does not cover.
        """
        rows = self._clickhouse.rows(
            "SELECT create_table_query AS live FROM system.tables"
            " WHERE database = {db:String} AND name = {table:String}",
            {"db": self._database, "table": self.table},
        )
        if not rows or self._cluster:
            return ""
        required = (self._mapper.create_tables(), sorted(self._former.items()), RULES)
        return hashlib.sha256(f"{rows[0]['live']}\n{required}".encode()).hexdigest()[:32]

    def refuse_missing(self, published: int) -> None:
        """Refuse to continue with a table that is gone, if published loads have filled it.

        A new table in its place would lack their rows, and no load would read them again.

        Args:
            published: number of rows that loads have published.

        Raises:
            TableMissing: states what to do.
        """
        if published:
            raise TableMissing(
                f"table {self._clickhouse.qualified(self.table)} does not exist, but loads have"
                f" published {published:,} rows into it. Restore it, or rename it back if it or the"
                " contract was renamed. To load the topic again into a new table, run"
                f" 'sluice forget {self._topic}' first",
                topic=self._topic,
            )

    def steps(self) -> list[TableChange]:
        """Every difference, in the order in which the statements must be run.

        Creates an empty table in the scratch database, and drops it again.
        """
        name = f"wanted_{uuid.uuid4().hex}"
        table = f"{quote_identifier(self._scratch)}.{quote_identifier(name)}"
        declaration = self._plain.create_table(table)
        self._clickhouse.create(f"{declaration}COMMENT {quote_string(WORK_TABLE)}")
        try:
            declared = read_declaration(self._clickhouse, self._scratch, name)
        finally:
            self._clickhouse.execute(f"DROP TABLE IF EXISTS {table}")
        live = read_declaration(self._clickhouse, self._database, self.table)
        renames, rebuild = ColumnRenames(self._former, live, declared), RebuildReasons()
        lines = self._plain.column_lines()
        return [
            *renames.changes(self.alter, self._has_rows, lines, rebuild),
            *self._column_changes(renames.live, declared, rebuild),
            *self._index_changes(renames.live, declared),
            *self._clause_changes(renames.live, declared, rebuild),
            *self._setting_changes(live),
            *self._copy_to_new_table(rebuild),
        ]

    def apply_required(self) -> None:
        """Apply the changes that loads require: new, renamed and wider columns.

        Raises:
            MigrationError: the table differs in a way that must not be fixed automatically;
                ``field`` is the first such column, if one differs.
        """
        steps = self.steps()
        if refused := [step for step in steps if step.kind == "refused"]:
            reasons = "; ".join(step.why for step in refused)
            raise MigrationError(
                f"table {self.table!r} does not match the contract: {reasons}. No messages were"
                " read. Run 'sluice migrate --plan' for the steps to take",
                topic=self._topic,
                field=refused[0].column,
            )
        self.apply([step for step in steps if step.kind == "addition"])

    def apply(self, steps: list[TableChange]) -> None:
        """Run the statements of some changes."""
        for step in steps:
            for sql in step.sql:
                log.info("table_altered", table=self.table, why=step.why, sql=sql)
                self._alter(sql, step.column)

    def _alter(self, sql: str, column: str) -> None:
        try:
            self._clickhouse.execute(sql, settings={"mutations_sync": 1, "alter_sync": 1})
        except EngineError:
            # Another loader may have renamed the column, or an earlier try of this statement has.
            live = read_declaration(self._clickhouse, self._database, self.table)
            if "RENAME COLUMN" not in sql or column not in live.columns:
                raise

    def alter(self, change: str) -> tuple[str, ...]:
        """The ALTER statement of the table; in a cluster, also that of the distributed table."""
        on_cluster = f" ON CLUSTER {quote_identifier(self._cluster)}" if self._cluster else ""
        tables = [self.table]
        if self._cluster and re.match(r"(ADD|MODIFY|COMMENT|RENAME|DROP) COLUMN|COMMENT", change):
            tables.append(self._plain.table.name)
        return tuple(
            f"ALTER TABLE {quote_identifier(name)}{on_cluster} {change}" for name in tables
        )

    def _has_rows(self, condition: str) -> bool:
        name = quote_identifier(self._plain.table.name)
        return bool(self._clickhouse.rows(f"SELECT 1 AS one FROM {name} WHERE {condition} LIMIT 1"))

    def _column_changes(
        self, live: TableDeclaration, declared: TableDeclaration, rebuild: RebuildReasons
    ) -> Iterator[TableChange]:
        lines, previous = self._plain.column_lines(), ""
        former = {name for names in self._former.values() for name in names}
        keys = key_columns(live)
        unrecorded = unrecorded_renames(self._contract, self._plain.columns, live, declared, former)
        for name, column in declared.columns.items():
            place = f"AFTER {quote_identifier(previous)}" if previous else "FIRST"
            previous = name
            existing = live.columns.get(name)
            if existing is None and name in live.aliases:
                continue
            if name in unrecorded:
                yield self._unrecorded_rename(unrecorded[name], name, lines[name])
                continue
            if existing is None:
                sql = self.alter(f"ADD COLUMN IF NOT EXISTS {lines[name]} {place}")
                why = f"column {name} is missing"
                yield TableChange(kind="addition", why=why, sql=sql, column=name)
                continue
            if existing.type != column.type and name in keys:
                why = _other_type(name, existing.type, column.type)
                if not widens(SqlType.parse(column.type), SqlType.parse(existing.type)):
                    rebuild.add(f"{why}, and the type of a key column cannot be changed", name)
                    continue
            if existing.type != column.type:
                yield self._type_change(name, existing.type, column.type)
            yield from self._option_changes(name, existing, column)
        for name in live.columns.keys() - declared.columns.keys() - former:
            why = f"column {name} is not in the contract; it stays, and new rows get its default"
            yield TableChange(kind="note", why=why, column=name)

    def _unrecorded_rename(self, old: str, new: str, line: str) -> TableChange:
        rename = f"RENAME COLUMN {quote_identifier(old)} TO {quote_identifier(new)}"
        add = "; ".join(self.alter(f"ADD COLUMN {line}"))
        return TableChange(
            kind="refused",
            why=f"column {new} is missing, and column {old}, which the contract does not have,"
            " seems to be the same column under an earlier name. If it is, rename it; if it is"
            f" another one, run: {add}",
            sql=self.alter(rename),
            column=new,
        )

    def _type_change(self, name: str, live: str, declared: str) -> TableChange:
        why = _other_type(name, live, declared)
        old, new = SqlType.parse(live), SqlType.parse(declared)
        if widens(new, old):
            note = f"{why}; the column holds all values of that type"
            return TableChange(kind="note", why=note, column=name)
        if widens(old, new):
            sql = self.alter(f"MODIFY COLUMN {quote_identifier(name)} {declared}")
            return TableChange(kind="addition", why=why, sql=sql, column=name)
        column, fresh = quote_identifier(name), quote_identifier(f"{name}_new")
        steps = (
            *self.alter(f"ADD COLUMN {fresh} {declared}"),
            *self.alter(f"UPDATE {fresh} = <from {column}> WHERE 1"),
            *self.alter(f"DROP COLUMN {column}"),
            *self.alter(f"RENAME COLUMN {fresh} TO {column}"),
        )
        refused = f"{why}, which cannot hold all of its values"
        return TableChange(kind="refused", why=refused, sql=steps, column=name)

    def _option_changes(
        self, name: str, live: DeclaredColumn, declared: DeclaredColumn
    ) -> Iterator[TableChange]:
        column = quote_identifier(name)
        if live.ttl != declared.ttl:
            change = f"TTL {declared.ttl}" if declared.ttl else "REMOVE TTL"
            yield TableChange(
                kind="refused",
                why=f"column {name} has TTL {live.ttl or 'none'}, but the contract requires"
                f" {declared.ttl or 'none'}; a TTL removes values",
                sql=self.alter(f"MODIFY COLUMN {column} {change}"),
                column=name,
            )
        if live.default != declared.default:
            # Rows older than the column read its default: materialize it before changing it.
            kept = self.alter(f"MATERIALIZE COLUMN {column}") if live.default else ()
            change = f"DEFAULT {declared.default}" if declared.default else "REMOVE DEFAULT"
            change = f"MODIFY COLUMN {column} {change}"
            yield self._choice(f"default of column {name}", change, kept, name)
        if live.codec != declared.codec:
            change = f"MODIFY COLUMN {column} {declared.codec or 'REMOVE CODEC'}"
            yield self._choice(f"codec of column {name}", change, column=name)
        if live.comment != declared.comment:
            change = f"COMMENT COLUMN {column} {self._comments()[name]}"
            yield self._choice(f"comment of column {name}", change, column=name)

    def _comments(self) -> Mapping[str, str]:
        """Column → its comment as an SQL literal."""
        lines = self._plain.column_lines()
        matches = {n: re.search(r" COMMENT ('(?:[^'\\]|\\.)*')", line) for n, line in lines.items()}
        return {name: match[1] if match else "''" for name, match in matches.items()}

    def _index_changes(
        self, live: TableDeclaration, declared: TableDeclaration
    ) -> Iterator[TableChange]:
        for name, text in declared.indexes.items():
            if live.indexes.get(name) == text:
                continue
            index = quote_identifier(name)
            drop = self.alter(f"DROP INDEX {index}") if name in live.indexes else ()
            # The statement may be sent twice, because a response may be lost.
            line = self._plain.index_lines()[name].replace("INDEX", "INDEX IF NOT EXISTS", 1)
            step = self._choice(f"index {name}", f"ADD {line}", drop)
            fill = self.alter(f"MATERIALIZE INDEX {index}")
            yield TableChange(kind="choice", why=step.why, sql=step.sql + fill)

    def _clause_changes(
        self, live: TableDeclaration, declared: TableDeclaration, rebuild: RebuildReasons
    ) -> Iterator[TableChange]:
        for clause in ("ENGINE", "PARTITION BY", "ORDER BY"):
            old, new = live.clauses.get(clause, "none"), declared.clauses.get(clause, "none")
            if old != new:
                rebuild.add(f"{clause} is {old}, but the contract requires {new}")
        old, new = live.clauses.get("TTL", ""), declared.clauses.get("TTL", "")
        if old != new:
            yield TableChange(
                kind="refused",
                why=f"TTL is {old or 'none'}, but the contract requires {new or 'none'}; a TTL"
                " removes rows",
                sql=self.alter(f"MODIFY TTL {new}" if new else "REMOVE TTL"),
            )

    def _setting_changes(self, live: TableDeclaration) -> Iterator[TableChange]:
        for name, value in self._mapper.settings().items():
            current = live.settings.get(name, "its default")
            if current == value:
                continue
            if name == "index_granularity":
                why = f"index_granularity is {current}, not {value}; it cannot be altered"
                yield TableChange(kind="note", why=why)
            else:
                yield self._choice(f"setting {name}", f"MODIFY SETTING {name} = {value}")

    def _choice(
        self, item: str, change: str, first: tuple[str, ...] = (), column: str = ""
    ) -> TableChange:
        """A *choice*.

        Args:
            item: what differs.
            first: statements to run before the change.
        """
        sql = (*first, *self.alter(change))
        return TableChange(kind="choice", why=f"{item} differs", sql=sql, column=column)

    def _copy_to_new_table(self, rebuild: RebuildReasons) -> Iterator[TableChange]:
        """The refused change whose steps copy the table to a new one, if there is a reason."""
        if not rebuild.reasons:
            return
        new, old = quote_identifier(f"{self._plain.table.name}_new"), quote_identifier(self.table)
        columns = {name: quote_identifier(name) for name in self._plain.column_lines()}
        values = (columns | rebuild.sources).values()
        listed = ", ".join(columns.values())
        steps = (
            self._plain.create_table(new).rstrip(),
            f"INSERT INTO {new} ({listed}) SELECT {', '.join(values)} FROM {old}",
            f"EXCHANGE TABLES {new} AND {old}",
            f"DROP TABLE {new}",
        )
        why = "; ".join(rebuild.reasons)
        yield TableChange(kind="refused", why=why, sql=steps, column=rebuild.column)


def _other_type(name: str, live: str, declared: str) -> str:
    return f"column {name} has type {live}, but the contract requires {declared}"
