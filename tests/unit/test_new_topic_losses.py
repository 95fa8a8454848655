"""``new-topic`` drops nothing silently: schemas, patterns, names of files and tables."""

import json
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from sluice.authoring.new_topic import trial
from sluice.authoring.new_topic.description import (
    Draft,
    Field,
    Object,
    ProtobufClass,
    Scalar,
    SkippedFields,
)
from sluice.authoring.new_topic.hints import Hints
from sluice.authoring.new_topic.inference import SampledValue, infer
from sluice.authoring.new_topic.naming import LONGEST_NAME, module_name
from sluice.authoring.new_topic.target import claims_of
from sluice.cli.commands import new_topic as command
from sluice.cli.main import SluiceGroup
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.pattern_dialect import pattern_review
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Refusal
from tests.new_topics import Written, from_schema, imported, line_of, object_schema, source

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
POINT = {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]}


def declared(schema: Any, **root: Any) -> str:
    """The line of a field with a schema."""
    text = source(from_schema(object_schema(f=schema) | root))
    with trial.import_draft(text):
        pass
    return line_of(text, "f").removeprefix("f: ")


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"type": "string", "nullable": True}, "str | None"),
        ({"type": "string", "nullable": False}, "str"),
        ({"type": "string", "x-nullable": True}, "str | None"),
        ({"type": "string", "enum": ["a", "b"], "nullable": True}, 'Literal["a", "b"] | None'),
        ({"allOf": [{"$ref": "#/components/schemas/P"}], "nullable": True}, "PMessage | None"),
        ({"$ref": "#/components/schemas/P", "nullable": True}, "PMessage | None"),
        ({"$ref": "#/components/schemas/Null"}, "str | None"),
    ],
)
def test_what_openapi_marks_as_nullable_may_be_null(schema: Any, line: str) -> None:
    null = {"type": "string", "nullable": True}
    assert declared(schema, components={"schemas": {"P": POINT, "Null": null}}) == line


def test_an_openapi_message_with_null_is_read() -> None:
    draft = from_schema(object_schema(f={"type": "integer", "nullable": True}))
    with trial.import_draft(source(draft)) as contract:
        assert not isinstance(Decoder(contract).decode(b'{"id":"1","f":null}'), Refusal)


@pytest.mark.parametrize("further", [True, {}, STRING, {"type": "object"}])
def test_further_fields_that_are_data_are_in_the_notes_and_in_the_file(further: Any) -> None:
    schema = object_schema(f=POINT | {"additionalProperties": further})
    draft = from_schema(schema | {"additionalProperties": further})
    text = "fields beyond the named ones are data of this object, and are not stored"
    assert draft.notes == (
        f"f: {text} (additionalProperties)",
        f"the message: {text} (additionalProperties)",
    )
    assert source(draft).count(f"# review: {text}") == 2


def test_excluded_fields_are_in_the_file() -> None:
    draft = from_schema(object_schema() | {"additionalProperties": False})
    assert "# review: the schema excludes further fields" in source(draft)
    assert draft.notes == ()


def test_a_required_name_without_a_property_is_refused_or_has_the_type_of_further_ones() -> None:
    schema = object_schema() | {"required": ["id", "gone"]}
    with pytest.raises(
        ContractError, match=r"no property has its name.*--skip-field gone"
    ) as error:
        from_schema(schema)
    assert error.value.field == "gone"
    assert "field 'gone' is left out" in source(from_schema(schema, "gone"))
    typed = from_schema(schema | {"additionalProperties": INTEGER})
    assert line_of(source(typed), "gone") == "gone: int"


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, 'Literal["a", "b"]'),
        ({"anyOf": [{"enum": ["a"]}, {"enum": ["b", "a"]}]}, 'Literal["a", "b"]'),
        ({"oneOf": [{"const": "a", "title": "A"}, {"type": "null"}]}, 'Literal["a"] | None'),
        ({"oneOf": [{"const": 1}, {"$ref": "#/$defs/Two"}]}, "Literal[1, 2]"),
        ({"oneOf": [{"const": "a"}, {"enum": ["b", None]}]}, 'Literal["a", "b"] | None'),
        ({"enum": [1, 2.0, 1]}, "Literal[1, 2]"),
        ({"enum": [True, False]}, "bool"),
        ({"const": True}, "bool"),
        ({"enum": [0.5, 1]}, "float"),
        ({"type": "string", "enum": ["a", 1]}, 'Literal["a"]'),
        ({"enum": ["a", "b"], "const": "b"}, 'Literal["b"]'),
        ({"anyOf": [INTEGER, NUMBER]}, "float"),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, STRING]}, "str"),
        ({"anyOf": [STRING | {"format": "date"}, STRING | {"pattern": "^x"}]}, "str"),
        ({"anyOf": [INTEGER | {"minimum": 1}, NUMBER | {"maximum": -0.5}]}, "float"),
    ],
)
def test_constants_become_choices(schema: Any, line: str) -> None:
    assert declared(schema, **{"$defs": {"Two": {"const": 2}}}) == line


def test_an_enum_that_the_contract_does_not_check_is_in_the_file() -> None:
    text = source(from_schema(object_schema(a={"enum": [0.5, 1]}, b={"const": True})))
    assert "# review: 'enum' is not checked: 0.5, 1" in text
    assert "# review: it is always true, which is not checked" in text


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"$ref": "#/$defs/Short", "minLength": 2}, "Meta(min_length=2, max_length=5)"),
        ({"$ref": "#/definitions/Deep/properties/x"}, "int"),
        ({"$ref": "#/components/schemas/P"}, "PMessage"),
        ({"$ref": "#/$defs/Alias"}, "Annotated[str, Meta(max_length=5)]"),
        ({"$ref": "#short"}, "Annotated[str, Meta(max_length=5)]"),
        ({"$ref": "short.json"}, "Annotated[str, Meta(max_length=5)]"),
        ({"$ref": "https://example.com/root.json#/$defs/Short"}, "Meta(max_length=5)"),
        ({"$ref": "#/$defs/Several/allOf/1"}, "bool"),
    ],
)
def test_references_are_followed(schema: Any, line: str) -> None:
    short = {"type": "string", "maxLength": 5}
    found = declared(
        schema,
        **{
            "$id": "https://example.com/root.json",
            "$defs": {
                "Short": short | {"$anchor": "short", "$id": "short.json"},
                "Alias": {"$ref": "#/$defs/Short"},
                "Several": {"allOf": [{}, {"type": "boolean"}]},
            },
            "definitions": {"Deep": POINT},
            "components": {"schemas": {"P": POINT}},
        },
    )
    assert line in found


def test_keywords_beside_a_reference_add_to_it() -> None:
    """They replaced the referenced ones: properties were lost."""
    extended = {"$ref": "#/$defs/P", "properties": {"y": STRING}, "required": ["y"]}
    draft = from_schema(object_schema(f=extended) | {"$defs": {"P": POINT}})
    [_, field] = draft.message.fields
    names = {inner.key: inner.default for inner in field.type.fields}  # type: ignore[union-attr]
    assert names == {"y": msgspec.UNSET, "x": msgspec.UNSET}


def test_objects_of_all_of_are_merged() -> None:
    base = {"type": "object", "properties": {"id": STRING, "n": NUMBER}, "required": ["id"]}
    schema = {
        "allOf": [
            {"$ref": "#/$defs/Base"},
            {
                "properties": {
                    "n": {"type": "integer", "minimum": 1},
                    "extra": {"$ref": "#/$defs/P"},
                }
            },
            {"required": ["n"], "properties": {"n": {"maximum": 9}}},
        ],
        "properties": {"own": STRING},
        "$defs": {"Base": base, "P": POINT},
    }
    text = source(from_schema(schema))
    assert line_of(text, "id") == "id: str"
    assert line_of(text, "n") == "n: Annotated[int, Meta(ge=1, le=9)]"
    assert line_of(text, "own") == "own: str | None = None"
    assert line_of(text, "extra") == "extra: PMessage | None = None"
    assert "class ThingsMessage" in text


def test_a_definition_may_be_used_again_within_an_extension_of_it() -> None:
    extended = {"allOf": [{"$ref": "#/$defs/P"}, {"properties": {"next": {"$ref": "#/$defs/P"}}}]}
    draft = from_schema(object_schema(f=extended) | {"$defs": {"P": POINT}})
    assert "next: PMessage | None = None" in source(draft)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"type": "string"}, {"type": "integer"}, "'type': string and integer"),
        ({"enum": ["a"]}, {"enum": ["b"]}, "'enum': no value is in both"),
        ({"const": "a"}, {"enum": ["b"]}, "'enum'"),
        ({"type": "string", "format": "date"}, {"format": "date-time"}, "'format'"),
        (
            POINT | {"additionalProperties": False},
            {"properties": {"y": STRING}, "required": ["y"]},
            "'additionalProperties': false excludes 'y'",
        ),
    ],
)
def test_schemas_that_contradict_each_other_are_refused(one: Any, other: Any, words: str) -> None:
    with pytest.raises(ContractError, match="contradict each other") as error:
        from_schema(object_schema(f={"allOf": [one, other]}))
    assert error.value.field == "f"
    assert words in error.value.detail


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        (INTEGER, NUMBER, "int"),
        ({"type": ["string", "null"]}, {"type": "string"}, "str"),
        ({"type": ["string", "null"]}, {"type": ["null", "string"]}, "str | None"),
        ({"enum": ["a", "b"]}, {"enum": ["b", "c"]}, 'Literal["b"]'),
        ({"type": "integer", "multipleOf": 4}, {"multipleOf": 6}, "Meta(multiple_of=12)"),
        ({"type": "array", "items": INTEGER}, {"items": {"minimum": 0}}, "list[Annotated[int,"),
        ({"type": "object", "additionalProperties": NUMBER}, {}, "dict[str, float]"),
    ],
)
def test_both_schemas_of_a_value_hold(one: Any, other: Any, line: str) -> None:
    assert line in declared({"allOf": [one, other]})


@pytest.mark.parametrize(
    ("schema", "review"),
    [
        (STRING | {"x-mask": "yes"}, "keyword 'x-mask' is not understood"),
        (STRING | {"minimum": 1}, "'minimum' is not checked"),
        (STRING | {"nullable": "yes"}, "keyword 'nullable' is not understood"),
        (
            {"anyOf": [STRING | {"maxLength": 3}, STRING | {"pattern": "^x"}]},
            "'maxLength', 'pattern' of the options of 'anyOf' are not checked",
        ),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, STRING]}, "its known values are 'a'"),
        (POINT | {"unevaluatedProperties": STRING}, "fields beyond the named ones are data"),
        (STRING | {"contentEncoding": "base16"}, "contentEncoding 'base16' is not decoded"),
        (STRING | {"contentMediaType": "text/xml"}, "'contentMediaType' is not checked"),
        (INTEGER | {"format": "int32"}, "format 'int32' is not checked"),
        (NUMBER | {"format": "money"}, "format 'money' is not checked"),
        ({"enum": ["a"], "pattern": "a"}, "'pattern' is not checked"),
        (POINT | {"maxProperties": 2}, "'maxProperties' is not checked"),
        (
            POINT | {"oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
            "'oneOf' of required names",
        ),
        ({"type": "array", "items": STRING, "uniqueItems": True}, "'uniqueItems' is not checked"),
        (
            {"allOf": [STRING | {"pattern": "^a"}, {"pattern": "b$"}]},
            "a second pattern 'b$' is not checked",
        ),
        ({"type": "string", "format": "byte", "minLength": 2}, "limits on the text of a bytes"),
    ],
)
def test_what_a_contract_does_not_express_is_in_the_file(schema: Any, review: str) -> None:
    text = source(from_schema(object_schema(f=schema)))
    with trial.import_draft(text):
        pass
    assert f"# review: {review}" in text


def test_unknown_keywords_are_in_the_notes_once_each() -> None:
    fields = {f"f{n}": STRING | {"x-mask": n} for n in range(5)}
    schema = object_schema(**fields, g=POINT | {"then": {}}) | {"sometimes": ["id"]}
    assert from_schema(schema).notes == (
        "keyword 'sometimes' is not understood, and ignored (the message)",
        "keyword 'x-mask' is not understood, and ignored (f0, f1, f2 and 2 more)",
        "keyword 'then' is not understood, and ignored (g)",
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (object_schema() | {"oneOf": [POINT, {"properties": {"y": STRING}}]}, "union"),
        (object_schema() | {"enum": [{}]}, "not an object"),
        ({"openapi": "3.0.0", "components": {}}, "an OpenAPI document has several schemas"),
    ],
)
def test_the_message_itself_is_checked_like_its_fields(schema: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        from_schema(schema)


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"type": "number", "format": "decimal"}, "Decimal"),
        ({"type": "string", "format": "byte"}, "bytes"),
        ({"type": "integer", "format": "int64"}, "int"),
        ({"type": "integer", "format": "uint64"}, 'Annotated[int, column("UInt64")]'),
        ({"type": "number", "format": "double"}, "float"),
        (
            {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "exclusiveMaximum": False},
            "Annotated[int, Meta(gt=0)]",
        ),
    ],
)
def test_keywords_of_openapi(schema: Any, line: str) -> None:
    assert declared(schema) == line


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("^[a-z]{2}", ""),
        ("a.b|c+?", ""),
        (r"\\u", ""),
        (r"a\(\?a", ""),
        (r"(?a)\w\d", "RE2 lacks the flags a, u, x and L"),
        ("(?#x)a", "comments"),
        ("a{,3}", "'{,n}' repetitions"),
        ("[[:alpha:]]", "'[[:'"),
        (r"^\w+", r"differently from Python: '\w' outside ASCII"),
        (r"[\d-]", r"'\d' outside ASCII"),
        (r"(a|(b\s))", r"'\s' outside ASCII"),
        (r"\bx", r"'\b' outside ASCII"),
        ("a$", "'$' before a final newline"),
        ("(?=a)a", "RE2 lacks a lookaround"),
        ("(?<!a)b", "RE2 lacks a lookaround"),
        (r"(a)\1", "RE2 lacks a back reference"),
        (r"(a)?(?(1)b|c)", "a conditional group"),
        (r"a\Z", r"RE2 lacks '\Z'"),
        ("a++", "a possessive quantifier"),
        ("(?>a)", "an atomic group"),
        ("a{1001}", "more than 1,000 repetitions"),
        ("(a{2,2000})*", "more than 1,000 repetitions"),
        (r"\u00e9", "escapes of characters"),
    ],
)
def test_a_pattern_that_the_quality_gate_cannot_hold_is_reported(pattern: str, words: str) -> None:
    review = pattern_review(pattern)
    assert words in review if words else review == ""


def test_such_a_pattern_is_in_the_notes_and_in_the_file() -> None:
    draft = from_schema(object_schema(f={"type": "string", "pattern": r"^(?=\w)"}))
    [note] = draft.notes
    assert note.startswith("f: the quality rules cannot check its pattern")
    assert "# review: the quality rules cannot check its pattern" in source(draft)


def run(*arguments: str, answers: str = "") -> Result:
    group = SluiceGroup("sluice", commands={"new-topic": command.new_topic})
    result = CliRunner().invoke(group, ["new-topic", *arguments], input=answers)
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package of contracts that ``SLUICE_CONTRACTS`` names."""
    name = f"contracts_{uuid.uuid4().hex}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SLUICE_CONTRACTS", name)
    return folder


def write(topic: str, *arguments: str) -> Result:
    """Write a contract with the default answers."""
    return run(topic, *arguments, answers="\n" * 10)


@pytest.mark.parametrize(("first", "second"), [("a.b", "a_b"), ("Orders", "orders"), ("x", "x.")])
@pytest.mark.parametrize("in_package", [True, False])
def test_topics_with_one_file_name_never_overwrite_each_other(
    contracts: Path, tmp_path: Path, first: str, second: str, in_package: bool
) -> None:
    folder = contracts if in_package else tmp_path / "elsewhere"
    given = () if in_package else ("--output", str(folder))
    assert write(first, *given).exit_code == 0
    path = next(p for p in folder.glob("*.py") if p.name != "__init__.py")
    before = path.read_text()
    for force in ((), ("--force",)):
        refused = write(second, *given, *force)
        assert refused.exit_code == 1
        assert f"is the contract of topic {first!r}; choose another name with --module" in (
            refused.output
        )
    assert path.read_text() == before
    taken = write(second, *given, "--module", "other", "--table", path.stem)
    assert taken.exit_code == 1
    assert f"table {path.stem!r} is the one of topic {first!r}" in taken.output
    assert "--table" in taken.output
    written = write(second, *given, "--module", "other")
    assert written.exit_code == 0, written.output
    contract = imported(folder / "other.py")
    assert (contract.topic, contract.table.name) == (second, "other")


def test_module_and_table_can_be_named(contracts: Path) -> None:
    result = write("a.b", "--module", "chosen", "--table", "Rows_1")
    assert result.exit_code == 0, result.output
    contract = imported(contracts / "chosen.py")
    assert (contract.topic, contract.table.name) == ("a.b", "Rows_1")
    again = write("a.b", "--module", "chosen")
    assert "already exists; --force overwrites it" in again.output
    assert write("a.b", "--module", "chosen", "--force").exit_code == 0
    elsewhere = write("a.b")
    assert "is already its contract" in elsewhere.output
    case = write("c", "--module", "Chosen")
    assert "one file where names ignore case" in case.output


@pytest.mark.parametrize(
    "given",
    [
        ("--module", "no-module"),
        ("--module", "../x"),
        ("--module", "class"),
        ("--table", "a b"),
        ("--table", "a`b"),
        ("--table", "t" * (LONGEST_NAME + 1)),
    ],
)
def test_a_name_that_a_module_or_a_table_cannot_have_is_refused(
    contracts: Path, given: tuple[str, str]
) -> None:
    result = write("things", *given)
    assert result.exit_code == 1
    assert given[0] in result.output
    assert "letters, digits and underscores" in " ".join(result.output.split())


def test_a_file_whose_topic_is_not_in_its_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "things.py"
    path.write_text("contract = Contract(topic=name())")
    result = write("things", "--output", str(tmp_path), "--force")
    assert result.exit_code == 1
    assert "does not show the topic" in result.output
    path.write_text('send(topic="other")\nT = "things"\ncontract = Contract(topic=T)')
    assert claims_of(path).topics == {"things"}
    assert write("things", "--output", str(tmp_path), "--force").exit_code == 0


def test_topics_may_have_names_of_249_characters(contracts: Path) -> None:
    """The longest names that Kafka allows give names that files and tables can have."""
    one, other = "t" * 249, "t" * 248 + "u"
    for topic in (one, other):
        result = write(topic)
        assert result.exit_code == 0, result.output
    names = {module_name(topic) for topic in (one, other)}
    assert len(names) == 2
    for name in names:
        assert len(name) <= LONGEST_NAME
        contract = imported(contracts / f"{name}.py")
        assert contract.table.name == name
        assert ClickHouseSchemaMapper.of(contract, "cluster").stored_in == f"{name}_local"
    assert len(module_name("1" * 249)) <= LONGEST_NAME
    assert module_name("t" * 90) == "t" * 90
    with pytest.raises(ContractError, match="249"):
        module_name("t" * 250)


def test_without_clickhouse_the_command_says_so_and_writes_the_file(contracts: Path) -> None:
    result = write("things")
    assert result.exit_code == 0
    assert "the contract was not tried on ClickHouse" in result.output
    assert (contracts / "things.py").exists()


def test_a_clickhouse_that_cannot_be_reached_is_no_error(
    contracts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "clickhouse", "host": "127.0.0.1", "port": 9}
    monkeypatch.setenv("AIRFLOW_CONN_CLICKHOUSE_DEFAULT", json.dumps(connection))
    result = write("things")
    assert result.exit_code == 0, result.output
    assert "the contract was not tried on ClickHouse, which cannot be used" in result.output


def test_hints_of_a_schema_decide_what_a_sample_cannot_show(written: Written) -> None:
    values = [SampledValue({"id": "1", "by": {"a": 1}, "n": 1, "o": "x"}, 0, 0)]
    hints = Hints(frozenset({"by"}), frozenset({"n"}), frozenset({"o"}))
    contract = written(infer(values, "things", SkippedFields(()), hints))
    decoder = Decoder(contract)
    assert not isinstance(decoder.decode(b'{"id":"1","by":{"z":2},"n":null}'), Refusal)


@pytest.mark.parametrize(
    "protobuf",
    [
        ProtobufClass("things_pb2", "Thing"),
        ProtobufClass("shop.events.things_pb2", "Outer.Thing"),
        ProtobufClass(descriptors=bytes(range(256)), path=("shop.Thing",)),
        ProtobufClass(descriptors=bytes(range(256)), path=("shop.Outer", "Thing")),
    ],
)
def test_a_contract_with_a_protobuf_class_passes_the_linter(
    protobuf: ProtobufClass, written: Written
) -> None:
    fields = (Field(key="id", type=Scalar("UUID")), Field(key="n", type=Scalar("Decimal")))
    draft = Draft(message=Object("things", fields), protobuf=protobuf)
    (written.folder / "things.py").write_text(source(draft))
