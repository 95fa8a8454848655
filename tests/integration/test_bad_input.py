"""Every kind of bad input that a topic may contain, sent through the real broker in one load.

Each message must be loaded, counted as a tombstone, or quarantined unchanged with its reason.
Nothing is lost, and no message makes the load fail.
"""

import json
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from include.schemas.orders import contract as orders
from sluice.authoring.examples import example_message
from sluice.contract import Breaker, Contract, Table
from sluice.contract.columns import STAGED
from sluice.loader import Loader
from tests.conftest import MakeLoader, load
from tests.contracts import contract_of
from tests.loads import leftovers, sums

ORDER: dict[str, Any] = msgspec.to_builtins(example_message(orders, Random(11)))


def order(*without: str, **changed: Any) -> bytes:
    return json.dumps({k: v for k, v in (ORDER | changed).items() if k not in without}).encode()


GOOD = order()
BIG = order(notes="n" * 900, line_items=[ORDER["line_items"][0]] * 8000)

CASES: dict[str, tuple[bytes | None, str]] = {
    "good": (GOOD, "loaded"),
    "not JSON": (b"<xml/>", "not_json"),
    "truncated JSON": (GOOD[:-20], "not_json"),
    "a wrong type": (order(total_price="12.5"), "wrong_type"),
    "null where a value must be": (order(customer_name=None), "wrong_type"),
    "a missing field": (order("order_id"), "missing_field"),
    "NaN": (order(total_price=float("nan")), "not_json"),
    "infinity": (order(total_price=float("inf")), "not_json"),
    "a huge number": (
        order(total_price=0).replace(b'"total_price": 0', b'"total_price": 1e400'),
        "out_of_range",
    ),
    "a huge integer": (
        order(line_items=[ORDER["line_items"][0] | {"quantity": 10**30}]),
        "out_of_range",
    ),
    "a date before all dates": (order(created_at="0001-01-01T00:00:00Z"), "out_of_range"),
    "a date after all dates": (order(created_at="9999-12-31T23:59:59Z"), "out_of_range"),
    "invalid UTF-8": (GOOD.replace(b'"L1"', b'"L\xff"'), "bad_encoding"),
    "a lone surrogate": (order(notes="@").replace(b"@", b"\\ud83d"), "bad_encoding"),
    "duplicate keys": (GOOD.replace(b"{", b'{"order_id": "other", ', 1), "loaded"),
    "deep nesting": (
        GOOD[:-1] + b', "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "too_deep",
    ),
    "an empty value": (b"", "empty_value"),
    "a null value": (None, "tombstone"),
    "a 1 MB message": (BIG, "loaded"),
    "a 1 MB message that is broken": (BIG[:-1], "not_json"),
    "trailing bytes": (GOOD + b"\x00\x00", "trailing_bytes"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "loaded"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "bad_encoding"),
    "a registry header": (b"\x00\x00\x00\x00\x01" + GOOD, "loaded"),
    "a registry header before Avro": (b"\x00\x00\x00\x00\x01\x06abc", "unknown_wire_format"),
    "hostile text": (order(notes="'; DROP TABLE orders; -- <script>alert(1)</script>"), "loaded"),
    "a zero byte in a string": (order(notes="a\x00b"), "loaded"),
    "an unknown field": (order(unknown={"deep": [1, 2]}), "loaded"),
    "not an object": (b"[]", "wrong_type"),
}


@pytest.fixture(scope="module")
def names() -> list[str]:
    return list(CASES)


def send(loader: Loader, values: list[tuple[str, bytes | None]]) -> None:
    loader.broker.create_topic(loader.contract.topic, 1, {"max.message.bytes": "16000000"})
    producer = loader.broker.producer(**{"message.max.bytes": 16_000_000})
    for name, value in values:
        producer.produce(
            loader.contract.topic, value, key=name, headers=[("raw", b"\x00\xff"), ("none", None)]
        )
    producer.flush()


def test_every_bad_message_is_accounted_for(
    make_loader: MakeLoader, contract: Contract, names: list[str]
) -> None:
    tolerant = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=1.0), rules=())
    loader = make_loader(tolerant)
    assert len(BIG) > 1_000_000
    send(loader, [(name, value) for name, (value, _) in CASES.items()])
    load_id = load(loader)

    account = sums(loader, load_id)
    outcomes = [outcome for _, outcome in CASES.values()]
    assert account["planned"] == len(CASES)
    assert account["loaded"] == outcomes.count("loaded")
    assert account["tombstones"] == outcomes.count("tombstone")
    assert account["difference"] == 0

    actual: dict[str, str] = {}
    for row in loader.clickhouse.rows("SELECT _offset FROM orders"):
        actual[names[row["_offset"]]] = "loaded"
    quarantine = loader.clickhouse.rows(
        "SELECT offset, reason, message, key, hex(value) AS value, headers"
        f" FROM {loader.ledger.database}.quarantine"
    )
    for row in quarantine:
        name = names[row["offset"]]
        actual[name] = row["reason"]
        assert row["key"] == name
        assert bytes.fromhex(row["value"]) == CASES[name][0], "stored unchanged"
        assert row["message"]
    expected = {name: outcome for name, (_, outcome) in CASES.items() if outcome != "tombstone"}
    assert actual == expected

    by_name = {names[r["_offset"]]: r for r in loader.clickhouse.rows("SELECT * FROM orders")}
    assert by_name["duplicate keys"]["order_id"] == ORDER["order_id"]
    assert by_name["a zero byte in a string"]["notes"] == "a\x00b"
    assert by_name["hostile text"]["notes"].endswith("</script>")
    assert leftovers(loader) == []


class Thing(Struct, frozen=True):
    """A message.

    Attributes:
        name: name of the thing.
        colour: its colour.
    """

    name: str
    colour: str


@pytest.mark.parametrize("bad", [{0}, {499}, {7, 8, 300}, set(range(500))])
def test_a_row_that_clickhouse_refuses_does_not_affect_the_rest_of_its_batch(
    make_loader: MakeLoader, contract: Contract, bad: set[int]
) -> None:
    things = contract_of(
        Thing,
        topic=contract.topic,
        table=Table(name="things", order_by=("name",)),
        breaker=Breaker(max_refused_share=1.0),
    )
    loader = make_loader(things)
    values = [
        (str(n), msgspec.json.encode(Thing(str(n), "green" if n in bad else "blue")))
        for n in range(500)
    ]
    send(loader, [(name, value) for name, value in values])
    load_id = loader.plan().load_id
    # The decoder refuses whatever does not fit its column, so the table is made narrower.
    loader.clickhouse.execute(
        f"ALTER TABLE {loader.ledger.staging.rows(loader.known(load_id)).table}"
        f" MODIFY COLUMN `{STAGED}`"
        " Tuple(name String, colour Enum8('red' = 1, 'blue' = 2))"
    )
    loader.drain(load_id, 0)
    loader.audit(load_id)
    loader.publish(load_id)
    account = sums(loader, load_id)
    assert (account["loaded"], account["quarantined"]) == (500 - len(bad), len(bad))
    rows = loader.clickhouse.rows(
        f"SELECT offset, reason, code, message FROM {loader.ledger.database}.quarantine"
    )
    assert {row["offset"] for row in rows} == bad
    assert {(row["reason"], row["code"]) for row in rows} == {("refused_by_clickhouse", 691)}
    assert all("UNKNOWN_ELEMENT_OF_ENUM" in row["message"] for row in rows)


def test_a_message_over_the_size_limit_is_quarantined_unchanged(
    make_loader: MakeLoader, contract: Contract
) -> None:
    tolerant = msgspec.structs.replace(contract, breaker=Breaker(max_refused_share=1.0))
    loader = make_loader(tolerant, max_message_bytes=1000)
    send(loader, [("small", GOOD), ("big", BIG), ("small again", GOOD)])
    account = sums(loader, load(loader))
    assert (account["loaded"], account["quarantined"]) == (2, 1)
    row = loader.clickhouse.rows(
        f"SELECT reason, message, length(value) AS n FROM {loader.ledger.database}.quarantine"
    )[0]
    assert (row["reason"], row["n"]) == ("too_large", len(BIG))
    assert "SLUICE_MAX_MESSAGE_BYTES" in row["message"]
