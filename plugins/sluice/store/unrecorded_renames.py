"""Columns whose ``column(name=…)`` has changed: no version of the contract records that."""

from collections.abc import Iterable, Mapping

import msgspec

from sluice.contract import Contract
from sluice.contract.columns import Column
from sluice.store.table_declaration import TableDeclaration


def unrecorded_renames(
    contract: Contract,
    columns: Iterable[Column],
    live: TableDeclaration,
    declared: TableDeclaration,
    former: Iterable[str],
) -> Mapping[str, str]:
    """Missing column → the column of the live table that it seems to have been.

    That is one of the same type which the contract does not have, if it also has the same comment,
    or if every version requires the missing field.

    Args:
        live: the declaration of the table, after the renames that the versions record.
        declared: the declaration of the contract's table.
        former: the older names of columns that the versions record.
    """
    fields = {f.encode_name: f for f in msgspec.structs.fields(contract.message)}
    added = {field for version in contract.versions for field in version.added}
    always = {
        column.name
        for column in columns
        if fields[column.path[0]].required and fields[column.path[0]].name not in added
    }
    unknown = [n for n in live.columns if n not in declared.columns and n not in set(former)]
    renames: dict[str, str] = {}
    for name, column in declared.columns.items():
        if name in live.columns or name in live.aliases:
            continue
        for old in unknown:
            before = live.columns[old]
            described = bool(column.comment) and before.comment == column.comment
            if before.type == column.type and (described or name in always):
                renames[name] = old
                unknown.remove(old)
                break
    return renames
