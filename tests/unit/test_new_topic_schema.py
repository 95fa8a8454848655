"""What is made of a JSON Schema."""

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
from sluice.errors import ContractError, Refusal
from tests.new_topics import Written, from_schema, line_of, object_schema, source, types_of


@pytest.mark.parametrize(
    ("struct", "contract"), [(OrderEventMessage, orders), (PaymentMessage, payments)]
)
def test_what_msgspec_says_of_a_contract_comes_back(
    struct: Any, contract: Contract, written: Written
) -> None:
    again = written(from_schema(msgspec.json.schema(struct)))
    # A schema has no columns of one's own, and msgspec gives times no format.
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


def test_what_pydantic_says_of_a_model_becomes_a_contract(written: Written) -> None:
    found = from_schema(Model.model_json_schema())
    contract = written(found)
    assert types_of(contract) == {
        "thing_id": "UUID",
        "at": "DateTime64(3, 'UTC')",
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
    assert found.told == ("tags: messages with null here are refused, since a list cannot be null",)
    model = Model(thing_id=UUID(int=1), at=datetime(2026, 1, 1, tzinfo=UTC), size=3)
    value = model.model_dump_json(exclude={"tags"}).encode()
    assert not isinstance(Decoder(contract).decode(value), Refusal)


def test_a_registry_s_answer_is_read() -> None:
    inner = msgspec.json.encode(object_schema()).decode()
    answer = {"subject": "things-value", "version": 3, "id": 8, "schema": inner}
    found = read_schema(
        msgspec.json.encode(answer | {"schemaType": "JSON"}), "things", SkippedFields(())
    )
    assert [field.key for field in found.message.fields] == ["id"]
    with pytest.raises(ContractError, match="of type AVRO, not JSON"):
        read_schema(msgspec.json.encode(answer), "things", SkippedFields(()))


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
def test_a_schema_s_types(schema: Any, declared: str) -> None:
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
    ("schema", "words"),
    [
        ({}, "field 'f': its type is not known"),
        (True, "field 'f': its type is not known"),
        ({"type": "null"}, "field 'f': type 'null' has no column"),
        ({"type": ["string", "integer"]}, "field 'f': a union of several types"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "field 'f': a union of several"),
        ({"type": "array"}, r"field 'f\[\]': its type is not known"),
        ({"type": "array", "items": {"not": {}}}, r"'f\[\]': a contract cannot express 'not'"),
        (
            {"type": "array", "prefixItems": [{}]},
            "field 'f': a contract cannot express 'prefixItems'",
        ),
        ({"type": "object"}, "field 'f{}': its type is not known"),
        ({"type": "object", "patternProperties": {}}, "cannot express 'patternProperties'"),
        ({"allOf": [{}, {}]}, "cannot express 'allOf' of several schemas"),
        ({"enum": ["a", 1]}, "neither all strings nor all integers"),
        ({"enum": "a"}, "'enum' must be a list"),
        ({"$ref": "other.json#/a"}, "is in another document"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "#/$defs/Node"}, r"field 'f.below\[\]': #/\$defs/Node contains itself"),
        ({"type": "string", "pattern": r"\p{L}"}, "field 'f': Python cannot read its pattern"),
        ({"type": "string", "minLength": -1}, "field 'f': minLength cannot be -1"),
        ({"type": "integer", "minimum": 0.5}, "field 'f': minimum cannot be 0.5"),
        ({"type": "integer", "exclusiveMinimum": True}, "exclusiveMinimum cannot be True"),
        ({"type": "integer", "maximum": 10**90}, "field 'f': no column holds integers that big"),
        (
            {"type": "object", "properties": {"g": {"items": {}}}},
            r"field 'f.g\[\]': its type is not known; .*; --skip-field f.g leaves it out",
        ),
    ],
)
def test_what_a_contract_cannot_express_is_an_error_naming_the_path(
    schema: Any, words: str
) -> None:
    node = {"type": "object", "properties": {"below": {"items": {"$ref": "#/$defs/Node"}}}}
    with pytest.raises(ContractError, match=words):
        from_schema(object_schema(f=schema) | {"$defs": {"Node": node}})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "the schema is not JSON"),
        (b"[]", "the schema is not a JSON object"),
        (b'{"type":"string"}', "not of an object with properties"),
        (b'{"type":"object","properties":{}}', "the message: it has no properties"),
        (b'{"properties":{"a":{}},"required":3}', "'required' must be a list"),
    ],
)
def test_what_is_no_schema_of_a_message_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        read_schema(data, "things", SkippedFields(()))


def test_a_skipped_property_is_not_even_read() -> None:
    found = from_schema(object_schema(f={"not": {}}), "f")
    assert [field.key for field in found.message.fields] == ["id"]
    assert "field 'f' is left out" in found.message.reviews[0]
