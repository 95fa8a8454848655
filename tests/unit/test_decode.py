import json
from datetime import date, datetime
from random import Random
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from include.schemas.orders import UNKNOWN_ADDRESS, OrderEventMessage
from include.schemas.orders import contract as orders
from sluice.authoring.examples import example_message
from sluice.contract import Version
from sluice.decode.decoder import Decoder
from sluice.refusals import Reason, Refusal
from tests.contracts import contract_of

decoder = Decoder(orders)
ORDER: dict[str, Any] = msgspec.to_builtins(example_message(orders, Random(7)))
ORDER["created_at"] = "2026-11-24T12:00:00Z"  # fixed, because test ids contain it


def order(*without: str, **changed: Any) -> bytes:
    return json.dumps({k: v for k, v in (ORDER | changed).items() if k not in without}).encode()


def refuse(data: bytes, version: str = "") -> Refusal:
    refusal = decoder.decode(data, version)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def accept(data: bytes, version: str = "") -> tuple[OrderEventMessage, str]:
    decoded = decoder.decode(data, version)
    assert not isinstance(decoded, Refusal), decoded
    message, name = decoded
    assert isinstance(message, OrderEventMessage)
    return message, name


def test_a_current_message_is_read_unchanged() -> None:
    message, version = accept(order())
    assert version == "1.2"
    assert msgspec.to_builtins(message) == ORDER


def test_older_versions_are_inferred_from_their_fields_and_filled() -> None:
    message, version = accept(order("shipping_address"))
    assert (version, message.shipping_address) == ("1.1", UNKNOWN_ADDRESS)
    assert message.customer_email == ORDER["customer_email"]
    message, version = accept(order("shipping_address", "customer_email"))
    assert (version, message.shipping_address, message.customer_email) == (
        "1.0",
        UNKNOWN_ADDRESS,
        "",
    )


def test_a_header_decides_the_version() -> None:
    assert accept(order("shipping_address", "customer_email"), "1.0")[1] == "1.0"
    refusal = refuse(order("shipping_address"), "1.2")
    assert (refusal.reason, refusal.field, refusal.version) == (
        Reason.MISSING_FIELD,
        "shipping_address",
        "1.2",
    )


def test_a_newer_minor_version_is_read_by_the_current_reader() -> None:
    assert accept(order(loyalty_points=12), "1.7")[1] == "1.7"


@pytest.mark.parametrize(
    "version", ["2.0", "0.9", "latest", "1", "1.2.3", "٣.٤", "1." + "9" * 5000]
)
def test_an_unknown_version_is_refused(version: str) -> None:
    assert refuse(order(), version).reason is Reason.UNKNOWN_VERSION


def test_the_refusal_for_a_missing_field_names_the_closest_version() -> None:
    refusal = refuse(order("order_id"))
    assert (refusal.reason, refusal.field) == (Reason.MISSING_FIELD, "order_id")
    assert refusal.version == "1.2"
    refusal = refuse(order("shipping_address", "customer_email", "total_price"))
    assert (refusal.field, refusal.version) == ("total_price", "1.0")


def test_a_message_with_a_later_field_is_not_read_as_an_older_version() -> None:
    refusal = refuse(order("customer_email"))
    assert (refusal.reason, refusal.field, refusal.version) == (
        Reason.MISSING_FIELD,
        "customer_email",
        "1.2",
    )


def test_a_field_whose_name_is_encoded_with_escapes_is_read() -> None:
    """The guess from the bytes of the name is wrong here, and must not decide."""
    escaped = order().replace(b'"shipping_address"', b'"shipping\\u005faddress"')
    message, version = accept(escaped)
    assert version == "1.2"
    assert msgspec.to_builtins(message) == ORDER


def test_an_added_field_listed_first_does_not_hide_the_older_version() -> None:
    """The current reader reports only one missing field, and not always the newest."""

    class Thing(Struct, frozen=True):
        a: int
        b: int

    versions = [
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="1.1", released=date(2026, 2, 1), added={"a": 0}),
        Version(name="1.2", released=date(2026, 3, 1), added={"b": 0}),
    ]
    things = Decoder(contract_of(Thing, versions=versions))
    for data, expected, expected_version in (
        (b"{}", {"a": 0, "b": 0}, "1.0"),
        (b'{"a": 3}', {"a": 3, "b": 0}, "1.1"),
    ):
        decoded = things.decode(data)
        assert not isinstance(decoded, Refusal)
        message, version = decoded
        assert isinstance(message, Thing)
        assert (msgspec.structs.asdict(message), version) == (expected, expected_version)


NESTED = order().replace(b'"notes"', b'"deep": ' + b"[" * 20_000 + b"]" * 20_000 + b', "notes"')


@pytest.mark.parametrize(
    ("data", "reason", "field"),
    [
        (b"", Reason.EMPTY_VALUE, ""),
        (b"   ", Reason.NOT_JSON, ""),
        (b"<xml/>", Reason.NOT_JSON, ""),
        (order()[:100], Reason.NOT_JSON, ""),
        (b"[1, 2]", Reason.WRONG_TYPE, ""),
        (b"null", Reason.WRONG_TYPE, ""),
        (order() + b"\x00", Reason.TRAILING_BYTES, ""),
        (order() + b"{}", Reason.TRAILING_BYTES, ""),
        (b"\x00", Reason.UNKNOWN_WIRE_FORMAT, ""),
        (b"\x00\x00\x00\x00\x07\x02\x0aabc", Reason.UNKNOWN_WIRE_FORMAT, ""),
        (order().decode().encode("utf-16"), Reason.BAD_ENCODING, ""),
        (order(notes="x").replace(b'"x"', b'"\xff"'), Reason.BAD_ENCODING, ""),
        (order(notes="x").replace(b'"x"', b'"\\ud800"'), Reason.BAD_ENCODING, ""),
        (order(notes="x").replace(b'"x"', b'"\\ud83d"'), Reason.BAD_ENCODING, ""),
        (order()[:-2] + b"\\ud83d", Reason.NOT_JSON, ""),
        (NESTED, Reason.TOO_DEEP, ""),
        (order(total_price="12"), Reason.WRONG_TYPE, "total_price"),
        (order(total_price=None), Reason.WRONG_TYPE, "total_price"),
        (order(total_price="@").replace(b'"@"', b"NaN"), Reason.NOT_JSON, ""),
        (order(total_price="@").replace(b'"@"', b"1e999"), Reason.OUT_OF_RANGE, "total_price"),
        (order(total_price=-1), Reason.OUT_OF_RANGE, "total_price"),
        (order(customer_name=""), Reason.OUT_OF_RANGE, "customer_name"),
        (order(notes="x" * 1001), Reason.OUT_OF_RANGE, "notes"),
        (order(line_items=[]), Reason.OUT_OF_RANGE, "line_items"),
        (order(created_at="yesterday"), Reason.WRONG_TYPE, "created_at"),
        (order(created_at="1850-01-01T00:00:00Z"), Reason.OUT_OF_RANGE, "created_at"),
        (order(created_at="2300-01-01T00:00:00"), Reason.OUT_OF_RANGE, "created_at"),
        (order(line_items=[{}]), Reason.MISSING_FIELD, "line_items[0].line_item_id"),
        (
            order(line_items=[ORDER["line_items"][0] | {"quantity": 0}]),
            Reason.OUT_OF_RANGE,
            "line_items[0].quantity",
        ),
        (
            order(shipping_address=ORDER["shipping_address"] | {"city": 5}),
            Reason.WRONG_TYPE,
            "shipping_address.city",
        ),
    ],
)
def test_bad_messages_are_refused_with_reason_and_field(
    data: bytes, reason: Reason, field: str
) -> None:
    refusal = refuse(data)
    assert (refusal.reason, refusal.field) == (reason, field), refusal
    assert refusal.message


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + order(),
        b"\x00\x00\x00\x00\x07" + order(),
        b"\x00\x00\x00\x00\x07\xef\xbb\xbf" + order(),
        b" \n" + order() + b"\r\n",
    ],
)
def test_the_envelope_is_stripped(data: bytes) -> None:
    assert accept(data)[1] == "1.2"


def test_an_older_version_behind_a_registry_header_is_filled() -> None:
    assert accept(b"\x00\x00\x00\x00\x07" + order("shipping_address"))[1] == "1.1"


def test_the_last_of_duplicate_keys_is_used() -> None:
    data = order().replace(b'"order_id"', b'"order_id": "first", "order_id"', 1)
    assert accept(data)[0].order_id == ORDER["order_id"]


class Numbers(Struct, frozen=True):
    """Integers that msgspec accepts and that ClickHouse would change silently."""

    plain: int
    bounded: Annotated[int, Meta(ge=0, le=9)] = 0
    many: dict[str, list[int]] = {}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"plain": 9223372036854775808}', "plain"),
        (b'{"plain": -9223372036854775809}', "plain"),
        (b'{"plain": 1' + b"0" * 400 + b"}", "plain"),
        (b'{"plain": 1, "many": {"k": [1, 9223372036854775808]}}', "many[k][1]"),
    ],
)
def test_an_integer_beyond_its_column_is_refused(data: bytes, field: str) -> None:
    refusal = Decoder(contract_of(Numbers)).decode(data)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.field) == (Reason.OUT_OF_RANGE, field)


@given(st.binary(max_size=300))
def test_any_bytes_return_a_message_or_a_refusal(data: bytes) -> None:
    assert isinstance(decoder.decode(data), tuple | Refusal)


@given(st.integers(0, 600), st.binary(max_size=6), st.integers(0, 6))
def test_any_damage_to_a_message_returns_a_message_or_a_refusal(
    position: int, inserted: bytes, removed: int
) -> None:
    data = order()
    damaged = data[:position] + inserted + data[position + removed :]
    assert isinstance(decoder.decode(damaged), tuple | Refusal)


class Sent(Struct, frozen=True):
    """A message with a time."""

    at: datetime
    text: str = ""


def test_a_name_that_is_not_utf8_beside_a_suspect_time_is_refused() -> None:
    """msgspec passes over unknown names; the search for finer times reads them."""
    data = b'{"at":"2026-01-01T00:00:00Z","text":"\\u0041","\x80":1}'
    refusal = Decoder(contract_of(Sent)).decode(data)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.BAD_ENCODING
