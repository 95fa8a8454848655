"""Schema evolution: older versions stay readable, and changes that break them are refused."""

import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from include.schemas.orders import contract as orders
from sluice.authoring.examples import example_message
from sluice.authoring.version_samples import (
    sample_path,
    samples_folder,
    unreadable_versions,
    write_missing,
)
from sluice.contract import Contract, Version, column, discover
from sluice.contract.versions import CANNOT_LIFT, version_class
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Reason, Refusal
from tests.contracts import contract_of

DAY = date(2026, 1, 1)


class Person(Struct, frozen=True, kw_only=True):
    id: str
    full_name: Annotated[str, Meta(max_length=10)]
    city: str
    score: Annotated[Decimal, column("Decimal(38, 30)")]
    notes: str = ""


def split_place(message: dict[str, Any]) -> dict[str, Any]:
    """2.0 had `place`, such as "Aarhus, DK"; since 3.0 there is only the city."""
    message["city"] = message.pop("place").split(",")[0]
    return message


people = contract_of(
    Person,
    versions=(
        Version(name="1.0", released=DAY),
        Version(name="1.1", released=DAY, added={"place": "nowhere, -"}),
        Version(name="2.0", released=DAY, renamed={"name": "full_name"}, removed=("age",)),
        Version(name="3.0", released=DAY, removed=("place",), lift=split_place),
        Version(name="3.1", released=DAY, added={"score": Decimal(1)}),
    ),
)


class Renamed(Struct, frozen=True, kw_only=True):
    id: str
    label: str = "none"
    size: int


renamed = contract_of(
    Renamed,
    versions=(
        Version(name="1.0", released=DAY),
        Version(name="2.0", released=DAY, renamed={"title": "label", "length": "size"}),
    ),
)


def read(contract: Contract, data: bytes, version: str = "") -> tuple[Struct, str]:
    decoded = Decoder(contract).decode(data, version)
    assert not isinstance(decoded, Refusal), decoded
    return decoded


def refuse(contract: Contract, data: bytes, version: str = "") -> Refusal:
    refusal = Decoder(contract).decode(data, version)
    assert isinstance(refusal, Refusal), refusal
    return refusal


@pytest.mark.parametrize(
    ("version", "data", "city", "score"),
    [
        ("1.0", b'{"id":"a","name":"Ada","age":3}', "nowhere", "1"),
        ("1.1", b'{"id":"a","name":"Ada","age":3,"place":"Aarhus, DK"}', "Aarhus", "1"),
        ("2.0", b'{"id":"a","full_name":"Ada","place":"Aarhus, DK"}', "Aarhus", "1"),
        ("3.0", b'{"id":"a","full_name":"Ada","city":"Aarhus"}', "Aarhus", "1"),
        (
            "3.1",
            b'{"id":"a","full_name":"Ada","city":"Aarhus","score":0.1234567890123456789012}',
            "Aarhus",
            "0.1234567890123456789012",
        ),
    ],
)
def test_a_message_passes_through_the_steps_of_every_version_after_its_own(
    version: str, data: bytes, city: str, score: str
) -> None:
    message, read_as = read(people, data, version)
    assert read_as == version
    expected = Person(id="a", full_name="Ada", city=city, score=Decimal(score))
    assert msgspec.json.encode(message) == msgspec.json.encode(expected)


def test_the_version_of_a_lifted_message_is_inferred_from_its_fields() -> None:
    assert read(people, b'{"id":"a","full_name":"Ada","place":"Aarhus, DK"}')[1] == "2.0"
    assert read(people, b'{"id":"a","full_name":"Ada","city":"Aarhus"}')[1] == "3.0"
    assert read(people, b'{"id":"a","name":"Ada","place":"Aarhus, DK"}')[1] == "1.1"


def test_a_number_keeps_its_digits_through_a_lift() -> None:
    data = b'{"id":"a","full_name":"Ada","place":"x,","score":0.1234567890123456789012}'
    message, _ = read(people, data, "2.0")
    assert isinstance(message, Person)
    assert message.score == Decimal("0.1234567890123456789012")


def test_the_refusal_of_a_failed_lift_contains_its_exception() -> None:
    refusal = refuse(people, b'{"id":"a","full_name":"Ada"}', "2.0")
    assert refusal.message == f"{CANNOT_LIFT}3.0: KeyError: 'place'"


@pytest.mark.parametrize("number", ["1e99999999999999999999", "-1e400", "1e309"])
def test_a_number_beyond_the_range_of_floats_is_refused_through_a_lift_too(number: str) -> None:
    """Fuzzing found two defects here: an exception, and a value that was loaded as infinity."""
    data = f'{{"id":"a","full_name":"Ada","place":"x,","score":{number}}}'.encode()
    for version in ("2.0", ""):
        assert refuse(people, data, version).reason in (Reason.OUT_OF_RANGE, Reason.WRONG_TYPE)


def test_the_refusal_of_an_invalid_current_message_ignores_lifts_that_do_not_fit() -> None:
    refusal = refuse(people, b'{"id":"a","full_name":"Ada","city":"x","score":"y"}')
    assert (refusal.field, refusal.version) == ("score", "3.1")


def test_bounds_are_checked_after_a_lift() -> None:
    refusal = refuse(people, b'{"id":"a","full_name":"Ada Lovelace","place":"x,"}', "2.0")
    assert (refusal.reason, refusal.field) == (Reason.OUT_OF_RANGE, "full_name")


def test_a_renamed_field_is_read_under_its_older_name_and_written_under_its_new_one() -> None:
    for data in (b'{"id":"a","title":"T","length":3}', b'{"id":"a","label":"T","size":3}'):
        message, _ = read(renamed, data)
        assert type(message) is Renamed
        assert msgspec.json.encode(message) == b'{"id":"a","label":"T","size":3}'
    assert read(renamed, b'{"id":"a","title":"T","length":3}')[1] == "1.0"
    assert read(renamed, b'{"id":"a","length":3}')[0] == Renamed(id="a", size=3)
    assert read(renamed, b'{"id":"a","length":3}')[1] == "1.0"


def test_the_refusal_of_an_older_message_uses_the_field_names_of_its_version() -> None:
    refusal = refuse(renamed, b'{"id":"a","length":"three"}')
    assert (refusal.field, refusal.version) == ("length", "1.0")


def test_an_old_consumer_reads_new_messages() -> None:
    """Minor versions only add fields, so the Struct of 1.0 reads messages of 1.2."""
    newest = msgspec.json.encode(example_message(orders, Random(1)))
    for version in orders.versions:
        older = msgspec.json.decode(newest, type=version_class(orders, version))
        assert set(older.__struct_fields__) == set(version_class(orders, version).__struct_fields__)
    oldest = version_class(orders, orders.versions[0])
    assert "customer_email" not in oldest.__struct_fields__
    assert "title" in {
        f.encode_name for f in msgspec.structs.fields(version_class(renamed, renamed.versions[0]))
    }


def test_every_released_version_of_every_contract_stays_readable() -> None:
    """`make check` runs this check too."""
    contracts = discover()
    assert set(contracts) >= {"orders", "payments"}
    for contract in contracts.values():
        assert list(unreadable_versions(contract, samples_folder())) == []


def test_samples_are_written_once(tmp_path: Path) -> None:
    assert [p.stem for p in write_missing(orders, tmp_path)] == ["1.0", "1.1", "1.2"]
    assert write_missing(orders, tmp_path) == []
    assert list(unreadable_versions(orders, tmp_path)) == []


class Grown(Struct, frozen=True):
    id: str
    colour: str


ADD = r'add Version\(name="1.1", released=<today>, added=\{"colour": <value>\}\)'
LIFT = r'a change of type or bounds needs Version\(name="2.0"'


@pytest.mark.parametrize(
    ("sample", "pattern"), [(b'{"id":"a"}', ADD), (b'{"id":"a","colour":1}', LIFT)]
)
def test_a_change_that_breaks_older_messages_is_reported_with_its_remedy(
    tmp_path: Path, sample: bytes, pattern: str
) -> None:
    contract = contract_of(Grown)
    path = sample_path(contract, contract.version, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(sample)
    (problem,) = unreadable_versions(contract, tmp_path)
    assert re.search(pattern, problem), problem


def test_a_version_cannot_be_dropped_from_a_contract(tmp_path: Path) -> None:
    write_missing(orders, tmp_path)
    path = tmp_path / "orders" / "1.2.json"
    path.rename(tmp_path / "orders" / "0.9.json")
    without_sample, without_version = unreadable_versions(orders, tmp_path)
    assert "version 1.2" in without_sample
    assert "version 0.9" in without_version


@pytest.mark.parametrize(
    ("version", "field", "keyword"),
    [
        (Version(name="1.1", released=DAY, renamed={"title": "label"}), "", "version 2.0"),
        (Version(name="1.1", released=DAY, removed=("old",)), "", "version 2.0"),
        (Version(name="2.0", released=DAY, renamed={"title": "nope"}), "nope", "renames"),
        (Version(name="2.0", released=DAY, renamed={"id": "label"}), "id", "renames"),
        (Version(name="2.0", released=DAY, removed=("id",)), "id", "removes"),
        (Version(name="2.0", released=DAY, added={"label": "x"}), "label", "default"),
    ],
)
def test_versions_that_contradict_the_message_are_refused(
    version: Version, field: str, keyword: str
) -> None:
    with pytest.raises(ContractError, match=keyword) as raised:
        contract_of(Renamed, versions=(Version(name="1.0", released=DAY), version))
    assert (raised.value.topic, raised.value.field) == ("things", field)


@pytest.mark.parametrize("filling", [0, None, True, "", 1.5, "text", ()])
def test_a_message_that_contains_the_filling_value_is_not_one_that_lacks_the_field(
    filling: Any,
) -> None:
    """The filling may be the same object as the decoded value, so identity cannot decide."""
    kinds: dict[type, Any] = {type(None): int | None, tuple: tuple[int, ...]}
    kind = kinds.get(type(filling), type(filling))
    struct = msgspec.defstruct(
        "Filled",
        [("id", int), ("first_added", kind), ("second_added", kind)],
        frozen=True,
        rename="camel",
    )
    contract = contract_of(
        struct,
        versions=(
            Version(name="1.0", released=DAY),
            Version(name="1.1", released=DAY, added={"first_added": filling}),
            Version(name="1.2", released=DAY, added={"second_added": filling}),
        ),
    )
    value, filled = msgspec.json.encode(filling), (1, filling, filling)
    for data, expected in (
        (b'{"id":1}', "1.0"),
        (b'{"id":1,"firstAdded":' + value + b"}", "1.1"),
        (b'{"id":1,"firstAdded":' + value + b',"secondAdded":' + value + b"}", "1.2"),
    ):
        message, version = read(contract, data)
        assert (msgspec.structs.astuple(message), version) == (filled, expected)
    refusal = refuse(contract, b'{"id":1,"secondAdded":' + value + b"}")
    assert (refusal.reason, refusal.field) == (Reason.MISSING_FIELD, "firstAdded")
    escaped = b'{"id":1,"second\\u0041dded":' + value + b"}"
    assert refuse(contract, escaped).field == "firstAdded"


class Checked(Struct, frozen=True):
    id: int
    size: int

    def __post_init__(self) -> None:
        if self.size > 10:
            raise ValueError("too large")


def test_a_check_of_the_class_sees_the_filling_value() -> None:
    contract = contract_of(
        Checked,
        versions=(
            Version(name="1.0", released=DAY),
            Version(name="1.1", released=DAY, added={"size": 3}),
        ),
    )
    message, version = read(contract, b'{"id":1}')
    assert isinstance(message, Checked)
    assert (message.size, version) == (3, "1.0")
    assert refuse(contract, b'{"id":1,"size":11}').message == "too large"
    assert refuse(contract, b'{"id":1,"size":11}', "1.0").message == "too large"


def infinite(message: dict[str, Any]) -> dict[str, Any]:
    message["value"] = float(message["value"])
    return message


class Measured(Struct, frozen=True):
    id: int
    value: float
    at: datetime


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"id":1,"value":"inf","at":"2026-01-01T00:00:00Z"}', "value"),
        (b'{"id":1,"value":"1","at":"2026-01-01T00:00:00.1234567Z"}', "at"),
    ],
)
def test_what_a_lift_returns_is_checked_as_an_object(data: bytes, field: str) -> None:
    contract = contract_of(
        Measured,
        versions=(
            Version(name="1.0", released=DAY),
            Version(name="2.0", released=DAY, lift=infinite),
        ),
    )
    refusal = refuse(contract, data, "1.0")
    assert (refusal.reason, refusal.field) == (Reason.OUT_OF_RANGE, field)
    assert read(contract, b'{"id":1,"value":"1","at":"2026-01-01T00:00:00Z"}', "1.0")[1] == "1.0"


def test_a_renamed_field_of_a_class_with_encoded_names_is_lifted_under_its_encoded_name() -> None:
    class Camel(Struct, frozen=True, rename="camel"):
        id: int
        full_name: str

    contract = contract_of(
        Camel,
        versions=(
            Version(name="1.0", released=DAY),
            Version(name="2.0", released=DAY, renamed={"name": "full_name"}, lift=dict),
        ),
    )
    assert read(contract, b'{"id":1,"name":"A"}', "1.0")[0] == Camel(1, "A")


class Cut(Struct, frozen=True):
    id: int
    at: Annotated[datetime, column(truncate=True)]


def test_a_time_that_a_lift_returns_is_cut_too() -> None:
    versions = (
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(
            name="2.0",
            released=date(2026, 1, 1),
            lift=lambda message: {"id": message["id"], "at": message["when"]["t"]},
        ),
    )
    data = b'{"id": 1, "when": {"t": "2026-12-31T23:59:59.999999999Z"}}'
    message, version = read(contract_of(Cut, versions=versions), data)
    assert (message.at.year, version) == (2026, "1.0")  # type: ignore[attr-defined]


@pytest.mark.parametrize("junk", [b"9" * 5000, b"1e9999999", b'"\xff"', b'{"a": [1e9999999]}'])
def test_a_time_is_cut_beside_a_field_that_the_contract_does_not_have(junk: bytes) -> None:
    data = b'{"id": 1, "at": "2026-12-31T23:59:59.9999999Z", "other": ' + junk + b"}"
    message, _ = read(contract_of(Cut), data)
    assert message.at.year == 2026  # type: ignore[attr-defined]
