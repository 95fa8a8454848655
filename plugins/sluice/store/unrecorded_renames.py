"""Columns whose ``column(name=…)`` has changed: no version of the contract records that."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sluice.contract import Contract
from sluice.contract.columns import Column
from sluice.store.table_declaration import TableDeclaration


def unrecorded_renames(
    contract: Contract,
    columns: Sequence[Column],
    live: TableDeclaration,
    declared: TableDeclaration,
    former: Iterable[str],
) -> Mapping[str, str]:
    """Missing column → the column of the live table that it seems to have been.

    That is one of the same type which the contract does not have, if it also has the same comment,
    or if every version requires the missing field. What the versions record is no reason: a field
    that one has added or computed with ``lift``, and the columns of fields that one has removed.

    Args:
        live: the declaration of the table, after the renames that the versions record.
        declared: the declaration of the contract's table.
        former: the older names of columns that the versions record.
    """
    fields = {f.encode_name: f for f in msgspec.structs.fields(contract.message)}
    added = {field for version in contract.versions for field in version.added}
    removed = {field for version in contract.versions for field in version.removed}
    lifted = any(version.lift for version in contract.versions)
    recorded = {c.name for c in columns if fields[c.path[0]].name in added}
    always = {c.name for c in columns if fields[c.path[0]].required and not lifted} - recorded
    unknown = [
        name
        for name in live.columns
        if name not in declared.columns
        and name not in set(former)
        and not any(name == field or name.startswith(f"{field}_") for field in removed)
    ]
    renames: dict[str, str] = {}
    for name, column in declared.columns.items():
        if name in live.columns or name in live.aliases or name in recorded:
            continue
        for old in unknown:
            before = live.columns[old]
            described = bool(column.comment) and before.comment == column.comment
            if before.type == column.type and (described or name in always):
                renames[name] = old
                unknown.remove(old)
                break
    return renames
