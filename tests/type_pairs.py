"""The pairs of the type table in tests: their types, values with all edges, and what is equal."""

import datetime as dt
import ipaddress
import string
import uuid
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any

import msgspec
from hypothesis import strategies as st
from msgspec import Struct

from sluice.contract import column
from sluice.contract.sql_type import SqlType
from sluice.contract.type_lookup import column_family
from sluice.contract.type_rules import RULES, Python
from tests.strategies import ZONES, Strategy


class Shade(Enum):
    RED = "red"
    BLUE = "blu"


class Level(IntEnum):
    LOW = -1
    HIGH = 100


class Leaf(Struct, frozen=True):
    n: int
    real: float = 0.5
    names: list[str] = []


class Cat(Struct, frozen=True, tag=True):
    lives: int = 9


class Dog(Struct, frozen=True, tag=True, omit_defaults=True):
    name: str = "Rex"


TYPES: dict[Python, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bytes": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "UUID": uuid.UUID,
    "Decimal": Decimal,
    "names": Shade,
    "numbers": Level,
    "list": list[int],
    "tuple": tuple[int, str],
    "dict": dict[str, int],
    "Struct": Leaf,
    "union": Cat | Dog,
}

_INTEGERS = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)]
_DECIMALS = ["Decimal(10, 2)", "Decimal64(2)", "Decimal(9)", "Decimal(38, 9)", "Decimal(76, 30)"]

COLUMNS: dict[Python, dict[str, list[str]]] = {
    "str": {
        "String": ["String", "LowCardinality(String)"],
        "FixedString": ["FixedString(3)", "LowCardinality(FixedString(1))"],
        "IPv4": ["IPv4"],
        "IPv6": ["IPv6"],
        "Enum": ["Enum8('red' = 1, '2' = 3, 'it\\'s, ok' = -1, '' = 0)", "Enum16('a', 'abc')"],
    },
    "int": {
        "Int": _INTEGERS,
        "Float64": ["Float64"],
        "Float32": ["Float32"],
        "Decimal": _DECIMALS,
    },
    "float": {"Float64": ["Float64"], "Float32": ["Float32"], "Decimal": _DECIMALS},
    "bool": {"Bool": ["Bool"], "Int": ["UInt8", "Int64"]},
    "bytes": {"String": ["String"], "FixedString": ["FixedString(2)"]},
    "datetime": {
        "DateTime64": [
            "DateTime64(6, 'UTC')",
            "DateTime64(3, 'Europe/Berlin')",
            "DateTime64(0)",
            "DateTime64(9, 'Asia/Kathmandu')",
            "DateTime64",
        ],
        "DateTime": ["DateTime", "DateTime('America/New_York')"],
        "String": ["String"],
    },
    "date": {"Date32": ["Date32"], "Date": ["Date"], "String": ["String"]},
    "time": {"Time64": ["Time64(6)", "Time64(3)"], "Time": ["Time"], "String": ["String"]},
    "timedelta": {"Int64": ["Int64"]},
    "UUID": {"UUID": ["UUID"], "String": ["String"]},
    "Decimal": {"Decimal": _DECIMALS, "String": ["String"]},
    "names": {
        "String": ["LowCardinality(String)", "String"],
        "FixedString": [],
        "Enum": ["Enum8('red' = 1, 'blu' = 2, 'x' = 3)"],
    },
    "numbers": {"Int": ["Int8", "Int64", "Int128"]},
    "list": {"Array": ["Array(UInt8)", "Array(Decimal(9, 2))"], "String": ["String"]},
    "tuple": {
        "Tuple": ["Tuple(UInt8, FixedString(3))", "Tuple(a Int64, b String)"],
        "String": ["String"],
    },
    "dict": {"Map": ["Map(FixedString(3), UInt8)", "Map(String, Int64)"], "String": ["String"]},
    "Struct": {
        "Tuple": ["Tuple(n UInt8, real Float32, names Array(LowCardinality(String)))"],
        "String": ["String"],
    },
    "union": {"String": ["String"]},
}
"""Column types of each entry of the type table."""

LETTERS = st.characters(codec="utf-8")
_POWERS = [
    sign * 2**bits + step
    for bits in (7, 8, 15, 16, 24, 31, 32, 53, 63, 64, 127, 255, 256)
    for sign in (1, -1)
    for step in (-1, 0, 1)
]
_ADDRESSES = [
    "192.0.2.1",
    "255.255.255.255",
    "01.2.3.4",
    "2001:DB8::1",
    "::ffff:1.2.3.4",
    "::",
    "fe80::1%eth0",
    "1.2.3",
]
_INTS = st.sampled_from(_POWERS) | st.integers(-300, 300) | st.integers()
_TEXTS = (
    st.text(LETTERS, max_size=5)
    | st.sampled_from(
        [*_ADDRESSES, "1", "2", "3", "red", "it's, ok", "a", "abc", "é1", "\0", "", "x" * 300]
    )
    | st.text(string.ascii_letters, min_size=3, max_size=3)
)
_REALS = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [0.1, 1.23, 1.239, 16777217.0, 1e20, 1e-7, 5e-324, 1.7976931348623157e308, -0.0]
    )
    | st.decimals(-9999, 9999, places=2).map(float)
)
_DECIMAL_VALUES = (
    st.decimals(allow_nan=False, allow_infinity=False)
    | st.decimals(-(10**9), 10**9, places=2)
    | st.integers(-(10**12), 10**12).map(Decimal)
    | st.sampled_from(
        list(
            map(
                Decimal,
                [
                    "1E+5",
                    "1E-2",
                    "1E-7",
                    "-0",
                    "NaN",
                    "Infinity",
                    "0E-40",
                    "99999999.99",
                    "100000000",
                    "1.10",
                ],
            )
        )
    )
)

VALUES: dict[Python, Strategy] = {
    "str": _TEXTS,
    "int": _INTS,
    "float": _REALS,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=4) | st.binary(min_size=2, max_size=2),
    "datetime": st.builds(
        lambda at, zone, digits: at.replace(
            tzinfo=zone, microsecond=at.microsecond // 10**digits * 10**digits
        ),
        st.datetimes()
        | st.datetimes(dt.datetime(1969, 12, 30), dt.datetime(2106, 2, 8))
        | st.datetimes(dt.datetime(1899, 12, 30), dt.datetime(2300, 1, 3)),
        st.none() | ZONES,
        st.sampled_from([0, 3, 6]),
    ),
    "date": st.dates() | st.dates(dt.date(1969, 12, 30), dt.date(2149, 6, 9)),
    "time": st.times()
    | st.times().map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))
    | st.times().map(lambda t: t.replace(microsecond=0))
    | st.times(timezones=st.just(dt.UTC)),
    "timedelta": st.timedeltas() | st.timedeltas(dt.timedelta(-400), dt.timedelta(400)),
    "UUID": st.uuids(),
    "Decimal": _DECIMAL_VALUES,
    "names": st.sampled_from(Shade),
    "numbers": st.sampled_from(Level),
    "list": st.lists(_INTS, max_size=3),
    "tuple": st.tuples(_INTS, _TEXTS),
    "dict": st.dictionaries(_TEXTS, _INTS, max_size=3),
    "Struct": st.builds(Leaf, _INTS, _REALS, st.lists(_TEXTS, max_size=2)),
    "union": st.builds(Cat, _INTS) | st.builds(Dog, _TEXTS) | st.just(Dog()),
}
"""Any value of each Python type that JSON can carry, whether or not a column holds it."""


class Pair(Struct, frozen=True):
    """A field of one type in a column of one type.

    Attributes:
        kind: the Python type of the single values.
        wrapper: how they are wrapped: in a list, a dict, and so on; empty if they are not.
    """

    kind: Python
    column: str
    wrapper: str = ""

    @property
    def family(self) -> str:
        """The entry of the type table."""
        one = SqlType.parse(self.column).plain
        return one.name if one.name in RULES[self.kind] else column_family(one) or ""

    @property
    def field_type(self) -> Any:
        inner: Any = TYPES[self.kind]
        one = self.column
        match self.wrapper:
            case "optional":
                return Annotated[inner | None, column(one)]
            case "list":
                return Annotated[list[inner], column(f"Array({one})")]
            case "list of optional":
                return Annotated[list[inner | None], column(f"Array({nullable(one)})")]
            case "tuple":
                return Annotated[tuple[inner, int], column(f"Tuple({one}, Int64)")]
            case "dict":
                return Annotated[dict[str, inner], column(f"Map(String, {one})")]
            case "key":
                return Annotated[dict[inner, int], column(f"Map({one}, Int64)")]
            case "nested":
                nested = msgspec.defstruct(
                    "In", [("v", Annotated[inner, column(one)])], frozen=True
                )
                return list[nested]  # type: ignore[valid-type]
        return Annotated[inner, column(one)]

    @property
    def values(self) -> Strategy:
        one = VALUES[self.kind] | fitting(self.kind, SqlType.parse(self.column).plain)
        match self.wrapper:
            case "optional":
                return st.none() | one
            case "list":
                return st.lists(one, max_size=2)
            case "list of optional":
                return st.lists(st.none() | one, max_size=2)
            case "tuple":
                return st.tuples(one, st.integers(0, 9))
            case "dict":
                return st.dictionaries(st.text(LETTERS, max_size=3), one, max_size=2)
            case "key":
                return st.dictionaries(one, st.integers(0, 9), max_size=2)
            case "nested":
                return st.lists(one.map(lambda v: {"v": v}), max_size=2)
        return one

    def same(self, sent: Any, stored: Any) -> bool:
        """Whether the stored value, as clickhouse-connect returns it, is the decoded one."""
        if sent is None or stored is None:
            return sent is stored
        one = SqlType.parse(self.column).plain

        def same(a: Any, b: Any) -> bool:
            return same_value(self.kind, one, a, b)

        match self.wrapper:
            case "list" | "list of optional":
                return len(sent) == len(stored) and all(
                    (a is b is None) or (a is not None and b is not None and same(a, b))
                    for a, b in zip(sent, stored, strict=True)
                )
            case "tuple":
                return same(sent[0], stored[0]) and sent[1] == stored[1]
            case "dict":
                texts = {_text(key): value for key, value in stored.items()}
                return sent.keys() == texts.keys() and all(same(sent[k], texts[k]) for k in sent)
            case "key":
                left = list(stored.items())
                return len(left) == len(sent) and all(
                    any(same(key, k) and value == v for k, v in left) for key, value in sent.items()
                )
            case "nested":
                return len(sent) == len(stored) and all(
                    same(a.v, b["v"]) for a, b in zip(sent, stored, strict=True)
                )
        return same(sent, stored)


def fitting(kind: Python, one: SqlType) -> Strategy:
    """Values that few others are equal to, and that the column holds."""
    if kind == "str" and one.fixed_length:
        size = one.fixed_length
        return st.text(string.ascii_letters, min_size=size, max_size=size)
    if kind == "str" and one.enum_names:
        return st.sampled_from(one.enum_names)
    if kind == "str" and one.name in ("IPv4", "IPv6"):
        return st.ip_addresses(v=4 if one.name == "IPv4" else 6).map(str)
    small = st.integers(0, 99)
    text = st.text(string.ascii_letters, min_size=3, max_size=3)
    composite: dict[Python, Strategy] = {
        "int": small,
        "float": small.map(float),
        "Decimal": small.map(Decimal),
        "list": st.lists(small, max_size=3),
        "tuple": st.tuples(small, text),
        "dict": st.dictionaries(text, small, max_size=3),
        "Struct": st.builds(Leaf, small, st.just(0.25), st.lists(text, max_size=2)),
        "date": st.dates(dt.date(2000, 1, 1), dt.date(2100, 1, 1)),
        "datetime": st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1)).map(
            lambda at: at.replace(microsecond=0, tzinfo=dt.UTC)
        ),
        "time": st.times().map(lambda at: at.replace(microsecond=0)),
        "bytes": st.binary(min_size=2, max_size=2),
    }
    return composite.get(kind, VALUES[kind])


def nullable(type_: str) -> str:
    return str(SqlType.parse(type_).nullable)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def same_value(kind: Python, one: SqlType, sent: Any, stored: Any) -> bool:
    """Whether a single value is the same. Strings of the table are read as bytes."""
    if one.name == "String" and kind in ("list", "tuple", "dict", "Struct", "union"):
        return bool(msgspec.json.decode(stored) == msgspec.json.decode(_all_fields(sent)))
    if one.name == "String" and kind not in ("str", "bytes", "names"):
        again = msgspec.convert(stored.decode(), type(sent))
        return bool(again == sent) or (kind == "Decimal" and str(again) == str(sent))
    match kind:
        case "str":
            if one.name in ("IPv4", "IPv6"):
                return ipaddress.ip_address(sent) == ipaddress.ip_address(str(stored))
            return bool(sent == _text(stored))
        case "names":
            return bool(sent.value == _text(stored))
        case "numbers":
            return bool(sent.value == stored)
        case "int":
            return bool(int(stored) == sent and stored == sent)
        case "float":
            if one.name.startswith("Decimal"):
                return bool(stored == Decimal(repr(sent)))
            return repr(float(stored)) == repr(sent)
        case "datetime":
            moment = sent if sent.tzinfo else sent.replace(tzinfo=dt.UTC)
            # Where clocks are set back, an hour occurs twice: Python calls no such time of one zone
            # equal to one of another, and the client does not say which of the two it is.
            both = (stored.replace(fold=fold).astimezone(dt.UTC) for fold in (0, 1))
            return moment in both
        case "time":
            since = dt.timedelta(
                hours=sent.hour,
                minutes=sent.minute,
                seconds=sent.second,
                microseconds=sent.microsecond,
            )
            return bool(stored in (since, sent))
        case "timedelta":
            return bool(stored == sent // dt.timedelta(microseconds=1))
        case "list":
            return bool(list(stored) == sent)
        case "tuple":
            values = list(stored.values()) if isinstance(stored, dict) else list(stored)
            return bool(values[0] == sent[0] and _text(values[1]) == sent[1])
        case "dict":
            return bool({_text(k): v for k, v in stored.items()} == sent)
        case "Struct":
            names = [_text(name) for name in stored["names"]]
            return bool((stored["n"], stored["real"], names) == (sent.n, sent.real, sent.names))
    return bool(stored == sent)


def _all_fields(value: Any) -> bytes:
    if isinstance(value, Dog):  # its defaults are omitted otherwise
        return msgspec.json.encode({"type": "Dog", "name": value.name})
    return msgspec.json.encode(value)
