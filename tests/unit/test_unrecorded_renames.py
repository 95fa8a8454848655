"""Columns that a table has and its contract does not: renamed without a record, or not."""

from datetime import date
from typing import Annotated, Any

import pytest
from msgspec import Struct

from sluice.contract import Version, column
from sluice.contract.columns import columns_of
from sluice.store.table_declaration import DeclaredColumn, TableDeclaration
from sluice.store.unrecorded_renames import unrecorded_renames
from tests.contracts import contract_of

DAY = date(2026, 1, 1)
FIRST = Version(name="1.0", released=DAY)


def table(**columns: tuple[str, str]) -> TableDeclaration:
    """A table; column → type and comment."""
    declared = {
        name: DeclaredColumn(type_, "", comment, "", "")
        for name, (type_, comment) in columns.items()
    }
    return TableDeclaration(declared, {}, {}, {}, {})


class Sale(Struct, frozen=True):
    """A sale.

    Attributes:
        total: what was paid.
    """

    id: str
    currency: Annotated[str, column(name="money")]
    total: str = ""


DECLARED = table(id=("String", ""), money=("String", ""), total=("String", "what was paid."))


def lift(message: dict[str, Any]) -> dict[str, Any]:
    return message


@pytest.mark.parametrize(
    ("versions", "live", "found"),
    [
        ((FIRST,), table(id=("String", ""), currency_=("String", "")), {"money": "currency_"}),
        (
            (FIRST,),
            table(id=("String", ""), money=("String", ""), sum=("String", "what was paid.")),
            {"total": "sum"},
        ),
        ((FIRST,), table(id=("String", ""), money=("String", ""), sum=("String", "")), {}),
        ((FIRST,), table(id=("String", ""), other=("Int64", "")), {}),
        (
            (FIRST, Version(name="2.0", released=DAY, removed=("code",), lift=lift)),
            table(id=("String", ""), code=("String", "")),
            {},
        ),
        (
            (FIRST, Version(name="2.0", released=DAY, removed=("sum",), added={"total": ""})),
            table(id=("String", ""), money=("String", ""), sum=("String", "what was paid.")),
            {},
        ),
    ],
    ids=["required", "comment", "no comment", "other type", "lifted", "added and removed"],
)
def test_a_rename_is_suspected_only_where_no_version_says_otherwise(
    versions: tuple[Version, ...], live: TableDeclaration, found: dict[str, str]
) -> None:
    contract = contract_of(Sale, versions=versions)
    columns = columns_of(Sale)
    assert unrecorded_renames(contract, columns, live, DECLARED, ()) == found
