from datetime import date

import msgspec
import pytest
from msgspec import Struct

from include.schemas.orders import contract as orders
from sluice.authoring.lint import lint
from sluice.contract import Version, discover
from tests.contracts import contract_of


@pytest.mark.parametrize("topic", list(discover()))
def test_the_project_s_schemas_are_documented(topic: str) -> None:
    assert lint(discover()[topic]) == []


class Inner(Struct, frozen=True):
    """Part of a thing.

    Attributes:
        a: known.
        gone: no longer there.
    """

    a: int
    b: int


class Thing(Struct, frozen=True):
    """A thing.

    Purpose:
        For tests.

    Version history:
        1.0: 2026-01-01. First version.

    Attributes:
        inners: parts.
    """

    inners: list[Inner]
    size: int


def test_every_gap_is_named() -> None:
    versions = [
        Version(name="1.0", released=date(2026, 1, 2)),
        Version(name="1.1", released=date(2026, 2, 1), added={"size": 0}),
    ]
    assert lint(contract_of(Thing, versions=versions)) == [
        "Thing: section 'Characteristics' is missing or empty",
        "Thing: section 'Compatibility' is missing or empty",
        "Thing: section 'Known issues' is missing or empty",
        "Thing: section 'Future changes' is missing or empty",
        "Thing: section 'Related contexts' is missing or empty",
        "Thing: version 1.1 has no entry in 'Version history'",
        "Thing: the history of 1.0 lacks its date 2026-01-02",
        "Thing: attribute 'size' is not documented",
        "Inner: attribute 'b' is not documented",
        "Inner: documents 'gone', which is not an attribute",
    ]


def test_a_version_without_history_is_a_gap() -> None:
    newer = Version(name="1.3", released=date(2026, 9, 9), added={})
    changed = msgspec.structs.replace(orders, versions=(*orders.versions, newer))
    assert lint(changed) == ["OrderEventMessage: version 1.3 has no entry in 'Version history'"]
