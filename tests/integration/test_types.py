"""The type table: the columns of a Struct's fields, and that values are stored unchanged."""

import datetime as dt
import uuid
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from sluice.contract import Contract, Table, column
from sluice.contract.columns import STAGED, columns_of
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import ContractError
from sluice.store.clickhouse import ClickHouse
from tests.contracts import contract_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Inner(Struct, frozen=True):
    x: int
    blob: bytes = b""
    names: list[str] = []


class Cat(Struct, frozen=True, tag=True):
    lives: int


class Dog(Struct, frozen=True, tag=True):
    name: str


class Outer(Struct, frozen=True):
    """A Struct in which everything may be absent."""

    tag: str = ""
    inner: Inner | None = None


class Everything(Struct, frozen=True, kw_only=True):
    """Every type of the type table.

    Attributes:
        text: a field with a comment.
    """

    text: str
    number: int
    small: Annotated[int, Meta(ge=0, le=255), column("UInt8")] = 0
    real: float = 0.0
    flag: bool = False
    blob: bytes = b""
    at: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    at_exact: Annotated[dt.datetime, column("DateTime64(6, 'UTC')")] = dt.datetime(2026, 1, 1)
    day: dt.date = dt.date(2026, 1, 1)
    clock: dt.time = dt.time(0)
    span: dt.timedelta = dt.timedelta(0)
    ident: uuid.UUID = uuid.UUID(int=0)
    amount: Decimal = Decimal(0)
    price: Annotated[Decimal, column("Decimal(9, 2)")] = Decimal(0)
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    kind: Literal["a", "b"] = "a"
    digit: Literal[1, 2] = 1
    maybe_text: str | None = None
    maybe_number: int | None = None
    maybe_blob: bytes | None = None
    maybe_span: dt.timedelta | None = None
    maybe_colour: Colour | None = None
    low: Annotated[str, column(low_cardinality=True)] = ""
    maybe_low: Annotated[str | None, column(low_cardinality=True)] = None
    numbers: list[int] = []
    holes: list[int | None] = []
    names: frozenset[str] = frozenset()
    pair: tuple[int, str] = (0, "")
    row: tuple[float, ...] = ()
    labels: dict[str, str] = {}
    blobs: dict[str, bytes] = {}
    by_number: dict[int, float] = {}
    inner: Inner = Inner(0)
    inners: list[Inner] = []
    spans: list[dt.timedelta] = []
    pet: Cat | Dog = Cat(9)
    fitting: Annotated[int, Meta(ge=-5, lt=40_000), column(smallest=True)] = 0
    opt: Inner | None = None
    holed: list[Inner | None] = []
    maybe_pair: tuple[int, str] | None = None
    outer: Outer | None = None


TYPES = {
    "text": "String",
    "number": "Int64",
    "small": "UInt8",
    "real": "Float64",
    "flag": "Bool",
    "blob": "String",
    "at": "DateTime64(6, 'UTC')",
    "at_exact": "DateTime64(6, 'UTC')",
    "day": "Date32",
    "clock": "Time64(6)",
    "span": "Int64",
    "ident": "UUID",
    "amount": "Decimal(38, 9)",
    "price": "Decimal(9, 2)",
    "colour": "LowCardinality(String)",
    "level": "Int64",
    "kind": "LowCardinality(String)",
    "digit": "Int64",
    "maybe_text": "Nullable(String)",
    "maybe_number": "Nullable(Int64)",
    "maybe_blob": "Nullable(String)",
    "maybe_span": "Nullable(Int64)",
    "maybe_colour": "LowCardinality(Nullable(String))",
    "low": "LowCardinality(String)",
    "maybe_low": "LowCardinality(Nullable(String))",
    "numbers": "Array(Int64)",
    "holes": "Array(Nullable(Int64))",
    "names": "Array(String)",
    "pair": "Tuple(Int64, String)",
    "row": "Array(Float64)",
    "labels": "Map(String, String)",
    "blobs": "Map(String, String)",
    "by_number": "Map(Int64, Float64)",
    "inner_x": "Int64",
    "inner_blob": "String",
    "inner_names": "Array(String)",
    "inners": "Array(Tuple(`x` Int64, `blob` String, `names` Array(String)))",
    "spans": "Array(Int64)",
    "pet": "String",
    "fitting": "Int32",
    "opt_given": "Bool",
    "opt_x": "Nullable(Int64)",
    "opt_blob": "Nullable(String)",
    "opt_names": "Array(String)",
    "holed": "Array(Nullable(Tuple(`x` Int64, `blob` String, `names` Array(String))))",
    "maybe_pair": "Nullable(Tuple(Int64, String))",
    "outer_given": "Bool",
    "outer_tag": "Nullable(String)",
    "outer_inner_given": "Bool",
    "outer_inner_x": "Nullable(Int64)",
    "outer_inner_blob": "Nullable(String)",
    "outer_inner_names": "Array(String)",
}

everything = contract_of(Everything)


def test_every_type_has_its_column_type() -> None:
    assert {c.name: str(c.type.stored) for c in columns_of(Everything)} == TYPES


def through_the_engine(
    clickhouse: ClickHouse, contract: Contract, messages: list[Struct]
) -> list[dict[str, Any]]:
    """The published rows of messages, which are staged and published as a load does it."""
    mapper = ClickHouseSchemaMapper.of(contract)
    clickhouse.execute(mapper.create_table())
    clickhouse.execute(mapper.create_staging("staged"))
    rows = [("1", 0, n, 0, "1.0", "", "", "", message) for n, message in enumerate(messages)]
    columns = ["_attempt", "_partition", "_offset", "_timestamp", "_schema_version"]
    columns += ["_correlation_id", "_trace_id", "_span_id", STAGED]
    body = msgspec.json.Encoder().encode_lines(rows)
    clickhouse.insert_lines("staged", columns, body, "JSONCompactEachRow", "t")
    selected = mapper.published_columns()
    clickhouse.execute(
        f"INSERT INTO {contract.table.name} ({', '.join(selected)})"
        f" SELECT {', '.join(selected.values())} FROM staged",
        {"topic": contract.topic, "load": "L"},
    )
    return clickhouse.rows(f"SELECT * FROM {contract.table.name} ORDER BY _offset")


def test_every_value_is_stored_unchanged(clickhouse: ClickHouse) -> None:
    message = Everything(
        text='quotes " and \\ and \u2028 and \x00 and 😀',
        number=-(2**63),
        small=255,
        real=0.1 + 0.2,
        flag=True,
        blob=bytes(range(256)),
        at=dt.datetime(2299, 12, 31, 18, 59, 59, 999000, dt.timezone(dt.timedelta(hours=-5))),
        at_exact=dt.datetime(1900, 1, 1, 0, 0, 0, 123456),
        day=dt.date(2299, 12, 31),
        clock=dt.time(23, 59, 59, 999999),
        span=dt.timedelta(days=-3, seconds=5, microseconds=7),
        ident=uuid.UUID("12345678-1234-5678-1234-567812345678"),
        amount=Decimal("-12345678901234567890.123456789"),
        price=Decimal("1234567.89"),
        colour=Colour.BLUE,
        level=Level.HIGH,
        kind="b",
        digit=2,
        maybe_text="",
        maybe_number=0,
        maybe_blob=b"\xff",
        maybe_span=dt.timedelta(days=400, microseconds=1),
        maybe_colour=Colour.RED,
        low="l",
        maybe_low="m",
        numbers=[2**63 - 1, -1],
        holes=[None, 1],
        names=frozenset({"n"}),
        pair=(3, "p"),
        row=(1.5, 1e-320),
        labels={"a": "b"},
        blobs={"k": b"\x00\xff"},
        by_number={-1: 2.5},
        inner=Inner(1, b"\xfe", ["i"]),
        inners=[Inner(2, b"\xfd", ["j", "k"]), Inner(3)],
        spans=[dt.timedelta(seconds=1.5)],
        pet=Dog("Rex"),
        fitting=-5,
        opt=Inner(7, b"\xfc", ["o"]),
        holed=[None, Inner(8, b"\xfb")],
        maybe_pair=(4, "q"),
        outer=Outer("t", Inner(9)),
    )
    contract = contract_of(Everything, table=Table(name="everything", order_by=("text",)))
    full, empty = through_the_engine(clickhouse, contract, [message, Everything(text="", number=1)])
    expected = {
        "text": message.text,
        "number": -(2**63),
        "small": 255,
        "real": 0.1 + 0.2,
        "flag": True,
        "maybe_text": "",
        "maybe_number": 0,
        "at": dt.datetime(2299, 12, 31, 23, 59, 59, 999000, dt.UTC),
        "at_exact": dt.datetime(1900, 1, 1, 0, 0, 0, 123456, dt.UTC),
        "day": dt.date(2299, 12, 31),
        "span": (-3 * 86400 + 5) * 10**6 + 7,
        "ident": message.ident,
        "amount": message.amount,
        "price": message.price,
        "colour": "blue",
        "level": 2,
        "kind": "b",
        "digit": 2,
        "maybe_span": 400 * 86400 * 10**6 + 1,
        "maybe_colour": "red",
        "low": "l",
        "maybe_low": "m",
        "numbers": [2**63 - 1, -1],
        "holes": [None, 1],
        "names": ["n"],
        "pair": (3, "p"),
        "row": [1.5, 1e-320],
        "labels": {"a": "b"},
        "by_number": {-1: 2.5},
        "inner_x": 1,
        "inner_names": ["i"],
        "spans": [1_500_000],
        "pet": '{"type":"Dog","name":"Rex"}',
        "fitting": -5,
        "opt_given": True,
        "opt_x": 7,
        "opt_names": ["o"],
        "maybe_pair": (4, "q"),
        "outer_given": True,
        "outer_tag": "t",
        "outer_inner_given": True,
        "outer_inner_x": 9,
        "_load_id": "L",
        "_topic": "things",
    }
    assert {name: full[name] for name in expected} == expected
    binary = clickhouse.rows(
        "SELECT hex(blob) AS blob, hex(maybe_blob) AS maybe_blob, hex(inner_blob) AS inner_blob,"
        " hex(blobs['k']) AS in_map, arrayMap(i -> hex(i.blob), inners) AS in_structs,"
        " toString(clock) AS clock FROM everything ORDER BY _offset LIMIT 1"
    )[0]
    assert binary == {
        "blob": bytes(range(256)).hex().upper(),
        "maybe_blob": "FF",
        "inner_blob": "FE",
        "in_map": "00FF",
        "in_structs": ["FD", ""],
        "clock": "23:59:59.999999",
    }
    for name in ("maybe_text", "maybe_number", "maybe_blob", "maybe_span", "maybe_low"):
        assert empty[name] is None, name
    for name in ("opt_x", "opt_blob", "maybe_pair", "outer_tag", "outer_inner_x"):
        assert empty[name] is None, name
    for name in ("opt_given", "outer_given", "outer_inner_given"):
        assert empty[name] is False, name
    assert empty["opt_names"] == empty["outer_inner_names"] == []
    holed = clickhouse.rows(
        "SELECT isNull(holed[1]) AS gone, hex(holed[2].blob) AS blob, hex(opt_blob) AS opt"
        " FROM everything ORDER BY _offset LIMIT 1"
    )
    assert holed == [{"gone": 1, "blob": "FB", "opt": "FC"}]


class Node(Struct, frozen=True):
    below: "list[Node]" = []


class AnyThing(Struct, frozen=True):
    x: Any


class MixedUnion(Struct, frozen=True):
    x: int | str


class NullList(Struct, frozen=True):
    x: list[int] | None = None


class BareDict(Struct, frozen=True):
    x: dict  # type: ignore[type-arg]


class BlobKeys(Struct, frozen=True):
    x: dict[bytes, int]


class Clash(Struct, frozen=True):
    inner_x: int
    inner: Inner = Inner(0)


@pytest.mark.parametrize(
    ("struct", "field", "keyword"),
    [
        (Node, "below.[]", "contains itself"),
        (AnyThing, "x", "unknown"),
        (MixedUnion, "x", "union"),
        (NullList, "x", "null"),
        (BareDict, "x.key", "unknown"),
        (BlobKeys, "x", "keys"),
        (Clash, "inner.x", "inner_x"),
    ],
)
def test_a_field_without_a_column_is_refused(
    struct: type[Struct], field: str, keyword: str
) -> None:
    with pytest.raises(ContractError, match=keyword) as raised:
        columns_of(struct)
    assert raised.value.field == field


def test_an_order_key_that_may_be_null_is_refused() -> None:
    class Loose(Struct, frozen=True):
        name: str | None

    with pytest.raises(ContractError, match="null") as raised:
        ClickHouseSchemaMapper(Loose, Table(name="t", order_by=("name",)))
    assert raised.value.field == "name"


def test_an_order_key_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ContractError) as raised:
        ClickHouseSchemaMapper(Inner, Table(name="t", order_by=("nope",)))
    assert raised.value.field == "nope"
