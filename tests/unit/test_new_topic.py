"""The content of contract files, and the command that writes them."""

import json
import uuid
from datetime import date
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec import UNSET

from sluice.authoring.examples import example_message
from sluice.authoring.lint import lint
from sluice.authoring.new_topic import trial
from sluice.authoring.new_topic.description import (
    TO_BE_WRITTEN,
    Choice,
    DictOf,
    Draft,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
)
from sluice.cli.commands import new_topic as command
from sluice.cli.main import SluiceGroup
from sluice.contract.columns import columns_of
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Refusal
from tests.new_topics import (
    TODAY,
    Written,
    from_samples,
    from_schema,
    imported,
    object_schema,
    source,
    types_of,
)


def varied(count: int = 300) -> list[dict[str, Any]]:
    """Messages like those of a real topic: many types, gaps, and difficult names."""
    random = Random(1)
    messages = []
    for number in range(count):
        message: dict[str, Any] = {
            "order-id": f"o-{number:04}",
            "created_at": f"2026-01-02T03:04:{number % 60:02}.123456Z",
            "day": "2026-01-02",
            "uid": str(UUID(int=random.getrandbits(128), version=4)),
            "count": random.randrange(100),
            "price": random.choice([1, 2.5]),
            "ok": bool(number % 2),
            "class": random.choice(["a", "b"]),
            "größe": 1.5,
            "serial": 2**63 + number,
            "address": {"street": "x", "zip": None if number % 9 else "z"},
            "items": [
                {"sku": "s", "qty": 1, "tags": ["a", None], "date": None if n else "2026-01-01"}
                for n in range(number % 3)
            ],
            "labels": {f"k{random.randrange(500)}": number for _ in range(2)},
            "by_day": {"2026-01-01": 1.5},
            "empty": [],
            "nothing": None,
        }
        if number % 5 == 0:
            message["shipping"] = {"to": "x", "parts": [1, 2]}
        if number % 4 == 0:
            message |= {"list": [1], "date": "2026-01-01", "_topic_of": "t"}
        if number % 2 == 0 and message["items"]:
            message["items"][0]["tax"] = {"rate": 1.5}
        messages.append(message)
    return messages


def test_a_contract_from_samples_reads_them_all_and_is_documented(written: Written) -> None:
    messages = varied()
    contract = written(from_samples(messages, topic="shop.things.v1"), "shop.things.v1")
    assert lint(contract) == []
    assert (contract.topic, contract.table.name) == ("shop.things.v1", "shop_things_v1")
    assert contract.message.__name__ == "ShopThingsV1Message"
    assert [v.name for v in contract.versions] == ["1.0"]
    assert contract.version.released == TODAY
    decoder = Decoder(contract)
    for message in messages:
        result = decoder.decode(json.dumps(message).encode())
        assert not isinstance(result, Refusal), result
    types = {column.name: str(column.type.stored) for column in columns_of(contract.message)}
    assert types == {
        "order-id": "String",
        "created_at": "DateTime64(6, 'UTC')",
        "day": "Date32",
        "uid": "UUID",
        "count": "Int64",
        "price": "Float64",
        "ok": "Bool",
        "class": "LowCardinality(String)",
        "größe": "Float64",
        "serial": "UInt64",
        "address_street": "LowCardinality(String)",
        "address_zip": "LowCardinality(Nullable(String))",
        "items": "Array(Tuple(`sku` LowCardinality(String), `qty` Int64,"
        " `tags` Array(Nullable(String)), `date` Nullable(Date32),"
        " `tax` Nullable(Tuple(`rate` Float64))))",
        "labels": "Map(String, Int64)",
        "by_day": "Map(String, Float64)",
        "empty": "Array(String)",
        "nothing": "Nullable(String)",
        "shipping_given": "Bool",
        "shipping_to": "LowCardinality(Nullable(String))",
        "shipping_parts": "Array(Int64)",
        "list": "Array(Int64)",
        "date": "Nullable(Date32)",
        "_topic_of": "LowCardinality(Nullable(String))",
    }
    assert not isinstance(
        decoder.decode(msgspec.json.encode(example_message(contract, Random(1)))), Refusal
    )


def test_the_file_is_laid_out_as_if_written_by_hand() -> None:
    messages = [
        {"id": f"t{n}", "at": "2026-01-01T00:00:00Z", "size": n, "tags": ["a"], "class": "x"}
        | ({"note": "n"} if n % 2 else {})
        for n in range(3)
    ]
    assert source(from_samples(messages), owner="things-team") == (
        '"""The contract of topic ``things``."""\n'
        "\n"
        "from datetime import date, datetime\n"
        "\n"
        "from msgspec import Struct, field\n"
        "\n"
        "from sluice.contract import Contract, Table, Version\n"
        "\n"
        "\n"
        "# review: made from 3 messages; each of them has every field without a default\n"
        "class ThingsMessage(Struct, frozen=True, kw_only=True):\n"
        '    """One message of topic ``things``.\n'
        "\n"
        "    Purpose:\n"
        "        To be written by the owner.\n"
        "\n"
        "    Characteristics:\n"
        "        To be written by the owner.\n"
        "\n"
        "    Version history:\n"
        "        1.0: 2026-11-24. First version.\n"
        "\n"
        "    Compatibility:\n"
        "        Backward: there is no older version.\n"
        "        Forward: a reader ignores fields that its version does not have.\n"
        "\n"
        "    Known issues:\n"
        "        To be written by the owner.\n"
        "\n"
        "    Future changes:\n"
        "        To be written by the owner.\n"
        "\n"
        "    Related contexts:\n"
        "        To be written by the owner.\n"
        "\n"
        "    Attributes:\n"
        "        id: To be written by the owner.\n"
        "        at: To be written by the owner.\n"
        "        size: To be written by the owner.\n"
        "        tags: To be written by the owner.\n"
        "        class_: To be written by the owner.\n"
        "        note: To be written by the owner.\n"
        '    """\n'
        "\n"
        "    id: str\n"
        "    at: datetime\n"
        "    # review: the sample has whole numbers from 0 to 2; the bounds are not known\n"
        "    size: int\n"
        "    tags: list[str]\n"
        '    class_: str = field(name="class")\n'
        "    # review: missing from 2 of 3\n"
        "    note: str | None = None\n"
        "\n"
        "\n"
        "contract = Contract(\n"
        '    topic="things",\n'
        '    subject="things-value",\n'
        "    message=ThingsMessage,\n"
        '    versions=(Version(name="1.0", released=date(2026, 11, 24)),),\n'
        "    # review: id is the key by default\n"
        '    key="id",\n'
        "    # review: the default order; put the columns that queries filter by most first\n"
        '    table=Table(name="things", order_by=("at", "id")),\n'
        '    owner="things-team",\n'
        ")\n"
    )


def test_descriptions_cannot_break_the_docstring(written: Written) -> None:
    nasty = 'Ends """ here.\n\nPurpose:\n    no\\d section \x00\x1b ' + "word " * 60 + '"'
    schema = object_schema(
        a={"type": "string", "description": nasty},
        b={"type": "object", "properties": {"c": {"type": "integer"}}, "description": nasty},
    )
    schema["description"] = f"Purpose: {nasty}"
    contract = written(from_schema(schema))
    assert lint(contract) == []
    comments = {column.name: column.comment for column in columns_of(contract.message)}
    assert comments["a"] == "Ends ''' here."


def test_difficult_names_and_values_pass_the_formatter_and_the_linter(written: Written) -> None:
    """Long lines, quotes and wide characters."""
    keys = [
        "l",
        "date",
        "str",
        "class",
        "订单",
        "it's",
        "a.b",
        "x" * 90,
        "y y" * 40,
        "_",
        "😀",
        "1st",
    ]
    long = "a pattern of many words " * 6
    fields: list[Field] = [Field(key="id", type=Scalar("str"))]
    for number, key in enumerate(keys):
        inner = Object(f"part {key}", (Field(key=key, type=Scalar("date", ())),))
        types: list[tuple[Type, Any]] = [
            (Scalar("str", (("max_length", 99), ("pattern", long))), UNSET),
            (Scalar("str"), long),
            (Scalar("datetime", column="DateTime64(6, 'UTC')"), "2026-01-01T00:00:00.000001Z"),
            (Choice((key, long, "b")), key),
            (ListOf(Scalar("int", (("ge", -1), ("lt", 2**40))), True, (("max_length", 9),)), [1]),
            (DictOf(inner, bounds=(("min_length", 1),)), {long: {key: "2026-01-01"}}),
            (inner, {key: "2026-01-01"}),
            (Scalar("float", (("ge", -1e22), ("le", 1e-07))), 1e-9),
            (Scalar("timedelta"), "P1DT5S"),
            (Scalar("bytes"), "AAEC"),
            (Scalar("Decimal"), "1.50"),
            (Scalar("UUID"), "12345678-1234-5678-1234-567812345678"),
            (Scalar("time"), "10:00:00"),
        ]
        for at, (type_, default) in enumerate(types):
            nullable = at % 3 == 0 and not isinstance(type_, ListOf | DictOf)
            name = f"{key}{at}" if (at or number % 2) else key
            fields.append(
                Field(
                    key=name,
                    type=type_,
                    nullable=nullable,
                    default=default,
                    doc=f"{long} {key}",
                    reviews=(long,) * (at % 2),
                )
            )
    contract = written(Draft(message=Object("things", tuple(fields))), order_by=("id",))
    assert lint(contract) == []
    with trial.import_draft((written.folder / "things.py").read_text()) as again:
        assert again.message.__struct_fields__ == contract.message.__struct_fields__


def test_a_name_that_a_class_uses_does_not_hide_it(written: Written) -> None:
    messages = [{"id": "1", "date": None, "day": "2026-01-01", "str": "2026-01-01", "name": "n"}]
    contract = written(from_samples([*messages, {**messages[0], "date": "2026-01-01"}]))
    fields = {f.name: f for f in msgspec.structs.fields(contract.message)}
    assert fields["date_"].encode_name == "date"
    assert (fields["day"].type, fields["str_"].type, fields["name"].type) == (date, date, str)


def test_defaults_are_written_as_values_of_their_types(written: Written) -> None:
    inner = object_schema(n={"type": "integer"})
    schema = object_schema() | {"required": ["id"]}
    schema["properties"] |= {
        "text": {"type": "string", "default": 'it\'s "so"'},
        "real": {"type": "number", "default": 1},
        "flag": {"type": "boolean", "default": True},
        "at": {"type": "string", "format": "date-time", "default": "2026-01-02T03:04:05Z"},
        "kind": {"enum": ["a", "b"], "default": "b"},
        "some": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        "none": {"type": "array", "items": {"type": "integer"}, "default": []},
        "many": {"type": "object", "additionalProperties": {"type": "number"}, "default": {"a": 1}},
        "inner": {**inner, "default": {"id": "x", "n": 3}},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": "m"},
    }
    contract = written(from_schema(schema))
    one, other = (
        msgspec.to_builtins(msgspec.json.decode(b'{"id":"1"}', type=contract.message))
        for _ in range(2)
    )
    assert (
        one
        == other
        == {
            "id": "1",
            "text": 'it\'s "so"',
            "real": 1.0,
            "flag": True,
            "at": "2026-01-02T03:04:05Z",
            "kind": "b",
            "some": [1, 2],
            "none": [],
            "many": {"a": 1.0},
            "inner": {"id": "x", "n": 3},
            "maybe": "m",
        }
    )


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "integer", "default": "x"}, "f"),
        ({"type": "integer", "default": True}, "f"),
        ({"type": "string", "format": "date", "default": "soon"}, "f"),
        ({"enum": ["a"], "default": "b"}, "f"),
        (
            {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
            | {"default": {}},
            "f.n",
        ),
        ({"type": "integer", "minimum": 3, "default": 1}, "f"),
    ],
)
def test_an_invalid_default_is_refused(schema: dict[str, Any], field: str) -> None:
    whole = object_schema(f=schema) | {"required": ["id"]}
    with pytest.raises(ContractError) as caught, trial.import_draft(source(from_schema(whole))):
        raise AssertionError("not refused")
    assert caught.value.field == field
    assert "default" in caught.value.detail


def test_columns_of_one_name_are_given_names_of_their_own(written: Written) -> None:
    messages: list[dict[str, Any]] = [
        {
            "id": "1",
            "a": {"b": 1, "given": "x"},
            "a_b": 1.5,
            "_offset": "2026-01-01T00:00:00Z",
            "null": ["x"],
            "x.y": [1],
            "x.z": [2],
            "x": 1,
            "lines": [{"null": 1, "p.q": 1, "p": 2}],
            "c": {"d": {"e": 1}, "d_e": 2},
        },
        {"id": "2", "a": None},
    ]
    messages[1] = messages[0] | messages[1]
    draft = from_samples(messages)
    contract = written(draft, order_by=("_offset", "id"))
    columns = {column.name: column.path for column in columns_of(contract.message)}
    assert columns == {
        "id": ("id",),
        "a_given": ("a",),
        "a_b_2": ("a", "b"),
        "a_given_2": ("a", "given"),
        "a_b": ("a_b",),
        "message_offset": ("_offset",),
        "null": ("null",),
        "x_y": ("x.y",),
        "x_z": ("x.z",),
        "x": ("x",),
        "lines": ("lines",),
        "c_d_e": ("c", "d_e"),
        "c_d_e_2": ("c", "d", "e"),
    }
    assert contract.table.order_by == ("message_offset", "id")
    assert "Tuple(`null_2` Int64, `p_q` Int64, `p` Int64)" in types_of(contract)["lines"]
    text = (written.folder / "things.py").read_text()
    assert "# review: its column is 'message_offset', because another one has the name" in text
    with trial.import_draft(text):
        pass


def run(*arguments: str, answers: str = "") -> Result:
    group = SluiceGroup("sluice", commands={"new-topic": command.new_topic})
    result = CliRunner().invoke(group, ["new-topic", *arguments], input=answers)
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_defaults_of_all_prompts_make_a_contract(written: Written) -> None:
    result = run("things", "--output", str(written.folder), answers="\n" * 10)
    assert result.exit_code == 0, result.output
    contract = imported(written.folder / "things.py")
    assert contract.message.__struct_fields__ == ("id",)
    assert (contract.key, contract.owner) == ("id", "unknown")
    assert lint(contract) == []


def test_answers_become_the_contract(written: Written) -> None:
    answers = [
        "thing_id", "", "n", "id of the thing",
        "made_at", "", "n", "when it was made",
        "thing_id",
        "colour", "nope", "red | blue", "y", "how it looks",
        "tags", "list[str]", "y", "",
        "",
        "Reports what was made.",
        "", "", "makers",
    ]  # fmt: skip
    result = run("things", "--output", str(written.folder), answers="\n".join(answers) + "\n")
    assert result.exit_code == 0, result.output
    assert "field thing_id is already in the list" in result.output
    assert "'nope' is not a type" in result.output
    contract = imported(written.folder / "things.py")
    assert types_of(contract) == {
        "thing_id": "String",
        "made_at": "DateTime64(6, 'UTC')",
        "colour": "LowCardinality(Nullable(String))",
        "tags": "Array(String)",
    }
    assert contract.table.order_by == ("made_at", "thing_id")
    assert contract.owner == "makers"
    text = (written.folder / "things.py").read_text()
    assert "Reports what was made." in text
    assert "made_at: when it was made." in text
    assert "# review:" not in text
    assert f"tags: {TO_BE_WRITTEN}" in text


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    schema, folder = tmp_path / "s.json", tmp_path / "out"
    schema.write_bytes(msgspec.json.encode(object_schema()))
    given = ("things", "--json-schema", str(schema), "--output", str(folder), "--owner", "a")
    first = run(*given)
    assert first.exit_code == 0, first.output
    assert "next: sluice load things; sluice ddl --write" in first.output
    (folder / "things.py").write_text("mine")
    again = run(*given)
    assert again.exit_code == 1
    assert "already exists; --force overwrites it" in again.output
    assert (folder / "things.py").read_text() == "mine"
    assert run(*given, "--force").exit_code == 0
    assert imported(folder / "things.py").owner == "a"


def test_nothing_is_written_after_an_error(tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_bytes(msgspec.json.encode(object_schema(f={})))
    result = run("things", "--json-schema", str(schema), "--output", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "Error: field 'f': its type is not known" in result.output
    assert not (tmp_path / "out").exists()


OTHER = """from include.schemas.orders import contract as orders
from msgspec.structs import replace
from sluice.contract import Table

contract = replace(orders, {claim})
"""


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ('topic="things"', "include.schemas.orders is already its contract"),
        (
            'table=Table(name="things", order_by=("order_id",))',
            "table 'things' is the one of topic 'orders' (include.schemas.orders); choose another",
        ),
    ],
)
def test_a_topic_or_a_table_that_has_a_contract_is_refused(
    contracts: Path, claim: str, words: str
) -> None:
    (contracts / "other.py").write_text(OTHER.format(claim=claim))
    result = run("things")
    assert result.exit_code == 1
    assert words in result.output
    assert not (contracts / "things.py").exists()


def test_the_file_of_another_topic_is_not_overwritten() -> None:
    result = run("Orders.", "--force")
    assert result.exit_code == 1
    assert "orders.py is the contract of topic 'orders'" in result.output
    assert "--module" in result.output


def test_a_broken_contract_does_not_keep_other_topics_from_getting_one(contracts: Path) -> None:
    (contracts / "other.py").write_text('x\ncontract = Contract(topic="there")\n')
    assert run("things", answers="\n" * 10).exit_code == 0
    assert (contracts / "things.py").exists()
    refused = run("there")
    assert refused.exit_code == 1
    assert "other.py is already its contract" in refused.output


def test_without_ruff_the_file_is_written_unformatted_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "format_source", lambda source: None)
    result = run("things", "--output", str(tmp_path), answers="\n" * 10)
    assert result.exit_code == 0, result.output
    assert "install ruff, or run your formatter" in result.output
    assert lint(imported(tmp_path / "things.py")) == []


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


def test_only_one_source_is_allowed(tmp_path: Path) -> None:
    result = run("things", "--from-topic", "--json-schema", __file__)
    assert result.exit_code == 2
    assert "choose one of --json-schema and --from-topic" in result.output
