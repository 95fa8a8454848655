"""Columns that a live table still has under the names that they had in older versions.

A rename keeps the older name as an alias: queries and views that use it keep working, and a
deployment of the older contract cannot insert under it.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping

import msgspec
from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.columns import Column
from sluice.contract.sql_type import SqlType
from sluice.sql import quote_identifier, quote_string
from sluice.store.table_change import RebuildReasons, TableChange, key_columns
from sluice.store.table_declaration import DeclaredColumn, TableDeclaration

FormerNames = Mapping[str, tuple[str, ...]]
"""Column → the names that it had in older versions, the newest first."""

Alter = Callable[[str], tuple[str, ...]]
"""The statements that make a change to a table; see :meth:`Migration.alter`."""

HasRows = Callable[[str], bool]
"""Whether the table has a row that fulfils a condition."""


class RenamedColumn(Struct, frozen=True):
    """A column, and an older name of it that the live table has."""

    old: str
    new: str


def former_names(contract: Contract, columns: list[Column]) -> FormerNames:
    """The older names of each column that had any.

    A column of a nested Struct follows the field that contains it. A column with a name of its own
    (``column(name=…)``) once had the name of its path. A name that another column has now is an
    older name only if a later version added a field of that name.
    """
    fields = {f.encode_name: f.name for f in msgspec.structs.fields(contract.message)}
    declared = {column.name for column in columns}
    former: dict[str, tuple[str, ...]] = {}
    for column in columns:
        first, *inner = column.path
        older = older_names(contract, fields[first])
        # The column that says whether an optional Struct is present has the path of the Struct.
        suffix = "_given" if column.source.startswith("isNotNull(") else ""
        names = {"_".join((name, *inner)) + suffix: name for name in (first, *older)}
        chosen = tuple(
            name
            for name, field in names.items()
            if name != column.name
            and (name not in declared or (field in older and _added_later(contract, field)))
        )
        if chosen:
            former[column.name] = chosen
    return former


def older_names(contract: Contract, field: str) -> list[str]:
    """The names that a field of the message had in older versions, the newest first."""
    names = [field]
    for version in reversed(contract.versions):
        if names[-1] in version.added:
            break
        names += [old for old, new in version.renamed.items() if new == names[-1]]
    return names[1:]


def staged_column(contract: Contract, column: Column, staged: Container[str]) -> Column:
    """A column with the path that it has in rows which an older contract may have staged.

    Args:
        staged: the dotted paths of the staged message.
    """
    first, *inner = column.staged_path
    fields = {f.encode_name: f.name for f in msgspec.structs.fields(contract.message)}
    for name in (first, *older_names(contract, fields[column.path[0]])):
        if ".".join((name, *inner)) in staged:
            return msgspec.structs.replace(column, staged_path=(name, *inner))
    return column


def _added_later(contract: Contract, field: str) -> bool:
    return any(field in version.added for version in contract.versions)


class ColumnRenames:
    """The renames that are due in a live table.

    Attributes:
        renames: columns that the table has under an older name only.
        rests: columns that it has under their names and, besides, under an older one: an earlier
            release of Sluice added an empty column, or an old deployment has loaded since.
        live: the declaration that the table has after the renames.
    """

    def __init__(
        self, former: FormerNames, live: TableDeclaration, declared: TableDeclaration
    ) -> None:
        self._before, self._declared = live, declared
        self.renames: list[RenamedColumn] = []
        self.rests: list[RenamedColumn] = []
        taken: set[str] = set()
        for new, names in former.items():
            present = [name for name in names if name in live.columns and name not in taken]
            if new not in live.columns and present:
                self.renames.append(RenamedColumn(present[0], new))
                taken.add(present.pop(0))
            self.rests += [RenamedColumn(o, new) for o in present if o not in declared.columns]
        self.live = _rename(live, {rename.old: rename.new for rename in self.renames})

    def changes(
        self, alter: Alter, has_rows: HasRows, lines: Mapping[str, str], rebuild: RebuildReasons
    ) -> Iterator[TableChange]:
        """The changes that the renames need.

        Args:
            lines: column → its declaration in the contract's table.
            rebuild: receives the renames that need a new table.
        """
        yield from self._due(alter, rebuild)
        yield from self._twice(alter, has_rows, rebuild)
        yield from self._aliases(alter, lines)

    def _due(self, alter: Alter, rebuild: RebuildReasons) -> Iterator[TableChange]:
        keys = key_columns(self._before)
        for rename in self.renames:
            old, new = quote_identifier(rename.old), quote_identifier(rename.new)
            why = f"column {rename.old} is named {rename.new} now"
            if rename.old in keys:
                reason = f"{why}, and ClickHouse cannot rename a column of a key or the engine"
                rebuild.add(reason, rename.new)
                rebuild.sources[rename.new] = old
                continue
            change = f"RENAME COLUMN {old} TO {new}"
            if rename.old not in self._declared.columns:
                type_ = self._before.columns[rename.old].type
                change += f", ADD COLUMN {old} {type_} ALIAS {new}"
            sql = alter(change)
            if rename.new not in self._before.aliases:
                yield TableChange(kind="addition", why=why, sql=sql, column=rename.new)
                continue
            why += f", and the alias {rename.new} is in its way"
            sql = (*alter(f"DROP COLUMN {new}"), *sql)
            yield TableChange(kind="refused", why=why, sql=sql, column=rename.new)

    def _twice(
        self, alter: Alter, has_rows: HasRows, rebuild: RebuildReasons
    ) -> Iterator[TableChange]:
        keys = key_columns(self.live)
        for rest in self.rests:
            column, present = self._before.columns[rest.old], self.live.columns[rest.new]
            why = f"column {rest.old} is named {rest.new} now"
            drop = alter(f"DROP COLUMN {quote_identifier(rest.old)}")
            if not has_rows(_has_value(rest.old, column)):
                why += ", and holds no value: it can be dropped"
                yield TableChange(kind="note", why=why, sql=drop, column=rest.old)
                continue
            why += ", but the table has both, and the old one has values"
            value = _converted(quote_identifier(rest.old), column, present)
            if {rest.old, rest.new} & keys:
                rebuild.add(f"{why}; ClickHouse cannot update or drop a key column", rest.new)
                kept = rebuild.sources.get(rest.new, quote_identifier(rest.new))
                rows = _moved_rows(rest.old, column, kept, present)
                rebuild.sources[rest.new] = f"if({rows}, {value}, {kept})"
                continue
            old, new = quote_identifier(rest.old), quote_identifier(rest.new)
            rows = _moved_rows(rest.old, column, new, present)
            sql = (
                *alter(f"UPDATE {new} = {value} WHERE {rows}"),
                *drop,
                *alter(f"ADD COLUMN {old} {column.type} ALIAS {new}"),
            )
            yield TableChange(kind="refused", why=why, sql=sql, column=rest.new)

    def _aliases(self, alter: Alter, lines: Mapping[str, str]) -> Iterator[TableChange]:
        """The columns of the contract that are aliases in the table."""
        for name in self._declared.columns:
            if name in self.live.columns or name not in self.live.aliases:
                continue
            present = self.live.aliases[name].strip("`")
            if present in self._declared.columns:  # the name belongs to another field now
                why = f"column {name} is an alias of {present}"
                sql = alter(f"MODIFY COLUMN {lines[name]}")
                yield TableChange(kind="addition", why=why, sql=sql, column=name)
            else:
                why = (
                    f"column {name} is named {present} since a newer version of the contract; load"
                    " with that contract"
                )
                yield TableChange(kind="refused", why=why, column=name)


def _rename(live: TableDeclaration, names: Mapping[str, str]) -> TableDeclaration:
    """The declaration of a table after renames: ClickHouse adapts every expression."""
    if not names:
        return live
    columns = {
        names.get(name, name): msgspec.structs.replace(
            column, default=_adapt(column.default, names), ttl=_adapt(column.ttl, names)
        )
        for name, column in live.columns.items()
    }
    return msgspec.structs.replace(
        live,
        columns=columns,
        indexes={name: _adapt(text, names) for name, text in live.indexes.items()},
        clauses={clause: _adapt(text, names) for clause, text in live.clauses.items()},
        aliases={name: _adapt(text, names) for name, text in live.aliases.items()},
    )


_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)+`|\w+")


def _adapt(expression: str, names: Mapping[str, str]) -> str:
    """An expression in ClickHouse's format, with other names for some columns."""

    def replace(match: re.Match[str]) -> str:
        new = names.get(match[0].strip("`"))
        if match[0].startswith("'") or new is None:
            return match[0]
        return new if re.fullmatch(r"[A-Za-z_]\w*", new) else quote_identifier(new)

    return _TOKEN.sub(replace, expression)


def _has_value(name: str, column: DeclaredColumn) -> str:
    """SQL for a row whose value in a column is not the column's default."""
    return _is_set(quote_identifier(name), column)


def _is_set(value: str, column: DeclaredColumn) -> str:
    if column.default:
        return f"{value} != ({column.default})"
    if _is_nullable(column):
        return f"isNotNull({value})"
    return f"{value} != defaultValueOfArgumentType({value})"


def _moved_rows(old: str, column: DeclaredColumn, kept: str, present: DeclaredColumn) -> str:
    """SQL for the rows that have a value under the older name only."""
    return f"{_has_value(old, column)} AND NOT ({_is_set(kept, present)})"


def _converted(value: str, old: DeclaredColumn, new: DeclaredColumn) -> str:
    """A value of one column as SQL, in the type of another one."""
    if old.type == new.type:
        return value
    if _is_nullable(old) and not _is_nullable(new):
        value = f"assumeNotNull({value})"
    return f"CAST({value}, {quote_string(new.type)})"


def _is_nullable(column: DeclaredColumn) -> bool:
    return SqlType.parse(column.type).dense.name == "Nullable"
