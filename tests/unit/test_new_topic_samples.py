"""Contracts from a sample of messages."""

from typing import Any

import msgspec
import pytest

from sluice.authoring.new_topic import sampling, trial
from sluice.authoring.new_topic.inference import SampledValue
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
        (["2026-01-01T00:00:00.000001Z"], "datetime"),
        (["2026-01-01T00:00:00.000001000Z"], "datetime"),
        (["2026-01-01T00:00:00.000000001Z"], "str"),
        ([0.5, 2**60], "float"),
        ([0.5, 2**60 + 1], "Decimal"),
        ([0.0000000001, 2**60 + 1], 'Annotated[Decimal, column("Decimal(38, 10)")]'),
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
        ([{f"k{n}": n / 2 if n % 2 else n} for n in range(20)], "dict[str, float]"),
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


def test_values_of_several_types_are_an_error_with_their_offsets() -> None:
    messages: list[dict[str, Any]] = [
        {"id": "1", "a": 1, "b": [{"c": 1}]},
        {"id": "2", "a": "x", "b": [{"c": []}]},
    ]
    with pytest.raises(ContractError) as caught:
        from_samples(messages)
    assert str(caught.value) == (
        "field 'a': its values have several types: int (partition 0, offset 0), str (partition 0,"
        " offset 1); --skip-field a leaves it out; field 'b[].c': its values have several types:"
        " int (partition 0, offset 0), list (partition 0, offset 1); --skip-field b.c leaves it out"
    )
    with pytest.raises(ContractError) as caught:
        from_samples(messages, "a")
    assert caught.value.field == "b[].c"


def test_a_message_without_fields_is_refused() -> None:
    with pytest.raises(ContractError, match="the message has no field that is not left out"):
        from_samples([{"a": 1}], "a")


def test_a_skipped_field_is_left_out_and_named() -> None:
    messages: list[dict[str, Any]] = [
        {"id": "1", "a": 1, "b": [{"c": 1, "d": 1}]},
        {"id": "2", "a": "x", "b": [{"c": [], "d": 2}]},
    ]
    text = source(from_samples(messages, "a", "b.c"))
    assert "    a:" not in text
    assert "    c:" not in text
    assert "# review: field 'a' is left out because of --skip-field" in text
    assert "# review: field 'b[].c' is left out because of --skip-field" in text


@pytest.mark.parametrize("infer", [from_samples, from_schema])
def test_an_unknown_field_cannot_be_skipped(infer: Any) -> None:
    data = [{"id": "1"}] if infer is from_samples else object_schema()
    with pytest.raises(ContractError, match="--skip-field") as caught:
        infer(data, "nope")
    assert caught.value.field == "nope"


def test_null_lists_are_in_the_notes_and_in_the_file() -> None:
    draft = from_samples([{"id": "1", "tags": [1], "m": {"1": [2]}}, {"id": "2", "tags": None}])
    review = "messages with null here are refused, because a list cannot be null"
    assert draft.notes == (f"tags is null in 1 of 2: {review}",)
    assert f"# review: {review}" in source(draft)
    notes = from_samples([{"id": "1", "m": {"1": [2], "2": None}, "n": [[1], None]}]).notes
    assert [line.split(":")[0] for line in notes] == ["m{}", "n[]"]


def test_the_trial_reports_which_sampled_messages_will_be_refused() -> None:
    messages: list[dict[str, Any]] = [{"id": "1", "tags": [1]}, {"id": "2", "tags": None}]
    sampled = [
        sampling.SampledMessage(SampledValue(m, 0, n), msgspec.json.encode(m), "")
        for n, m in enumerate(messages)
    ]
    with trial.import_draft(source(from_samples(messages))) as contract:
        [note] = trial.trial_notes(contract, sampled)
        assert note == (
            "1 of 2 sampled messages will be refused: wrong_type at tags, e.g. partition 0, offset"
            " 1: Expected `array`, got `null`"
        )
        assert trial.trial_notes(contract, sampled[:1]) == [
            "the contract reads every sampled message"
        ]


class Message:
    """A record of a broker."""

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


def test_messages_that_are_not_json_objects_are_counted_by_kind() -> None:
    sample = sampling.parse(
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
    assert [message.object.value for message in sample.messages] == [{"a": 1}, {"a": 2}]
    assert sample.others == {
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
    sample = sampling.parse([Message(b"{}", version) for version in versions])
    assert sampling.version_of(sample.messages) == name
