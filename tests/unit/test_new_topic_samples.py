"""What is made of a sample of messages."""

from typing import Any

import msgspec
import pytest

from sluice.authoring.new_topic import sampling, trial
from sluice.authoring.new_topic.inference import Seen
from sluice.errors import ContractError
from tests.new_topics import from_samples, from_schema, line_of, object_schema, source


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        ([1, 2], "int"),
        ([1, 2.5], "float"),
        ([2.0], "float"),
        ([True], "bool"),
        (["x", ""], "str"),
        (["2026-01-01T00:00:00Z", "2026-01-01 00:00:00"], "datetime"),
        (
            ["2026-01-01T00:00:00.000001Z"],
            "Annotated[datetime, column(\"DateTime64(6, 'UTC')\")]",
        ),
        (["0001-01-01T00:00:00Z"], "str"),
        (["2026-01-01T00:00:00Z", "2026-01-01"], "str"),
        (["2026-01-01"], "date"),
        (["2026-01-01", ""], "str"),
        (["12345678-1234-5678-1234-567812345678"], "UUID"),
        (["12345678123456781234567812345678"], "str"),
        (["1.50"], "str"),
        ([2**63], 'Annotated[int, column("UInt64")]'),
        ([-1, 2**63], 'Annotated[int, column("Int128")]'),
        (["a", "b"] * 20, "Annotated[str, column(low_cardinality=True)]"),
        ([[1], [2.5], []], "list[float]"),
        ([["a", None]], "list[str | None]"),
        ([[[1]], []], "list[list[int]]"),
        ([[]], "list[str]"),
        ([{}], "dict[str, str]"),
        ([{"2026-01-01": 1}], "dict[str, int]"),
        ([{"1": 1, "2": None}], "dict[str, int | None]"),
        ([{f"k{n}": [n]} for n in range(20)], "dict[str, list[int]]"),
        ([{"a": 1}, {"a": 2}], "FMessage"),
        ([{f"k{n}": n if n % 2 else "x"} for n in range(20)], "FMessage"),
        ([[{"a": 1}]], "list[FMessage]"),
        ([1, None], "int | None = None"),
        ([None], "str | None = None"),
        ([{"a": 1}, None], "FMessage | None = None"),
        ([1, ...], "int | None = None"),
        ([[1], ...], "list[int] = []"),
        ([{"1": 1}, ...], "dict[str, int] = {}"),
        ([[1], None], "list[int]"),
        ([[{"a": 1}, None]], "list[FMessage | None]"),
    ],
)
def test_the_type_of_values(values: list[Any], declared: str) -> None:
    """``...`` stands for a message without the field."""
    messages = [
        {"id": f"a{n}"} | ({} if value is ... else {"f": value}) for n, value in enumerate(values)
    ]
    text = source(from_samples(messages))
    assert line_of(text, "f") == f"f: {declared}"


def test_values_of_several_types_are_an_error_that_tells_where() -> None:
    messages: list[dict[str, Any]] = [
        {"id": "1", "a": 1, "b": [{"c": 1}]},
        {"id": "2", "a": "x", "b": [{"c": []}]},
    ]
    with pytest.raises(ContractError) as caught:
        from_samples(messages)
    assert str(caught.value) == (
        "field 'a' is of several types: int (partition 0, offset 0), str (partition 0, offset 1);"
        " --skip-field a leaves it out; field 'b[].c' is of several types: int (partition 0,"
        " offset 0), list (partition 0, offset 1); --skip-field b.c leaves it out"
    )


def test_a_skipped_field_is_left_out_and_named() -> None:
    messages: list[dict[str, Any]] = [
        {"id": "1", "a": 1, "b": [{"c": 1, "d": 1}]},
        {"id": "2", "a": "x", "b": [{"c": [], "d": 2}]},
    ]
    text = source(from_samples(messages, "a", "b.c"))
    assert "    a:" not in text
    assert "    c:" not in text
    assert "# review: field 'a' is left out, as --skip-field asked" in text
    assert "# review: field 'b[].c' is left out, as --skip-field asked" in text


@pytest.mark.parametrize("way", [from_samples, from_schema])
def test_a_field_that_is_not_there_cannot_be_skipped(way: Any) -> None:
    given = [{"id": "1"}] if way is from_samples else object_schema()
    with pytest.raises(ContractError, match="--skip-field nope: there is no such field"):
        way(given, "nope")


def test_null_lists_are_told_and_marked() -> None:
    found = from_samples([{"id": "1", "tags": [1], "m": {"1": [2]}}, {"id": "2", "tags": None}])
    assert found.told == (
        "tags is null in 1 of 2: messages with null here are refused, since a list cannot be null",
    )
    text = source(found)
    assert "# review: messages with null here are refused, since a list cannot be null" in text
    told = from_samples([{"id": "1", "m": {"1": [2], "2": None}, "n": [[1], None]}]).told
    assert [line.split(":")[0] for line in told] == ["m{}", "n[]"]


def test_the_trial_tells_which_samples_will_be_refused() -> None:
    messages: list[dict[str, Any]] = [{"id": "1", "tags": [1]}, {"id": "2", "tags": None}]
    samples = [
        sampling.SampledMessage(Seen(m, 0, n), msgspec.json.encode(m), "")
        for n, m in enumerate(messages)
    ]
    with trial.import_draft(source(from_samples(messages))) as contract:
        told = trial.trial_notes(contract, samples)
        assert told == [
            (
                "1 of 2 sampled messages will be refused: wrong_type at tags, e.g. partition 0,"
                " offset 1: Expected `array`, got `null`"
            )
        ]
        assert trial.trial_notes(contract, samples[:1]) == [
            "every sampled message is read by the contract"
        ]


class Message:
    """What a broker gives, in so far as it is read here."""

    def __init__(self, value: bytes | None, version: str | None = None) -> None:
        self._value, self._version = value, version

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return [("schema_version", self._version.encode())] if self._version else None


def test_what_is_no_json_object_is_counted_by_its_kind() -> None:
    found = sampling.parse(
        [
            Message(b'{"a":1}'),
            Message(b'\x00\x00\x00\x00\x01{"a":2}'),
            Message(None),
            Message(b""),
            Message(b"[1]"),
            Message(b"nope"),
            Message(b"\xff\xfe{"),
            Message(b"\x00\x00\x00\x00\x01\x02\x04"),
            Message(b"[" * 5000),
        ]
    )
    assert [sample.seen.value for sample in found.samples] == [{"a": 1}, {"a": 2}]
    assert found.passed_over == {
        "tombstone": 1,
        "empty_value": 1,
        "not_an_object": 1,
        "not_json": 2,
        "bad_encoding": 1,
        "unknown_wire_format": 1,
    }


@pytest.mark.parametrize(
    ("versions", "name"),
    [([], "1.0"), (["1.3"], "1.0"), (["2.1", "2.4", "1.0"], "2.0"), (["three"], "1.0")],
)
def test_headers_decide_the_version(versions: list[str], name: str) -> None:
    found = sampling.parse([Message(b"{}", version) for version in versions])
    assert sampling.version_of(found.samples) == name
