"""Contracts from a JSON Schema."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

from include.schemas.orders import OrderEventMessage
from include.schemas.orders import contract as orders
from include.schemas.payments import PaymentMessage
from include.schemas.payments import contract as payments
from sluice.authoring.lint import lint
from sluice.authoring.new_topic import trial
from sluice.authoring.new_topic.description import SkippedFields
from sluice.authoring.new_topic.json_schema import read_schema
from sluice.contract import Contract
from sluice.contract.columns import columns_of
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Refusal
from tests.new_topics import Written, from_schema, line_of, object_schema, source, types_of


@pytest.mark.parametrize(
    ("struct", "contract"), [(OrderEventMessage, orders), (PaymentMessage, payments)]
)
def test_the_schema_of_a_contract_gives_the_same_contract(
    struct: Any, contract: Contract, written: Written
) -> None:
    again = written(from_schema(msgspec.json.schema(struct)))
    # A schema has no column types, and msgspec writes no format for times.
    expected = {
        name: "String" if type_.startswith("DateTime64") else type_
        for name, type_ in types_of(contract).items()
    } | {"shipping_address_country": "String", "currency": "String", "amount": "Decimal(38, 9)"}
    assert types_of(again) == {name: expected[name] for name in types_of(contract)}
    assert lint(again) == []
    for mine, theirs in zip(columns_of(again.message), columns_of(struct), strict=True):
        assert mine.comment.rstrip(".") == theirs.comment.rstrip(".")
    assert again.message.__doc__ is not None
    words = "Consumed by analytics" if contract is orders else "Consumed by the finance reports"
    assert words in again.message.__doc__


class Colour(pydantic.BaseModel):
    """How it looks."""

    name: Literal["red", "blue"]
    shade: float | None = None


class Model(pydantic.BaseModel):
    """A thing, as a service publishes it."""

    thing_id: UUID = pydantic.Field(description="id of the thing")
    at: datetime
    size: int = pydantic.Field(ge=1, lt=10)
    colour: Colour | None = None
    colours: list[Colour] = []
    by_name: dict[str, int] = {}
    tags: list[str] | None = None
    kind: Literal["only"] = "only"
    contact: Annotated[str, pydantic.Field(json_schema_extra={"format": "email"})] = ""


def test_the_schema_of_a_pydantic_model_becomes_a_contract(written: Written) -> None:
    draft = from_schema(Model.model_json_schema())
    contract = written(draft)
    assert types_of(contract) == {
        "thing_id": "UUID",
        "at": "DateTime64(6, 'UTC')",
        "size": "Int64",
        "colour_given": "Bool",
        "colour_name": "LowCardinality(Nullable(String))",
        "colour_shade": "Nullable(Float64)",
        "colours": "Array(Tuple(`name` LowCardinality(String), `shade` Nullable(Float64)))",
        "by_name": "Map(String, Int64)",
        "tags": "Array(String)",
        "kind": "LowCardinality(String)",
        "contact": "String",
    }
    assert (contract.key, contract.table.order_by) == ("thing_id", ("at", "thing_id"))
    text = (written.folder / "things.py").read_text()
    assert "thing_id: id of the thing." in text
    assert "A thing, as a service publishes it." in text
    assert "size: Annotated[int, Meta(ge=1, lt=10)]" in text
    assert "# review: format 'email' is not checked" in text
    assert draft.notes == (
        "tags: messages with null here are refused, because a list cannot be null",
    )
    model = Model(thing_id=UUID(int=1), at=datetime(2026, 1, 1, tzinfo=UTC), size=3)
    value = model.model_dump_json(exclude={"tags"}).encode()
    assert not isinstance(Decoder(contract).decode(value), Refusal)


def test_the_response_of_a_registry_is_read() -> None:
    inner = msgspec.json.encode(object_schema()).decode()
    response = {"subject": "things-value", "version": 3, "id": 8, "schema": inner}
    draft = read_schema(
        msgspec.json.encode(response | {"schemaType": "JSON"}), "things", SkippedFields(())
    )
    assert [field.key for field in draft.message.fields] == ["id"]
    with pytest.raises(ContractError, match="AVRO, not JSON"):
        read_schema(msgspec.json.encode(response), "things", SkippedFields(()))


@pytest.mark.parametrize(
    ("schema", "declared"),
    [
        (
            {"type": "string", "minLength": 1, "maxLength": 9},
            "Annotated[str, Meta(min_length=1, max_length=9)]",
        ),
        ({"type": "string", "pattern": "^a$"}, 'Annotated[str, Meta(pattern="^a$")]'),
        (
            {"type": "integer", "minimum": 1.0, "exclusiveMaximum": 9},
            "Annotated[int, Meta(ge=1, lt=9)]",
        ),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": 0}, "Annotated[int, Meta(gt=0)]"),
        (
            {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
            'Annotated[int, Meta(ge=0), column("UInt64")]',
        ),
        ({"type": "integer", "multipleOf": 5}, "Annotated[int, Meta(multiple_of=5)]"),
        ({"type": "number", "exclusiveMinimum": 0}, "Annotated[float, Meta(gt=0.0)]"),
        ({"type": "number", "multipleOf": 0.01}, "float"),
        ({"type": ["integer", "number"]}, "float"),
        ({"type": ["string", "null"]}, "str | None"),
        ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, "bool | None"),
        ({"anyOf": [{"$ref": "#/$defs/Kind"}, {"type": "null"}]}, 'Literal["a", "b"] | None'),
        ({"allOf": [{"$ref": "#/$defs/Kind"}]}, 'Literal["a", "b"]'),
        ({"enum": ["a", None]}, 'Literal["a"] | None'),
        ({"const": 3}, "Literal[3]"),
        ({"type": "string", "format": "uuid"}, "UUID"),
        ({"type": "string", "format": "time"}, "time"),
        ({"type": "string", "format": "duration"}, "timedelta"),
        ({"type": "string", "format": "decimal"}, "Decimal"),
        ({"type": "string", "contentEncoding": "base64"}, "bytes"),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "Annotated[list[int], Meta(min_length=1)]",
        ),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "list[str | None]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "dict[str, float]"),
        (
            {"type": "object", "properties": {"a": {"const": "x"}}, "additionalProperties": False},
            "FMessage",
        ),
        ({"$ref": "#/$defs/a~1b"}, "ABMessage"),
    ],
)
def test_types_of_a_schema(schema: Any, declared: str) -> None:
    whole = object_schema(f=schema) | {
        "$defs": {
            "Kind": {"enum": ["a", "b"]},
            "a/b": {"type": "object", "properties": {"n": {"type": "integer"}}},
        }
    }
    text = source(from_schema(whole))
    assert line_of(text, "f") == f"f: {declared}"
    with trial.import_draft(text):
        pass


@pytest.mark.parametrize(
    ("schema", "field", "words"),
    [
        ({}, "f", "type is not known"),
        (True, "f", "type is not known"),
        ({"type": "null"}, "f", "type 'null'"),
        ({"type": ["string", "integer"]}, "f", "union"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "f", "union"),
        ({"type": "array"}, "f[]", "type is not known"),
        ({"type": "array", "items": {"not": {}}}, "f[]", "'not'"),
        ({"type": "array", "prefixItems": [{}]}, "f", "'prefixItems'"),
        ({"type": "object"}, "f{}", "type is not known"),
        ({"type": "object", "patternProperties": {}}, "f", "'patternProperties'"),
        ({"allOf": [{}, {}]}, "f", "type is not known"),
        ({"allOf": [{"type": "string"}, {"type": "boolean"}]}, "f", "contradict each other"),
        ({"enum": ["a", 1]}, "f", "neither all strings nor all 64-bit integers"),
        ({"enum": "a"}, "f", "'enum' must be a list"),
        ({"$ref": "other.json#/a"}, "f", "another document"),
        ({"$ref": "#/$defs/none"}, "f", "no target"),
        ({"$ref": "#/$defs/Node"}, "f.below[]", r"#/\$defs/Node contains itself"),
        ({"type": "string", "pattern": r"\p{L}"}, "f", "Python cannot compile its pattern"),
        ({"type": "string", "minLength": -1}, "f", "minLength cannot be -1"),
        ({"type": "integer", "minimum": 0.5}, "f", "minimum cannot be 0.5"),
        ({"type": "integer", "exclusiveMinimum": True}, "f", "exclusiveMinimum cannot be True"),
        ({"type": "integer", "maximum": 10**90}, "f", "too large for any column"),
        (
            {"type": "object", "properties": {"g": {"items": {}}}},
            "f.g[]",
            "--skip-field f.g leaves it out",
        ),
    ],
)
def test_a_schema_that_a_contract_cannot_express_is_refused(
    schema: Any, field: str, words: str
) -> None:
    node = {"type": "object", "properties": {"below": {"items": {"$ref": "#/$defs/Node"}}}}
    with pytest.raises(ContractError, match=words) as caught:
        from_schema(object_schema(f=schema) | {"$defs": {"Node": node}})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "the schema is not JSON"),
        (b"[]", "the schema is not a JSON object"),
        (b'{"type":"string"}', "does not describe an object with properties"),
        (b'{"type":"object","properties":{}}', "does not describe an object with properties"),
        (b'{"properties":{"a":{}},"required":3}', "'required' must be a list"),
    ],
)
def test_a_document_that_does_not_describe_messages_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        read_schema(data, "things", SkippedFields(()))


def test_a_skipped_property_is_not_even_read() -> None:
    draft = from_schema(object_schema(f={"not": {}}), "f")
    assert [field.key for field in draft.message.fields] == ["id"]
    assert "field 'f' is left out" in draft.message.reviews[0]
