"""Masking of the values of sensitive fields."""

from datetime import date

import msgspec
import pytest

from include.schemas.orders import contract as orders
from sluice.contract import Version
from sluice.contract.masking import MASKED, mask
from sluice.refusals import Reason
from tests.contracts import contract_of


@pytest.mark.parametrize(
    "field", ["customer_email", "shipping_address.street", "shipping_address[0].city"]
)
def test_sensitive_fields_are_masked(field: str) -> None:
    assert mask(orders, Reason.OUT_OF_RANGE, field, "'ann@example.com' is too long") == MASKED


@pytest.mark.parametrize("field", ["order_id", "line_items[0].price", "notes.customer_email"])
def test_other_fields_are_not_masked(field: str) -> None:
    assert mask(orders, Reason.OUT_OF_RANGE, field, "too long") == "too long"


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (Reason.REFUSED_BY_CLICKHOUSE, "before: 'ann@'"),
        (Reason.WRONG_TYPE, "1.1 cannot be lifted: ValueError: 'ann@'"),
        (Reason.NOT_JSON, "truncated (repair failed: ValueError: 'ann@')"),
    ],
)
def test_texts_of_clickhouse_and_of_a_contract_s_own_code_are_masked(
    reason: Reason, message: str
) -> None:
    assert mask(orders, reason, "", message) == MASKED


def test_texts_about_the_encoding_are_not_masked() -> None:
    text = "invalid character (byte 3)"
    assert mask(orders, Reason.NOT_JSON, "", text) == text


class Person(msgspec.Struct, frozen=True):
    """A person."""

    name: str


class Renamed(msgspec.Struct, frozen=True, rename="camel"):
    """A person whose fields have other names in messages."""

    mail_address: str


def test_the_name_of_a_sensitive_field_in_messages_is_masked() -> None:
    sensitive = contract_of(Renamed, sensitive=frozenset({"mail_address"}))
    assert mask(sensitive, Reason.OUT_OF_RANGE, "mailAddress", "'ann@'") == MASKED


def test_an_older_name_of_a_sensitive_field_is_masked() -> None:
    versions = (
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="2.0", released=date(2026, 2, 1), renamed={"full_name": "name"}),
    )
    sensitive = contract_of(Person, versions=versions, sensitive=frozenset({"name"}))
    assert mask(sensitive, Reason.WRONG_TYPE, "full_name", "x") == MASKED
    not_sensitive = contract_of(Person, versions=versions)
    assert mask(not_sensitive, Reason.REFUSED_BY_CLICKHOUSE, "", "x") == "x"
