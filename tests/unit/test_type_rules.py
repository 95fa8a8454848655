"""The type table: which pairs of types are refused when a contract is built, and which values."""

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pytest
from msgspec import Meta, Struct, UnsetType

from sluice.contract import Version, column
from sluice.contract.columns import columns_of
from sluice.contract.lossless import build_object_check
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import message_type
from sluice.contract.type_page import type_page
from sluice.contract.type_rules import FAMILIES, RULES
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import ParsedPayload
from sluice.errors import ContractError
from sluice.kafka.schema_registry import Registered
from sluice.refusals import Reason, Refusal
from tests.contracts import contract_of
from tests.type_pairs import TYPES


class Level(IntEnum):
    LOW = -1
    HIGH = 300


UUID = "6f6f6f6f-6f6f-4f6f-af6f-6f6f6f6f6f6f"


class Keyed(Struct, frozen=True):
    inner: dict[float, int]


class Inner(Struct, frozen=True):
    n: int


class Listing(Struct, frozen=True):
    names: list[str]


class Changing(Struct):
    n: int


class Rights(IntFlag):
    READ = 1
    WRITE = 2


class Open(Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        member = object.__new__(cls)
        member._name_ = member._value_ = str(value)
        return member


def struct_with(type_: Any, default: Any = msgspec.NODEFAULT) -> type[Struct]:
    field = ("x", type_) if default is msgspec.NODEFAULT else ("x", type_, default)
    return msgspec.defstruct("Row", [("id", int), field], frozen=True)


def decode(type_: Any, value: str) -> Any:
    data = f'{{"id": 1, "x": {value}}}'.encode()
    result = Decoder(contract_of(struct_with(type_))).decode(data)
    return result if isinstance(result, Refusal) else result[0].x  # type: ignore[attr-defined]


CONCRETE = {
    "String": "String",
    "FixedString": "FixedString(3)",
    "Int": "Int64",
    "Decimal": "Decimal(18, 4)",
    "Enum": "Enum8('a' = 1)",
    "Array": "Array(Int64)",
    "Tuple": "Tuple(Int64)",
    "Map": "Map(String, Int64)",
}


REFUSED = [
    (kind, family)
    for kind in RULES
    for family in FAMILIES
    if family not in RULES[kind] and CONCRETE.get(family) not in RULES[kind]
]


@pytest.mark.parametrize(("kind", "family"), REFUSED)
def test_a_pair_that_the_table_does_not_list_is_refused_when_the_contract_is_built(
    kind: Any, family: str
) -> None:
    one: Any = TYPES[kind]
    chosen = CONCRETE.get(family, family)
    for type_ in (
        Annotated[one, column(chosen)],
        Annotated[list[one], column(f"Array({chosen})")],
        Annotated[dict[str, one], column(f"Map(String, {chosen})")],
        Annotated[tuple[one, int], column(f"Tuple({chosen}, Int64)")],
    ):
        with pytest.raises(ContractError) as raised:
            contract_of(struct_with(type_))
        assert raised.value.field.split(".")[0] == "x"


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Annotated[int, column("DateTime64(3, 'UTC')")], "unit"),
        (Annotated[str, column("Int64")], "declare the field int"),
        (Annotated[int, column("BIGINT")], "Int64"),
        (Annotated[Decimal, column("Decimal(80, 2)")], "arguments"),
        (Annotated[str, column("FixedString")], "arguments"),
        (Annotated[dt.datetime, column("DateTime64('UTC')")], "arguments"),
        (Annotated[list[int], column("Array(String)")], "int cannot be stored as String"),
        (Annotated[list[int | None], column("Array(Int64)")], "null"),
        (Annotated[dict[str, int], column("Map(String, DateTime)")], "unit"),
        (Annotated[tuple[int, str], column("Tuple(Int64)")], "has 1 types"),
        (Annotated[Inner, column("Tuple(m Int64)")], "must be named n"),
        (Annotated[Inner, column("Tuple(n Bool)")], "true"),
        (Annotated[list[Inner], column("Nested(n Int64)")], "Array\\(Tuple"),
        (Annotated[Level, column("UInt16")], "member"),
        (Annotated[Literal["a", "b"], column("Enum8('a' = 1)")], "member 'b'"),
        (Annotated[Literal["a", "bb"], column("FixedString(1)")], "member 'bb'"),
        (Annotated[int, column(low_cardinality=True)], "only strings"),
        (Annotated[dt.time, Meta(tz=True)], "zone"),
        (Annotated[int, column(truncate=True)], "truncate"),
        (Annotated[list[dt.datetime], column(truncate=True)], "within it"),
        (Annotated[Inner, column(truncate=True)], "within it"),
        (Annotated[dt.time, column("Time", truncate=True)], "truncate"),
        (dict[Annotated[dt.datetime, column("DateTime", truncate=True)], int], "two of them one"),
        (Annotated[int, column("Int8"), column(codec="T64")], "more than one column"),
        (Annotated[Annotated[int, column("Int8")] | None, column(codec="T64")], "more than one"),
        (list[Annotated[int, column("Int8"), column(comment="a")]], "more than one column"),
        (dict[bool, int], "keys"),
        (dict[dt.timedelta, int], "keys"),
        (Annotated[list[Any], column("String")], "unknown"),
        (int | UnsetType, "UNSET"),
        (list[int | UnsetType], "UNSET"),
        (set[Listing], "may not contain a list"),
        (Annotated[list[frozenset[Listing]], column("String")], "may not contain a list"),
        (set[Changing], "frozen"),
    ],
)
def test_a_refused_pair_has_a_sentence_that_says_why(type_: Any, text: str) -> None:
    with pytest.raises(ContractError, match=text) as raised:
        contract_of(struct_with(type_))
    assert raised.value.field.startswith("x")


@pytest.mark.parametrize(
    ("type_", "value", "path"),
    [
        (Annotated[list[int], column("Array(UInt8)")], "[1, 300]", "x[1]"),
        (Annotated[list[list[int]], column("Array(Array(Int8))")], "[[1], [2, -129]]", "x[1][1]"),
        (Annotated[dict[str, int], column("Map(String, UInt8)")], '{"a": 256}', "x[a]"),
        (Annotated[dict[int, int], column("Map(UInt8, Int64)")], '{"300": 1}', "x[300]"),
        (Annotated[tuple[int, str], column("Tuple(Int8, String)")], '[128, ""]', "x[0]"),
        (Annotated[int | None, column("Nullable(Int8)")], "200", "x"),
        (Annotated[list[Inner], column("Array(Tuple(n UInt8))")], '[{"n": -1}]', "x[0].n"),
        (Annotated[list[Decimal], column("Array(Decimal64(2))")], "[1.239]", "x[0]"),
        (Annotated[float, column("Decimal(10, 2)")], "1.239", "x"),
        (Annotated[float, column("Decimal(9)")], "1.5", "x"),
        (Annotated[float, column("Float32")], "0.1", "x"),
        (Annotated[int, column("Float64")], str(2**53 + 1), "x"),
        (Annotated[int, column("Decimal(9, 2)")], "10000000", "x"),
        (Annotated[str, column("FixedString(3)")], '"ab"', "x"),
        (Annotated[str, column("FixedString(3)")], '"äb1"', "x"),
        (Annotated[bytes, column("FixedString(3)")], '"YWI="', "x"),
        (Annotated[str, column("IPv4")], '"01.2.3.4"', "x"),
        (Annotated[str, column("IPv6")], '"1.2.3.4"', "x"),
        (Annotated[str, column("IPv6")], '"fe80::1%eth0"', "x"),
        (Annotated[str, column("Enum8('a' = 1)")], '"1"', "x"),
        (Annotated[dt.datetime, column("DateTime64(3)")], '"2026-01-01T00:00:00.0001"', "x"),
        (Annotated[dt.datetime, column("DateTime")], '"2026-01-01T00:00:00.5Z"', "x"),
        (Annotated[dt.datetime, column("DateTime")], '"2106-02-07T06:28:16Z"', "x"),
        (Annotated[dt.date, column("Date")], '"2149-06-07"', "x"),
        (Annotated[dt.time, column("Time64(3)")], '"00:00:00.0001"', "x"),
        (dt.time, '"12:00:00+02:00"', "x"),
        (dt.timedelta, '"P200000000D"', "x"),
        (dt.datetime, '"2026-01-01T00:00:00.123456789Z"', "x"),
        (list[dt.datetime], '["2026-01-01T00:00:00.1234567Z"]', "x[0]"),
        (Annotated[dt.datetime, column("String")], '"2026-01-01T00:00:00.1234567Z"', "x"),
        (dt.time, '"12:00:00.1234567"', "x"),
        (dt.timedelta, '"PT0.0000001S"', "x"),
        (dt.timedelta, '"PT0.0000000001H"', "x"),
        (dict[float, int], '{"1": 1, "1.0": 2}', "x"),
        (dict[int, int], '{"0": 1, "-0": 2}', "x"),
        (
            dict[dt.datetime, int],
            '{"2026-01-01T00:00:00Z": 1, "2026-01-01T01:00:00+01:00": 2}',
            "x",
        ),
        (dict[uuid.UUID, int], f'{{"{UUID}": 1, "{UUID.upper()}": 2}}', "x"),
        (list[dict[float, int]], '[{"1": 1}, {"1": 1, "1.0": 2}]', "x[1]"),
        (dict[str, dict[float, int]], '{"a": {"1": 1, "1e0": 2}}', "x[a]"),
        (tuple[int, dict[float, int]], '[1, {"1": 1, "1.0": 2}]', "x[1]"),
        (Keyed, '{"inner": {"1": 1, "1.0": 2}}', "x.inner"),
        (Keyed | None, '{"inner": {"1": 1, "1.0": 2}}', "x.inner"),
    ],
)
def test_a_value_that_its_column_would_change_is_refused(type_: Any, value: str, path: str) -> None:
    refusal = decode(type_, value)
    assert isinstance(refusal, Refusal), refusal
    assert (refusal.reason, refusal.field) == (Reason.OUT_OF_RANGE, path)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (str, '"at 12:00:00.1234567 sharp"', "at 12:00:00.1234567 sharp"),
        (float, "0.30000000000000004", 0.30000000000000004),
        (Annotated[float, column("Decimal(10, 2)")], "1.23", 1.23),
        (Annotated[int, column("Float64")], str(2**60), 2**60),
        (
            dt.datetime,
            '"2026-01-01T00:00:00.1234560Z"',
            dt.datetime(2026, 1, 1, 0, 0, 0, 123456, dt.UTC),
        ),
        (
            Annotated[dt.datetime, column("DateTime64(3)", truncate=True)],
            '"2026-01-01T00:00:00.123456Z"',
            dt.datetime(2026, 1, 1, 0, 0, 0, 123456, dt.UTC),
        ),
        (
            Annotated[dt.datetime, column(truncate=True)],
            '"2026-01-01T00:00:00.123456789Z"',
            dt.datetime(2026, 1, 1, 0, 0, 0, 123456, dt.UTC),
        ),
        (
            list[Annotated[dt.datetime, column("DateTime64(3)", truncate=True)]],
            '["2024-12-31T23:59:59.9999999Z", "2024-12-31T23:59:59.9999999\\u005a"]',
            [dt.datetime(2024, 12, 31, 23, 59, 59, 999999, dt.UTC)] * 2,
        ),
        (
            dict[str, Annotated[dt.time, column("Time64(3)", truncate=True)] | None],
            '{"a": "12:00:59.9999999", "b": null}',
            {"a": dt.time(12, 0, 59, 999999), "b": None},
        ),
        (dt.timedelta, '"PT0.5H"', dt.timedelta(minutes=30)),
        (
            dict[dt.datetime, int],
            '{"2026-01-01T00:00:00Z": 1}',
            {dt.datetime(2026, 1, 1, tzinfo=dt.UTC): 1},
        ),
        (Literal["a", None], "null", None),
        (dict[float, int], '{"1": 1, "2": 2, "1": 3}', {1.0: 3, 2.0: 2}),
        (dict[str, int], '{"1": 1, "1.0": 2}', {"1": 1, "1.0": 2}),
        (Keyed | None, "null", None),
    ],
)
def test_a_value_that_its_column_holds_is_read(type_: Any, value: str, expected: Any) -> None:
    assert decode(type_, value) == expected


def test_sets_are_staged_in_the_same_order_by_every_process() -> None:
    """Python's own order of texts differs from process to process."""

    class Inner(Struct, frozen=True):
        tags: frozenset[str]

    class Event(Struct, frozen=True):
        tags: set[str | None]
        inner: list[Inner]
        text: Annotated[set[str], column("String")]

    tags = {f"tag-{n}" for n in range(50)}
    form = message_type(Event).form
    assert form is not None
    staged = form(Event(tags=tags | {None}, inner=[Inner(frozenset(tags))], text=tags))
    assert staged["tags"] == [*sorted(tags), None]
    assert staged["inner"] == [{"tags": sorted(tags)}]
    assert staged["text"] == sorted(tags)


def test_cutting_a_time_changes_no_other_value() -> None:
    class Event(Struct, frozen=True):
        at: Annotated[dt.datetime, column(truncate=True)]
        price: Decimal
        ratio: float
        count: Annotated[int, column("Int256")]
        note: str
        later: str = ""

    data = (
        b'{"at": "2026-01-01T00:00:59.9999999Z", "price": 1.10, "ratio": 1e-7, "later": "x",'
        b' "count": 123456789012345678901234567890, "note": "at 00:00:59.9999999"}'
    )
    result = Decoder(contract_of(Event)).decode(data)
    assert not isinstance(result, Refusal), result
    assert result[0] == Event(
        dt.datetime(2026, 1, 1, 0, 0, 59, 999999, dt.UTC),
        Decimal("1.10"),
        1e-7,
        123456789012345678901234567890,
        "at 00:00:59.9999999",
        "x",
    )


def test_a_name_that_is_not_utf_8_beside_a_map_is_refused() -> None:
    data = b'{"id": 1, "x": {"1": 1}, "\xff": 2}'
    refusal = Decoder(contract_of(struct_with(dict[float, int]))).decode(data)
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.BAD_ENCODING


def test_a_text_like_a_fine_time_in_another_field_does_not_refuse_the_message() -> None:
    class Event(Struct, frozen=True):
        note: str
        at: dt.datetime

    data = b'{"note": "at 12:00:00.1234567", "at": "2026-01-01T00:00:00Z"}'
    assert not isinstance(Decoder(contract_of(Event)).decode(data), Refusal)


class Reading(Struct, frozen=True):
    id: int
    value: float
    at: dt.datetime
    others: dict[str, list[float | None]] = {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": float("nan")}, "value"),
        ({"value": float("-inf")}, "value"),
        ({"others": {"a": [None, float("inf")]}}, "others[a][1]"),
        ({"at": dt.datetime(1930, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=1172)))}, "at"),
    ],
)
def test_what_json_cannot_carry_is_refused_in_parsed_objects(
    change: dict[str, Any], field: str
) -> None:
    good = Reading(1, 0.5, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    check = build_object_check(Reading)
    assert check is not None
    assert check(good) is None
    violation = check(msgspec.structs.replace(good, **change))
    assert violation is not None and violation.path == field


class ParsedPayloads:
    """Stands for the registry: every message is Avro, and was parsed to this object."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def schema(self, schema_id: int) -> Registered:
        return Registered(schema_id, "AVRO", "{}")

    def parse(self, registered: Registered, value: bytes) -> ParsedPayload:
        return ParsedPayload(self.value, "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": float("inf")}, "value"),
        ({"others": {"a": [float("nan")]}}, "others[a][0]"),
        ({"at": "2026-01-01T00:00:00.1234567Z"}, "at"),
        ({}, None),
    ],
)
def test_a_message_with_a_registered_schema_is_checked_as_an_object(
    change: dict[str, Any], field: str | None
) -> None:
    good = {"id": 1, "value": 0.5, "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}
    payloads: Any = ParsedPayloads(good | change)
    result = Decoder(contract_of(Reading), payloads).decode(b"\0\0\0\0\7avro")
    if field is None:
        assert not isinstance(result, Refusal)
    else:
        assert isinstance(result, Refusal)
        assert (result.reason, result.field) == (Reason.OUT_OF_RANGE, field)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_text_of_avro_or_protobuf_is_not_read_as_base64(kind: Any) -> None:
    class Event(Struct, frozen=True):
        data: list[kind]

    def read(value: object) -> Any:
        payloads: Any = ParsedPayloads({"data": [value]})
        return Decoder(contract_of(Event), payloads).decode(b"\0\0\0\0\7avro")

    message, _ = read(b"aGVsbG8=")
    assert bytes(message.data[0]) == b"aGVsbG8="
    refusal = read("aGVsbG8=")
    assert (refusal.reason, refusal.field) == (Reason.WRONG_TYPE, "data[0]")


@pytest.mark.parametrize(
    ("type_", "default", "text"),
    [
        (int, None, "not valid"),
        (float, float("inf"), "finite"),
        (Annotated[int, column("UInt8")], 300, "UInt8"),
        (Annotated[Decimal, column("Decimal(9, 2)")], Decimal("0.001"), "decimal places"),
        (Annotated[str, Meta(min_length=1)], "", "length"),
        (dt.datetime, dt.datetime.min, "outside"),
    ],
)
def test_a_default_that_no_message_could_have_is_refused(
    type_: Any, default: Any, text: str
) -> None:
    with pytest.raises(ContractError, match=text) as raised:
        contract_of(struct_with(type_, default))
    assert raised.value.field == "x"


class UserInner(Struct, frozen=True):
    id: int


def named(*fields: tuple[str, Any], rename: dict[str, str] | None = None) -> type[Struct]:
    return msgspec.defstruct("Row", fields, frozen=True, rename=rename)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda name: named(("_offset", Annotated[int, *name])), "_offset"),
        (lambda name: named(("user_id", int), ("user", Annotated[UserInner, *name])), "user.id"),
        (
            lambda name: named(("a", int), ("b", Annotated[int, *name]), rename={"b": "a.b"}),
            "a.b",
        ),
        (
            lambda name: named(
                ("b", list[int]),
                ("c", Annotated[list[int], *name]),
                rename={"b": "a.b", "c": "a.c"},
            ),
            "a.c",
        ),
        (lambda name: named(("b", Annotated[int, *name]), rename={"b": ""}), ""),
        (
            lambda name: named(
                ("rows", list[named(("n", Annotated[int, *name]), rename={"n": "null"})])  # type: ignore[misc]
            ),
            "rows.[].null",
        ),
    ],
)
def test_a_name_that_clashes_is_refused_and_column_name_gives_a_way_out(
    build: Callable[[list[Any]], type[Struct]], field: str
) -> None:
    with pytest.raises(ContractError, match="column\\(name=") as raised:
        columns_of(build([Meta()]))
    assert raised.value.field == field
    assert columns_of(build([column(name="other")]))


T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True):
    items: list[T]


def test_generic_structs_have_columns() -> None:
    columns = columns_of(named(("a", Page[int]), ("b", Page[str])))
    assert {c.name: str(c.type.stored) for c in columns} == {
        "a_items": "Array(Int64)",
        "b_items": "Array(String)",
    }


def test_array_like_structs_are_refused_at_any_depth() -> None:
    class Row(Struct, frozen=True, array_like=True):
        x: int

    for struct in (Row, named(("a", Row)), named(("a", list[Row]))):
        with pytest.raises(ContractError, match="array_like"):
            columns_of(struct)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Enum8('a' = 1, 'b' = -2)", ("a", "b")),
        ("Enum16('it''s', 'a\\'b', 'c, d = 3' = 5, '')", ("it's", "a'b", "c, d = 3", "")),
    ],
)
def test_names_of_enums_are_parsed(text: str, names: tuple[str, ...]) -> None:
    assert SqlType.parse(text).enum_names == names


@pytest.mark.parametrize(
    "text", ["Array(Enum8('a' = 1))", "Map(String, Tuple(a Enum8('x' = 1), b Nullable(Int8)))"]
)
def test_a_type_with_an_enum_inside_is_parsed(text: str) -> None:
    assert SqlType.parse(text).types


def test_the_page_has_every_pair() -> None:
    page = type_page()
    for rules in RULES.values():
        assert all(f"| {family}" in page for family in rules)


def test_an_enum_of_strings_and_uuids_have_their_default_columns() -> None:
    class Colour(Enum):
        RED = "red"

    columns = columns_of(named(("a", Colour), ("b", uuid.UUID), ("c", dt.datetime)))
    assert [str(c.type.stored) for c in columns] == [
        "LowCardinality(String)",
        "UUID",
        "DateTime64(6, 'UTC')",
    ]


@pytest.mark.parametrize(
    ("type_", "value", "fits"),
    [
        (Annotated[Rights, column("Int8")], "3", True),
        (Annotated[Rights, column("Int8")], "300", False),
        (Annotated[dict[Rights, int], column("Map(Int8, Int64)")], '{"300": 1}', False),
        (Annotated[Open, column("FixedString(3)")], '"blu"', True),
        (Annotated[Open, column("FixedString(3)")], '"b"', False),
        (Annotated[list[Open], column("Array(Enum8('red' = 1))")], '["red"]', True),
        (Annotated[list[Open], column("Array(Enum8('red' = 1))")], '["1"]', False),
    ],
)
def test_a_member_that_an_enum_makes_of_an_unknown_value_must_fit_its_column(
    type_: Any, value: str, fits: bool
) -> None:
    result = decode(type_, value)
    if fits:
        assert not isinstance(result, Refusal), result
    else:
        assert isinstance(result, Refusal) and result.reason is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (dt.datetime, r'"2026-01-01T00:00:00\u002e1234567Z"'),
        (dt.datetime, r'"2026-01-01T00:00\u003a00.1234567Z"'),
        (list[dt.time], r'["12:00:00.123456\u0037"]'),
        (dt.timedelta, r'"PT0.000001\u0035S"'),
    ],
)
def test_a_fine_time_that_is_written_with_escape_sequences_is_refused(
    type_: Any, value: str
) -> None:
    result = decode(type_, value)
    assert isinstance(result, Refusal) and "finer than microseconds" in result.message


def test_the_names_of_an_enum_column_are_read_with_their_escape_sequences() -> None:
    column_type = SqlType.parse(r"Enum8('a\nb' = 1, 'c\\d' = 2, '\x41\'' = 3, 'e''f' = 4)")
    assert column_type.enum_names == ("a\nb", "c\\d", "A'", "e'f")


class Divided(Struct, frozen=True):
    id: int
    by: int
    numbers: set[Decimal] = set()

    def __post_init__(self) -> None:
        _ = {1: "one"}[self.by]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"id": 1, "by": 2}', "KeyError: 2"),
        (b'{"id": 1, "by": 1, "numbers": ["sNaN"]}', "signaling NaN"),
    ],
)
def test_any_exception_that_a_message_causes_is_a_refusal(data: bytes, text: str) -> None:
    result = Decoder(contract_of(Divided)).decode(data)
    assert isinstance(result, Refusal)
    assert result.reason is Reason.WRONG_TYPE and text in result.message


def test_lifted_and_parsed_messages_have_keys_that_are_not_texts() -> None:
    struct = struct_with(dict[int, float])
    versions = (
        Version(name="1.0", released=dt.date(2026, 1, 1)),
        Version(name="2.0", released=dt.date(2026, 1, 2), lift=lambda message: message),
    )
    lifted = Decoder(contract_of(struct, versions=versions)).decode(b'{"id":1,"x":{"5":1}}', "1.0")
    payloads: Any = ParsedPayloads({"id": 1, "x": {"5": 1.0}})
    parsed = Decoder(contract_of(struct), payloads).decode(b"\0\0\0\0\7avro")
    for result in (lifted, parsed):
        assert not isinstance(result, Refusal), result
        assert result[0].x == {5: 1.0}  # type: ignore[attr-defined]
