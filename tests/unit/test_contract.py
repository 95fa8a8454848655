from datetime import date
from typing import Any

import msgspec
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
    ("struct", "choices", "field", "keyword"),
    [
        (Loose, {}, "", "frozen"),
        (Thing, {"topic": "no spaces"}, "", "Kafka"),
        (Thing, {"sensitive": frozenset({"nope"})}, "nope", "sensitive"),
        (Thing, {"versions": []}, "", "empty"),
        (Thing, {"versions": versions(nope=1)}, "nope", "adds"),
        (Thing, {"versions": versions(note="x")}, "note", "default"),
        (Thing, {"versions": versions(size=[])}, "size", "immutable"),
        (Thing, {"versions": versions(size=1)[::-1]}, "", "oldest first"),
        (Thing, {"versions": versions(size=1)[1:]}, "", "first version"),
        (
            Thing,
            {"versions": [Version(name="one", released=date(2026, 1, 1))]},
            "",
            "major.minor",
        ),
    ],
)
def test_an_invalid_contract_is_refused_when_it_is_built(
    struct: type[Struct], choices: dict[str, Any], field: str, keyword: str
) -> None:
    with pytest.raises(ContractError, match=keyword) as raised:
        contract_of(struct, **choices)
    assert raised.value.topic == choices.get("topic", "things")
    assert raised.value.field == field


def test_versions_are_compared_as_numbers() -> None:
    nine, ten = (Version(name=n, released=date(2026, 1, 1)) for n in ("1.9", "1.10"))
    assert nine.number < ten.number


def test_the_breaker_trips_on_a_share_and_a_minimum_number() -> None:
    breaker = Breaker(max_refused_share=0.01, min_refused=100)
    assert not breaker.trips(99, 99)
    assert not breaker.trips(100, 10_000)
    assert breaker.trips(101, 10_000)


def test_the_contracts_of_the_project_are_discovered() -> None:
    assert {"orders", "payments"} <= discover().keys()
    assert list(discover()) == sorted(discover())
    assert find("orders").version.name == "1.2"


def test_the_error_of_an_unknown_topic_lists_the_known_ones() -> None:
    with pytest.raises(ContractError, match=", ".join(discover())) as raised:
        find("nope")
    assert raised.value.topic == "nope"


def test_schedules_without_a_minute_spread_over_the_hour() -> None:
    def cron(topic: str, schedule: str | None) -> str | None:
        return msgspec.structs.replace(find("orders"), topic=topic, schedule=schedule).cron

    minutes = {int((cron(f"topic-{n}", "@hourly") or "").split()[0]) for n in range(500)}
    assert minutes == set(range(60))
    assert cron("orders", "@hourly") == cron("orders", "@hourly")
    assert (cron("orders", "@daily") or "").split()[1:] == ["0", "*", "*", "*"]
    assert cron("orders", "5 * * * *") == "5 * * * *"
    assert cron("orders", None) is None
