"""One difference between a table and its contract, and why a table must be copied to a new one."""

import re
from typing import Literal

from msgspec import Struct

from sluice.store.table_declaration import TableDeclaration

ChangeKind = Literal["addition", "choice", "refused", "note"]


class TableChange(Struct, frozen=True, kw_only=True):
    """One difference between a table and its contract.

    Attributes:
        kind: an *addition* (a new, renamed or wider column) is safe, and loads require it; a
            *choice* (comment, codec, default, index, setting) is safe, and loads do not require it;
            a *refused* change would lose data or cannot be made by ALTER; a *note* needs no change.
        why: the difference, as a sentence.
        sql: the statements; for a refused change, the steps for a person to take.
        column: the column that differs; empty if the difference is not in a column.
    """

    kind: ChangeKind
    why: str
    sql: tuple[str, ...] = ()
    column: str = ""


class RebuildReasons:
    """Why a table must be copied to a new one, collected while it is compared.

    Attributes:
        sources: column of the new table → SQL over the old one, where it is not the same column.
        column: the first column that differs; empty if none does.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.sources: dict[str, str] = {}
        self.column = ""

    def add(self, reason: str, column: str = "") -> None:
        """Add a reason, and the column that it concerns."""
        self.reasons.append(reason)
        self.column = self.column or column


def key_columns(live: TableDeclaration) -> set[str]:
    """The columns that ClickHouse does not rename, drop or give another type."""
    clauses = [live.clauses.get(clause, "") for clause in ("ORDER BY", "PARTITION BY", "ENGINE")]
    return set(re.findall(r"\w+", " ".join(clauses)))
