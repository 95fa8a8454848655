"""Source is written as the formatter leaves it, whatever it is that is written."""

from random import Random
from typing import Any

import pytest

from sluice.authoring.new_topic.choices import Choices, describe
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
from sluice.authoring.new_topic.layout import (
    Expression,
    Group,
    Leaf,
    OrNone,
    call,
    comment,
    statement,
    string,
    subscript,
    width,
    words,
    wrapped,
)
from sluice.authoring.new_topic.writer import source_of
from tests.new_topics import TODAY, Written

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
    "it's",
    "l",
    "date",
    "list",
    "`tick`",
    "http://example.com/a/path",
)
_WORDS = (*_KEYS, "lorem", "ipsum", "Note:", '"""', "\\d", "tab\there", '"so"')
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


def test_what_is_written_is_formatted_and_passes_the_linter(written: Written) -> None:
    for seed in range(150):
        random = Random(seed)
        found = Draft(message=message(random, 0), sections={"Purpose": text(random, 50)})
        choices = Choices(key=found.message.fields[0].key, order_by=("_offset",), owner=key(random))
        source = source_of(
            describe(random.choice(["a", "long-topic." * 15]), found, choices, TODAY)
        )
        compile(source, f"seed {seed}", "exec")
        (written.folder / f"seed_{seed}.py").write_text(source)


LONG = "a" * 80


@pytest.mark.parametrize(
    ("annotation", "value", "lines"),
    [
        (Leaf("int"), None, ["x: int"]),
        (OrNone(Leaf("int")), Leaf("None"), ["x: int | None = None"]),
        (
            Leaf("str"),
            call("field", Leaf(f'name="{LONG}"'), Leaf("default=None")),
            ["x: str = field(", f'    name="{LONG}",', "    default=None,", ")"],
        ),
        (
            OrNone(subscript("Literal", Leaf('"a"'), Leaf(f'"{LONG}"'))),
            Leaf("None"),
            [
                "x: (",
                "    Literal[",
                '        "a",',
                f'        "{LONG}",',
                "    ]",
                "    | None",
                ") = None",
            ],
        ),
        (
            subscript("list", subscript("dict", Leaf("str"), Leaf(LONG))),
            Group("", "[]", ()),
            ["x: list[", "    dict[", "        str,", f"        {LONG},", "    ]", "] = []"],
        ),
        (Leaf("str"), Leaf(f'"{LONG} {LONG}"'), [f'x: str = "{LONG} {LONG}"  # noqa: E501']),
    ],
)
def test_statements_open_up_where_they_must(
    annotation: Expression, value: Expression | None, lines: list[str]
) -> None:
    assert statement(0, "x", annotation, value) == lines


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        ("a", '"a"'),
        ('say "so"', "'say \"so\"'"),
        ("it's, it's \"so", '"it\'s, it\'s \\"so"'),
        ("a\\b\n\x00", '"a\\\\b\\n\\x00"'),
        ("größe", '"größe"'),
        ("größe" * 10, '"' + "gr\\xf6\\xdfe" * 10 + '"'),
    ],
)
def test_strings_are_quoted_as_the_formatter_would(plain: str, written: str) -> None:
    assert string(plain) == written


def test_comments_and_words_are_wrapped_by_their_width() -> None:
    assert comment("a" * 60 + " " + "b" * 60, 1) == [
        "    # review: " + "a" * 60,
        "    #   " + "b" * 60,
    ]
    for line in wrapped("订单" * 100 + " https://example.com/" + "x" * 100, "", "  "):
        assert width(line) <= 100 or "://" in line
    assert words('a\n  """b""" \\d\x00') == "a '''b''' \\\\d"
