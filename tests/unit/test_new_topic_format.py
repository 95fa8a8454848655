"""Contract files pass the linter and the formatter, whatever their names and texts are."""

import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sluice.authoring.new_topic.description import (
    SCALARS,
    Choice,
    DictOf,
    Draft,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
)
from sluice.authoring.new_topic.formatter import format_source
from sluice.authoring.new_topic.wrapping import comment, entry, paragraph, summary
from tests.new_topics import Written, source

_KEYS = (
    "amount",
    "id",
    "größe",
    "订单编号",
    "a_name_of_quite_some_length_for_a_field",
    "a b",
    "class",
    "😀",
    "a.b",
    "a" * 60,
    "it's",
    "l",
    "date",
    "list",
    "`tick`",
    "http://example.com/a/path",
)
_LONG_WORDS = ("w" * 120, "\\" * 120)
_WORDS = (*_KEYS, *_LONG_WORDS, "lorem", "ipsum", "Note:", '"""', "\\d", "tab\there", '"so"')
_DEFAULTS: dict[str, Any] = {
    "int": 3,
    "float": 1e22,
    "bool": True,
    "datetime": "2026-01-01T00:00:00.123Z",
    "date": "2026-01-01",
    "time": "10:00:00",
    "timedelta": "P1DT5S",
    "UUID": "12345678-1234-5678-1234-567812345678",
    "Decimal": "1.50",
    "bytes": "AAEC",
}


def text(random: Random, most: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(random.randrange(most)))


def key(random: Random) -> str:
    count = random.choice([1, 1, 1, 2, 3, 5, 12])
    return random.choice(["_", "-", " ", ""]).join(random.choice(_KEYS) for _ in range(count))


def scalar(random: Random) -> Scalar:
    python = random.choice(SCALARS)
    bounds: tuple[tuple[str, Any], ...] = ()
    if python in ("int", "float"):
        bounds = random.choice([(), (("ge", -5),), (("gt", 0), ("lt", 10**18))])
    if python == "str":
        pattern = "^" + random.choice(["[a-z0-9]", "a b ", "\"'"]) * random.randrange(20) + "$"
        bounds = random.choice(
            [(), (("max_length", 9),), (("min_length", 1), ("pattern", pattern))]
        )
    return Scalar(python, bounds, "", python == "str" and random.random() < 0.3)


def type_(random: Random, depth: int) -> Type:
    draw = random.random()
    if depth > 3 or draw < 0.5:
        return scalar(random)
    if draw < 0.65:
        return Choice(tuple({text(random, 6): 0 for _ in range(random.choice([1, 2, 8]))}))
    if draw < 0.9:
        inner = type_(random, depth + 1)
        maybe = random.random() < 0.3
        bounds = random.choice([(), (("max_length", 9),)])
        if draw < 0.8:
            return ListOf(inner, maybe, bounds)
        return DictOf(inner, maybe, bounds)
    return message(random, depth + 1)


def default(random: Random, of: Type) -> Any:
    match of:
        case Scalar(python=python):
            return _DEFAULTS.get(python, text(random, 12))
        case Choice(values=values):
            return random.choice(values)
        case ListOf(item=item):
            return [default(random, item) for _ in range(random.choice([0, 1, 9]))]
        case DictOf(value=value):
            return {key(random): default(random, value) for _ in range(random.choice([0, 1, 9]))}
        case Object(fields=fields):
            return {field.key: default(random, field.type) for field in fields}


def message(random: Random, depth: int) -> Object:
    fields = []
    for name in {key(random): 0 for _ in range(random.randrange(1, 7))}:
        of, draw = type_(random, depth), random.random()
        more: dict[str, Any] = {"default": default(random, of)} if draw < 0.3 else {}
        if draw > 0.6 and not isinstance(of, ListOf | DictOf):
            more = {"nullable": True} | ({"default": None} if draw > 0.7 else {})
        reviews = tuple(text(random, 30) for _ in range(random.choice([0, 0, 1, 2])))
        fields.append(Field(key=name, type=of, doc=text(random, 40), reviews=reviews, **more))
    return Object(key(random), tuple(fields), text(random, 30), (text(random, 30),))


def test_contract_files_pass_the_formatter_and_the_linter(written: Written) -> None:
    for seed in range(150):
        random = Random(seed)
        draft = Draft(message=message(random, 0), sections={"Purpose": text(random, 50)})
        topic = random.choice(["a", "long-topic." * 15])
        first, owner = draft.message.fields[0].key, key(random)
        file = source(draft, topic, key=first, order_by=("_offset",), owner=owner)
        compile(file, f"seed {seed}", "exec")
        (written.folder / f"seed_{seed}.py").write_text(file)


@pytest.mark.parametrize(
    "text", ["it's", 'say "so"', "a\\b\n\x00\u202e", "größe 订单 😀" * 20, '"""', "x " * 100]
)
def test_texts_keep_their_value(text: str, written: Written) -> None:
    fields = (Field(key="id", type=Scalar("str"), default=text, doc=text, reviews=(text,)),)
    contract = written(Draft(message=Object("things", fields)), key="id", owner=text[:100])
    assert contract.owner == text[:100]
    assert contract.message() == contract.message(id=text)


def test_a_long_line_that_cannot_be_broken_is_marked() -> None:
    line = f'x = "{"long " * 30}"'
    assert format_source(f"x={line[4:]}") == f"{line}  # noqa: E501\n"
    assert format_source("x=[1,\n2]") == "x = [1, 2]\n"


def test_without_ruff_nothing_is_formatted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert format_source("x=1") is None


def test_comments_and_docstrings_are_wrapped() -> None:
    assert comment("a" * 60 + " " + "b" * 60, 1) == [
        "    # review: " + "a" * 60,
        "    #   " + "b" * 60,
    ]
    assert summary('"so" it ends') == ['    """ "so" it ends']
    assert entry("id", 'a\n  """b""" \\d\x00') == ["        id: a '''b''' \\\\d"]
    url = "https://example.com/" + "x" * 100
    lines = ["        see", f"        {url}", "        and more"]
    assert paragraph(f"see {url} and more", 2) == lines


def test_wide_characters_take_two_columns() -> None:
    lines = paragraph("订单" * 100, 2)
    assert max(map(len, lines)) == 50
    assert "".join(line.strip() for line in lines) == "订单" * 100
