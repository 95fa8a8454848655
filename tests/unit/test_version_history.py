"""Optional fields in the history of a contract's versions, and histories that cannot be."""

import json
from datetime import date
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from sluice.contract import Contract, Version
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Refusal
from tests.contracts import contract_of

DAY = date(2026, 1, 1)
FIRST = Version(name="1.0", released=DAY)


class Thing(Struct, frozen=True, kw_only=True):
    name: str
    size: int
    note: str = "n/a"
    tags: list[str] = []


class Small(Struct, frozen=True, kw_only=True):
    name: str
    note: str = "n/a"


def history(struct: type[Struct], *versions: Version) -> Contract:
    return contract_of(struct, versions=(FIRST, *versions))


def second(name: str = "1.1", **changes: Any) -> Version:
    return Version(name=name, released=DAY, **changes)


OLD, NEW = {"name": "a"}, {"name": "a", "size": 2}
NOTED = {"name": "a", "size": 2, "note": "x", "tags": ["t"]}


@pytest.mark.parametrize(
    "added", [{"size": 1}, {"size": 1, "note": "n/a"}, {"note": "n/a", "size": 1}]
)
@pytest.mark.parametrize(
    ("message", "version", "size", "note"),
    [(OLD, "1.0", 1, "n/a"), (NEW, "1.1", 2, "n/a"), (NOTED, "1.1", 2, "x")],
)
def test_an_optional_field_may_be_listed_or_not(
    added: dict[str, Any], message: dict[str, Any], version: str, size: int, note: str
) -> None:
    decoder = Decoder(history(Thing, second(added=added)))
    for bom in (b"", b"\xef\xbb\xbf"):
        decoded = decoder.decode(bom + json.dumps(message).encode())
        assert not isinstance(decoded, Refusal), decoded
        thing, read_as = decoded
        assert read_as == version
        assert (getattr(thing, "size"), getattr(thing, "note")) == (size, note)  # noqa: B009


@pytest.mark.parametrize("changes", [{"added": {"note": "n/a"}}, {}])
def test_a_version_that_only_adds_an_optional_field_is_told_by_the_field(
    changes: dict[str, Any],
) -> None:
    """Listed or not: what lacks the field counts as the older version."""
    decoder = Decoder(history(Small, second(**changes)))
    for bom in (b"", b"\xef\xbb\xbf"):
        old = decoder.decode(bom + b'{"name":"a"}')
        new = decoder.decode(bom + b'{"name":"a","note":"x"}')
        assert old == (Small(name="a"), "1.0") or old[1] == "1.0"  # type: ignore[index]
        assert msgspec.json.encode(old[0]) == b'{"name":"a","note":"n/a"}'  # type: ignore[index]
        assert new == (Small(name="a", note="x"), "1.1")
    assert decoder.decode(b'{"name":"a"}', "1.1") == (Small(name="a"), "1.1")


def test_several_versions_without_listed_changes_are_told_by_any_unlisted_field() -> None:
    contract = history(Thing, second(added={"size": 1}), second(name="1.2"), second(name="1.3"))
    decoder = Decoder(contract)
    versions = {
        "1.0": {"name": "a"},
        "1.1": {"name": "a", "size": 2},
        "1.3": {"name": "a", "size": 2, "tags": []},
    }
    for version, message in versions.items():
        decoded = decoder.decode(json.dumps(message).encode())
        assert not isinstance(decoded, Refusal)
        assert decoded[1] == version
    assert decoder.decode(b'{"name":"a","size":2,"note":"x"}')[1] == "1.3"  # type: ignore[index]


def test_a_major_version_without_listed_changes_is_not_guessed() -> None:
    decoder = Decoder(history(Small, second(name="2.0")))
    assert decoder.decode(b'{"name":"a"}') == (Small(name="a"), "2.0")


@pytest.mark.parametrize("changes", [{"added": {"note": "n/a"}}, {}])
def test_rows_older_than_an_optional_field_read_as_its_default(changes: dict[str, Any]) -> None:
    lines = ClickHouseSchemaMapper.of(history(Small, second(**changes))).column_lines()
    assert lines["note"] == "`note` String DEFAULT 'n/a'"


IMPOSSIBLE: list[tuple[list[Version], str, str]] = [
    ([second(added={"sise": 1})], "sise", "added={'size': 1}"),
    ([second(added={"other": 1, "size": 2})], "other", "added={'size': 2}"),
    ([second(added={"note": "x"})], "note", "added={'note': 'n/a'}"),
    ([second(added={"size": [1]})], "size", "added={'size': (1,)}"),
    ([second(added={"tags": [], "size": 1})], "tags", "added={'size': 1}"),
    (
        [second(added={"size": 1}), second(name="1.2", added={"size": 2})],
        "size",
        "so does version 1.2",
    ),
    ([second(renamed={"title": "name"})], "", 'name="2.0"'),
    ([second(name="2.0", renamed={"title": "nama"})], "nama", "renamed={'title': 'name'}"),
    ([second(name="2.0", renamed={"name": "size"})], "name", 'Version(name="2.0"'),
    ([second(name="2.0", renamed={"a": "size", "b": "size"})], "size", "renamed={'a': 'size'}"),
    (
        [second(name="2.0", renamed={"a": "size"}, added={"size": 1, "note": "n/a"})],
        "size",
        "added={'note': 'n/a'}",
    ),
    ([second(name="2.0", renamed={"a": "size"}, removed=("a", "b"))], "a", "removed=('b',)"),
    ([second(name="2.0", removed=("note", "b"))], "note", "removed=('b',)"),
    (
        [second(name="2.0", renamed={"a": "size"}), second(name="3.0", added={"size": 1})],
        "size",
        "`added` of version 3.0",
    ),
    ([second(name="1.0")], "", "1.0"),
    ([second(name="v2")], "", 'name="2.0"'),
    ([second(name="1.2.3")], "", 'name="1.2"'),
]


@pytest.mark.parametrize(("versions", "field", "right"), IMPOSSIBLE)
def test_an_impossible_history_is_refused_with_the_right_one(
    versions: list[Version], field: str, right: str
) -> None:
    with pytest.raises(ContractError) as raised:
        history(Thing, *versions)
    assert (raised.value.topic, raised.value.field) == ("things", field)
    assert right in raised.value.detail


def test_the_right_history_of_a_first_version_that_changes_something() -> None:
    with pytest.raises(ContractError, match=r"oldest first: 1\.0, 1\.1, 1\.10"):
        history(Thing, second(name="1.10"), second(added={"size": 1}))
    with pytest.raises(ContractError) as raised:
        contract_of(Thing, versions=(second(added={"size": 1}),))
    assert 'write Version(name="1.1", released=date(2026, 1, 1))' in raised.value.detail


def check_versions(contract: Contract, *messages: tuple[bytes, str]) -> None:
    """Messages that the decoder reads as being of a version."""
    decode = Decoder(contract).decode
    for data, version in messages:
        result = decode(data)
        assert not isinstance(result, Refusal), result
        assert result[1] == version, data


def test_the_version_of_a_message_does_not_depend_on_its_values() -> None:
    """The name of the field that 1.1 added may occur as a value, or in a nested object."""

    class Inner(Struct, frozen=True):
        note: str = ""

    class Noted(Struct, frozen=True, kw_only=True):
        id: str
        inner: Inner = Inner()
        note: str = "none"

    versions = (
        Version(name="1.0", released=DAY),
        Version(name="1.1", released=DAY, added={"note": "none"}),
    )
    check_versions(
        contract_of(Noted, versions=versions),
        (b'{"id": "a"}', "1.0"),
        (b'{"id": "note"}', "1.0"),
        (b'{"id": "a", "inner": {"note": "x"}}', "1.0"),
        (b'{"id": "a", "note": "none"}', "1.1"),
        (b'{"id": "note", "note": "x"}', "1.1"),
        (b'\xef\xbb\xbf{"id": "note"}', "1.0"),
    )


def test_the_version_between_two_others_does_not_depend_on_values_either() -> None:
    class Thrice(Struct, frozen=True, kw_only=True):
        id: int
        x: dict[str, int] = {}
        a: str = ""
        b: str = ""

    versions = (
        Version(name="1.0", released=DAY),
        Version(name="1.1", released=DAY, added={"a": ""}),
        Version(name="1.2", released=DAY, added={"b": ""}),
    )
    check_versions(
        contract_of(Thrice, versions=versions),
        (b'{"id": 1, "x": {"a": 1}}', "1.0"),
        (b'{"id": 1, "x": {"b": 1}}', "1.0"),
        (b'{"id": 1, "x": {"b": 1}, "a": ""}', "1.1"),
        (b'{"id": 1, "a": "", "b": ""}', "1.2"),
    )
