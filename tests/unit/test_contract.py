from datetime import date
from typing import Any

import pytest
from msgspec import Struct

from sluice.contract import Breaker, Version, discover, find
from sluice.errors import ContractError
from tests.contracts import contract_of


class Thing(Struct, frozen=True):
    name: str
    size: int
    note: str = ""


class Loose(Struct):
    name: str


def versions(**added: Any) -> list[Version]:
    return [
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="1.1", released=date(2026, 2, 1), added=added),
    ]


@pytest.mark.parametrize(
    ("struct", "choices", "words"),
    [
        (Loose, {}, "Loose must be frozen"),
        (Thing, {"topic": "no spaces"}, "characters that Kafka does not allow"),
        (Thing, {"sensitive": frozenset({"nope"})}, "sensitive names no field of Thing: nope"),
        (Thing, {"versions": []}, "versions is empty"),
        (Thing, {"versions": versions(nope=1)}, "version 1.1 adds 'nope', no field of Thing"),
        (Thing, {"versions": versions(note="")}, "'note' has a default in Thing"),
        (Thing, {"versions": versions(size=[])}, "the value for 'size' must be immutable"),
        (Thing, {"versions": versions(size=1)[::-1]}, "oldest first"),
        (Thing, {"versions": versions(size=1)[1:]}, "the first version changes nothing"),
        (
            Thing,
            {"versions": [Version(name="one", released=date(2026, 1, 1))]},
            "'one' is not of the form major.minor",
        ),
    ],
)
def test_a_contract_that_cannot_work_is_refused_when_it_is_built(
    struct: type[Struct], choices: dict[str, Any], words: str
) -> None:
    with pytest.raises(ContractError, match=words):
        contract_of(struct, **choices)


def test_versions_are_numbers() -> None:
    nine, ten = (Version(name=n, released=date(2026, 1, 1)) for n in ("1.9", "1.10"))
    assert nine.number < ten.number


def test_the_breaker_needs_a_share_and_a_number() -> None:
    breaker = Breaker(max_refused_share=0.01, min_refused=100)
    assert not breaker.trips(99, 99)
    assert not breaker.trips(100, 10_000)
    assert breaker.trips(101, 10_000)


def test_the_project_s_contracts_are_found() -> None:
    assert list(discover()) == ["orders", "payments"]
    assert find("orders").version.name == "1.2"


def test_an_unknown_topic_names_the_known_ones() -> None:
    with pytest.raises(ContractError, match=r"no contract for topic 'nope'.*orders, payments"):
        find("nope")
