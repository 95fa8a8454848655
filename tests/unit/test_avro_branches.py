"""Unions of records within an Avro record."""

import json
from typing import Any

import pytest
from msgspec import Struct

from sluice.refusals import Reason, Refusal
from tests.contracts import contract_of
from tests.payloads import HEADER, decoder, record, written


class Card(Struct, frozen=True):
    number: str


class Wire(Struct, frozen=True, tag=True):
    number: str


class Cash(Struct, frozen=True, tag=True):
    number: str


class Till(Struct, frozen=True):
    name: str
    card: Card | None = None


class Payments(Struct, frozen=True):
    id: int
    paid: Card | None = None
    cards: list[Card] = []
    by_name: dict[str, Card] = {}
    any_of: Wire | Cash | None = None
    till: Till | None = None


ID = {"name": "id", "type": "long"}
TEXT = {"name": "number", "type": "string"}
KIND = {"name": "type", "type": "string"}


@pytest.mark.parametrize(
    ("field", "type_", "value", "refused"),
    [
        ("paid", ["null", "shop.Card", "shop.Refund"], ("shop.Card", {"number": "1"}), ""),
        ("paid", ["null", "shop.Card", "shop.Refund"], None, ""),
        ("paid", ["null", "shop.Card", "shop.Refund"], ("shop.Refund", {"number": "1"}), "paid"),
        # No other record is there, or none of this name.
        ("paid", ["null", "shop.Refund"], {"number": "1"}, ""),
        (
            "cards",
            {"type": "array", "items": ["shop.Card", "shop.Refund"]},
            [("shop.Card", {"number": "1"}), ("shop.Refund", {"number": "2"})],
            "cards[]",
        ),
        (
            "by_name",
            {"type": "map", "values": ["shop.Refund", "shop.Card"]},
            {"a": ("shop.Refund", {"number": "2"})},
            "by_name.a",
        ),
        (
            "any_of",
            ["null", "shop.Wire", "shop.Card"],
            ("shop.Wire", {"number": "2", "type": "Wire"}),
            "",
        ),
        ("any_of", ["null", "shop.Wire", "shop.Card"], ("shop.Card", {"number": "2"}), "any_of"),
        (
            "till",
            ["null", "shop.Till"],
            {"name": "a", "card": ("shop.Refund", {"number": "2"})},
            "till.card",
        ),
        # A field that the contract does not have may be anything.
        ("more", ["null", "shop.Card", "shop.Refund"], ("shop.Refund", {"number": "1"}), ""),
    ],
)
def test_a_field_reads_no_other_branch_of_a_union_than_that_of_its_name(
    field: str, type_: Any, value: Any, refused: str
) -> None:
    declared = {
        "shop.Card": record(TEXT, name="shop.Card"),
        "shop.Refund": record(TEXT, name="shop.Refund"),
        "shop.Wire": record(TEXT, KIND, name="shop.Wire"),
        "shop.Till": record(
            {"name": "name", "type": "string"},
            {"name": "card", "type": ["null", "shop.Card", "shop.Refund"]},
            name="shop.Till",
        ),
    }
    # Each is declared where it is used first.
    holders = [
        {"name": f"f{i}", "type": ["null", kind]} for i, kind in enumerate(declared.values())
    ]
    schema = record(ID, *holders, {"name": field, "type": type_}, name="Payments")
    payload = written(schema, {"id": 7, field: value})
    read = decoder(contract_of(Payments), "AVRO", json.dumps(schema)).decode(HEADER + payload)
    if refused:
        assert isinstance(read, Refusal)
        assert (read.reason, f"field {refused!r}" in read.message) == (Reason.UNKNOWN_TYPE, True)
    else:
        assert not isinstance(read, Refusal), read
        assert isinstance(read[0], Payments)


def test_any_record_is_read_where_none_has_the_name_of_the_structs_class() -> None:
    kinds = [record(TEXT, name="shop.Visa"), record(TEXT, name="shop.Master")]
    schema = record(ID, {"name": "paid", "type": ["null", *kinds]}, name="Payments")
    payload = written(schema, {"id": 7, "paid": ("shop.Master", {"number": "9"})})
    read = decoder(contract_of(Payments), "AVRO", json.dumps(schema)).decode(HEADER + payload)
    assert not isinstance(read, Refusal)
    assert read[0] == Payments(7, paid=Card("9"))
