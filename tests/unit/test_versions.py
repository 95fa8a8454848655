"""Evolution: every older version is read as the current one, and what would break is refused."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from include.schemas.orders import contract as orders
from sluice.authoring.version_samples import (
    sample_path,
    samples_folder,
    unreadable_versions,
    write_missing,
)
from sluice.contract import Contract, Version, column, discover
from sluice.contract.versions import version_class
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError, Reason, Refusal
from tests.contracts import contract_of

DAY = date(2026, 1, 1)


class Person(Struct, frozen=True, kw_only=True):
    id: str
    full_name: Annotated[str, Meta(max_length=10)]
    city: str
    score: Annotated[Decimal, column("Decimal(38, 30)")]
    notes: str = ""


def split_place(message: dict[str, Any]) -> dict[str, Any]:
    """2.0 had `place`, such as "Aarhus, DK"; since 3.0 the city stands alone."""
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
    found = Decoder(contract).decode(data, version)
    assert not isinstance(found, Refusal), found
    return found


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
    message, named = read(people, data, version)
    assert named == version
    expected = Person(id="a", full_name="Ada", city=city, score=Decimal(score))
    assert msgspec.json.encode(message) == msgspec.json.encode(expected)


def test_the_version_of_a_lifted_message_is_also_told_from_its_shape() -> None:
    assert read(people, b'{"id":"a","full_name":"Ada","place":"Aarhus, DK"}')[1] == "2.0"
    assert read(people, b'{"id":"a","full_name":"Ada","city":"Aarhus"}')[1] == "3.0"
    assert read(people, b'{"id":"a","name":"Ada","place":"Aarhus, DK"}')[1] == "1.1"


def test_a_number_keeps_its_digits_through_a_lift() -> None:
    data = b'{"id":"a","full_name":"Ada","place":"x,","score":0.1234567890123456789012}'
    message, _ = read(people, data, "2.0")
    assert isinstance(message, Person)
    assert message.score == Decimal("0.1234567890123456789012")


def test_a_lift_that_fails_refuses_the_message_with_its_words() -> None:
    found = Decoder(people).decode(b'{"id":"a","full_name":"Ada"}', "2.0")
    assert isinstance(found, Refusal)
    assert found.message == "cannot be lifted to version 3.0: KeyError: 'place'"


@pytest.mark.parametrize("number", ["1e99999999999999999999", "-1e400", "1e309"])
def test_a_number_beyond_every_float_is_refused_through_a_lift_too(number: str) -> None:
    """Found by the fuzz run: once it raised, once it was loaded as infinity."""
    data = f'{{"id":"a","full_name":"Ada","place":"x,","score":{number}}}'.encode()
    for version in ("2.0", ""):
        found = Decoder(people).decode(data, version)
        assert isinstance(found, Refusal)
        assert found.reason in (Reason.OUT_OF_RANGE, Reason.WRONG_TYPE)


def test_a_broken_current_message_is_not_explained_by_a_lift_that_it_does_not_fit() -> None:
    found = Decoder(people).decode(b'{"id":"a","full_name":"Ada","city":"x","score":"y"}')
    assert isinstance(found, Refusal)
    assert (found.field, found.version) == ("score", "3.1")


def test_bounds_hold_after_a_lift() -> None:
    data = b'{"id":"a","full_name":"Ada Lovelace","place":"x,"}'
    found = Decoder(people).decode(data, "2.0")
    assert isinstance(found, Refusal)
    assert (found.reason, found.field) == (Reason.OUT_OF_RANGE, "full_name")


def test_a_renamed_field_is_read_under_its_older_name_and_written_under_its_new_one() -> None:
    for data in (b'{"id":"a","title":"T","length":3}', b'{"id":"a","label":"T","size":3}'):
        message, _ = read(renamed, data)
        assert type(message) is Renamed
        assert msgspec.json.encode(message) == b'{"id":"a","label":"T","size":3}'
    assert read(renamed, b'{"id":"a","title":"T","length":3}')[1] == "1.0"
    assert read(renamed, b'{"id":"a","length":3}')[0] == Renamed(id="a", size=3)
    assert read(renamed, b'{"id":"a","length":3}')[1] == "1.0"


def test_a_broken_older_message_is_explained_in_its_own_words() -> None:
    found = Decoder(renamed).decode(b'{"id":"a","length":"three"}')
    assert isinstance(found, Refusal)
    assert (found.field, found.version) == ("length", "1.0")


def test_an_old_consumer_reads_new_messages() -> None:
    """The downgrade reader: minor versions only add, so the Struct of 1.0 reads 1.2."""
    newest = msgspec.json.encode(orders.example(Random(1)))
    for version in orders.versions:
        older = msgspec.json.decode(newest, type=version_class(orders, version))
        assert set(older.__struct_fields__) == set(version_class(orders, version).__struct_fields__)
    oldest = version_class(orders, orders.versions[0])
    assert "customer_email" not in oldest.__struct_fields__
    assert "title" in {
        f.encode_name for f in msgspec.structs.fields(version_class(renamed, renamed.versions[0]))
    }


def test_every_released_version_of_every_contract_stays_readable() -> None:
    """The law of the contracts; `make check` runs it too."""
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
    ("sample", "words"), [(b'{"id":"a"}', ADD), (b'{"id":"a","colour":1}', LIFT)]
)
def test_a_change_that_older_messages_do_not_survive_is_named_with_its_remedy(
    tmp_path: Path, sample: bytes, words: str
) -> None:
    contract = contract_of(Grown)
    path = sample_path(contract, contract.version, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(sample)
    (problem,) = unreadable_versions(contract, tmp_path)
    assert re.search(words, problem), problem


def test_a_version_cannot_be_dropped_from_a_contract(tmp_path: Path) -> None:
    write_missing(orders, tmp_path)
    path = tmp_path / "orders" / "1.2.json"
    path.rename(tmp_path / "orders" / "0.9.json")
    problems = list(unreadable_versions(orders, tmp_path))
    assert "version 1.2 has no sample" in problems[0]
    assert "version 0.9, which the contract does not know any more" in problems[1]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (Version(name="1.1", released=DAY, renamed={"title": "label"}), "make it 2.0"),
        (Version(name="1.1", released=DAY, removed=("old",)), "make it 2.0"),
        (Version(name="2.0", released=DAY, renamed={"title": "nope"}), "'nope', no field"),
        (Version(name="2.0", released=DAY, renamed={"id": "label"}), "is there all the same"),
        (Version(name="2.0", released=DAY, removed=("id",)), "is there all the same"),
        (Version(name="2.0", released=DAY, added={"label": "x"}), "has a default in Renamed"),
    ],
)
def test_steps_that_contradict_the_message_are_refused(version: Version, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        contract_of(Renamed, versions=(Version(name="1.0", released=DAY), version))
