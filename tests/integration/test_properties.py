"""Properties: a loaded message reads back equal, and no input breaks the decoder."""

import datetime as dt
import re
import uuid
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec import inspect as mi

from include.schemas.orders import contract as orders
from include.schemas.payments import contract as payments
from sluice.contract import Contract, column
from sluice.contract.columns import columns_of
from sluice.contract.inspection import unwrap
from sluice.decode.decoder import Decoder
from sluice.refusals import Reason, Refusal
from sluice.store.clickhouse import ClickHouse
from tests.contracts import contract_of
from tests.integration.test_types import Colour, Level, through_the_engine
from tests.strategies import messages

ENGINE = settings(
    max_examples=15,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking a batch takes minutes
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Each example is a batch of up to 30 messages."""

AS_JSON = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 1,
}


class Leaf(Struct, frozen=True):
    x: int
    names: list[str] = []


class Outer(Struct, frozen=True):
    tag: str
    leaf: Leaf | None


class Wide(Struct, frozen=True, kw_only=True):
    """The types whose values a database can return as JSON."""

    text: str
    number: int
    real: float
    flag: bool
    at: dt.datetime
    day: dt.date
    clock: dt.time
    span: dt.timedelta
    ident: uuid.UUID
    colour: Colour
    level: Level
    maybe: str | None
    maybe_number: int | None
    numbers: list[int]
    gaps: list[float | None]
    names: frozenset[str]
    pair: tuple[int, str]
    labels: dict[str, str]
    spans: list[dt.timedelta]
    outers: list[Outer]


class Nested(Struct, frozen=True, kw_only=True):
    id: int
    wide: Wide | None
    deep: Outer


CONTRACTS = {
    "orders": orders,
    "payments": payments,
    "nested": contract_of(Nested, topic="nested"),
}


def rebuild(info: mi.StructType, row: dict[str, Any], path: tuple[str, ...] = ()) -> Any:
    """Rebuild the message from the columns of a row."""
    values = {}
    for field in info.fields:
        field_path = (*path, field.encode_name)
        inner, _, nullable = unwrap(field.type)
        if isinstance(inner, mi.StructType):
            absent = nullable and not row["_".join((*field_path, "given"))]
            values[field.name] = None if absent else rebuild(inner, row, field_path)
        else:
            values[field.name] = convert_back(inner, row["_".join(field_path)])
    return info.cls(**values)


def convert_back(info: mi.Type, value: Any) -> Any:
    """Convert a column's JSON to the field's value."""
    inner, _, _ = unwrap(info)
    if value is None:
        return None
    match inner:
        case mi.TimeDeltaType():
            return dt.timedelta(microseconds=value)
        case mi.ListType(item_type=item):
            return [convert_back(item, v) for v in value]
        case mi.StructType(cls=cls, fields=fields):
            return cls(**{f.name: convert_back(f.type, value[f.encode_name]) for f in fields})
        case mi.EnumType(cls=cls):
            return cls(value)
        case mi.TupleType(item_types=items):
            return tuple(convert_back(i, v) for i, v in zip(items, value, strict=True))
    return msgspec.convert(value, _python(inner), strict=False)


def _python(info: mi.Type) -> Any:
    """The Python type of a scalar field."""
    simple: dict[type[mi.Type], Any] = {
        mi.StrType: str,
        mi.IntType: int,
        mi.FloatType: float,
        mi.BoolType: bool,
        mi.DateTimeType: dt.datetime,
        mi.DateType: dt.date,
        mi.TimeType: dt.time,
        mi.DecimalType: Decimal,
        mi.UUIDType: uuid.UUID,
        mi.FrozenSetType: frozenset[str],
        mi.DictType: dict[str, str],
    }
    return simple[type(info)]


@pytest.mark.parametrize("name", CONTRACTS)
@ENGINE
@given(data=st.data())
def test_a_message_that_is_loaded_and_read_back_is_equal(
    name: str, clickhouse: ClickHouse, data: st.DataObject
) -> None:
    contract = CONTRACTS[name]
    batch = data.draw(st.lists(messages(contract.message), min_size=1, max_size=30))
    decoder = Decoder(contract)
    for table in (contract.table.name, "staged"):
        clickhouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")
    decoded = []
    for message in batch:
        result = decoder.decode(msgspec.json.encode(message))
        assert not isinstance(result, Refusal), (result, message)
        decoded.append(result[0])
    through_the_engine(clickhouse, contract, decoded)
    columns = ", ".join(f"`{c.name}`" for c in columns_of(contract.message))
    text = clickhouse.client.raw_query(
        f"SELECT {columns} FROM {contract.table.name} ORDER BY _offset",
        settings=AS_JSON,
        fmt="JSONEachRow",
    )
    info = mi.type_info(contract.message)
    assert isinstance(info, mi.StructType)
    rows = [msgspec.json.decode(line) for line in text.splitlines()]
    assert [rebuild(info, row) for row in rows] == batch


class Event(Struct, frozen=True):
    name: str
    at: Annotated[dt.datetime, column("DateTime64(3, 'UTC')")] = dt.datetime(2026, 1, 1)
    took: dt.timedelta = dt.timedelta()


FINER_TIME = Event("a", at=dt.datetime(2026, 1, 1, 12, 0, 0, 123_456, dt.UTC))
LONG_TIME = Event("a", took=dt.timedelta.max)


@pytest.mark.parametrize("message", [FINER_TIME, LONG_TIME], ids=["finer time", "long time"])
def test_a_value_that_its_column_cannot_hold_is_refused(message: Event) -> None:
    decoded = Decoder(contract_of(Event)).decode(msgspec.json.encode(message))
    assert isinstance(decoded, Refusal)


def json_values() -> st.SearchStrategy[Any]:
    names = [f.encode_name for f in msgspec.structs.fields(orders.message)]
    keys = st.sampled_from([*names, "street", "price"]) | st.text(max_size=5)
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=9),
        max_leaves=30,
    )


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def mangle(data: bytes, at: int, new: bytes, cut: int) -> bytes:
    """Overwrite some of the bytes, and cut off the end."""
    at %= len(data) + 1
    return (data[:at] + new + data[at + len(new) :])[: len(data) - cut % (len(data) + 1)]


ANY = (
    st.binary(max_size=200)
    | json_values().map(encode)
    | st.builds(
        mangle,
        messages(orders.message).map(encode),
        st.integers(0, 2000),
        st.binary(max_size=8),
        st.integers(0, 3),
    )
)
HEADERS = st.sampled_from(["", "1.0", "1.1", "1.2", "1.9", "2.0", "x"]) | st.text(max_size=6)
WIRE = st.sampled_from([b"", b"\x00\x00\x00\x00\x07", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"])

DECODERS: dict[str, tuple[Contract, Decoder]] = {n: (c, Decoder(c)) for n, c in CONTRACTS.items()}


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=ANY, version=HEADERS, wire=WIRE, name=st.sampled_from(sorted(DECODERS)))
def test_any_bytes_decode_to_a_message_or_a_refusal(
    data: bytes, version: str, wire: bytes, name: str
) -> None:
    contract, decoder = DECODERS[name]
    result = decoder.decode(wire + data, version)
    if isinstance(result, Refusal):
        assert result.reason in Reason
        assert result.message
    else:
        message, detected_version = result
        assert isinstance(message, contract.message)
        assert re.fullmatch(r"\d+\.\d+", detected_version)
