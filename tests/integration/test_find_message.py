"""Finding a message by a value, a correlation id or an offset."""

from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Annotated
from uuid import UUID

import msgspec
import pytest
from msgspec import Struct

from sluice.authoring.examples import example_message
from sluice.contract import Contract, column
from sluice.decode.tracing import TracingHelper
from sluice.errors import PlanError
from sluice.loader import Loader
from sluice.report.find_message import MessageFinder
from sluice.report.found_message import FoundMessage
from tests.commands import Run
from tests.conftest import MakeLoader, load, with_topic
from tests.contracts import contract_of


def find_message(loader: Loader, name: str, value: str) -> list[FoundMessage]:
    return MessageFinder(loader.contract, loader.clickhouse, loader.ledger.database).find(
        name, value
    )


def loader_with_messages(make_loader: MakeLoader, contract: Contract, *values: bytes) -> Loader:
    """A loader whose topic holds the given messages in one partition."""
    loader = make_loader(contract, "airflow/load_orders/run+1")
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    for value in values:
        producer.produce(contract.topic, value, headers=[("correlation_id", b"from the header")])
    producer.flush()
    return loader


def test_a_loaded_message_is_found_by_key_correlation_id_and_offset(
    make_loader: MakeLoader, contract: Contract
) -> None:
    order = example_message(contract, Random(1))
    key = str(getattr(order, "order_id"))  # noqa: B009
    loader = loader_with_messages(make_loader, contract, b"{}", msgspec.json.encode(order))
    load_id = load(loader)
    (place,) = find_message(loader, "order_id", key)
    assert (place.status, place.partition, place.offset) == ("loaded", 0, 1)
    assert (place.load_id, place.run) == (load_id, "airflow/load_orders/run+1")
    assert place.correlation_id == "from the header"
    assert find_message(loader, "offset", "0:1") == [place]
    assert place in find_message(loader, "correlation_id", "from the header")
    assert find_message(loader, "order_id", "another") == []


def test_a_refused_message_is_found_by_text_in_its_bytes(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = loader_with_messages(
        make_loader, contract, b'{"order_id": "o-17", "total_price": "<b>much</b>"}'
    )
    load_id = load(loader)
    (place,) = find_message(loader, "order_id", "o-17")
    assert (place.status, place.load_id, place.offset) == ("quarantined", load_id, 0)
    assert place.reason
    assert place.message
    assert find_message(loader, "correlation_id", "from the header") == [place]
    assert find_message(loader, "offset", "0:0") == [place]


def test_ids_in_the_body_of_a_traced_message_are_stored_in_the_row(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    traced = TracingHelper.add_tracing(example_message(contract, Random(2)), "in the body")
    traced = msgspec.structs.replace(traced, trace_id="t" * 32, span_id="s" * 16)
    producer = loader.broker.producer()
    producer.produce(contract.topic, msgspec.json.encode(traced))
    producer.flush()
    load(loader)
    (place,) = find_message(loader, "correlation_id", "in the body")
    assert place.status == "loaded"
    (row,) = loader.clickhouse.rows("SELECT _trace_id AS t, _span_id AS s FROM orders")
    assert row == {"t": "t" * 32, "s": "s" * 16}


def test_an_unknown_field_or_a_malformed_value_is_refused(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = loader_with_messages(make_loader, contract)
    loader.create_tables()
    for name, value in (("colour", "red"), ("offset", "17")):
        with pytest.raises(PlanError) as raised:
            find_message(loader, name, value)
        assert (raised.value.topic, raised.value.field) == (contract.topic, name)
    for name, value, kind in (
        ("created_at", "soon", "DateTime64"),
        ("total_price", "much", "Float64"),
    ):
        with pytest.raises(PlanError) as raised:
            find_message(loader, name, value)
        assert raised.value.topic == contract.topic
        assert repr(value) in raised.value.detail
        assert kind in raised.value.detail


class Thing(Struct, frozen=True, kw_only=True):
    id: str
    v: int
    n: Annotated[int, column("UInt8")]
    d: Annotated[Decimal, column("Decimal(18, 9)")]
    f: float
    u: UUID | None
    at: datetime | None
    day: Annotated[date, column("Date")]
    parts: Annotated[list[int], column("Array(UInt8)")]


def test_a_value_that_the_column_cannot_hold_finds_no_other_row(make_loader: MakeLoader) -> None:
    """Conversions wrap around, cut off digits, and make null of what is no value."""
    contract = with_topic(contract_of(Thing))
    value = msgspec.json.encode(
        Thing(
            id="a",
            v=5,
            n=5,
            d=Decimal("1.5"),
            f=0.1,
            u=UUID(int=7),
            at=datetime(2026, 1, 1, tzinfo=UTC),
            day=date(2026, 1, 1),
            parts=[1, 2],
        )
    )
    loader = loader_with_messages(make_loader, contract, value)
    load(loader)
    for condition in (
        "v=5",
        "n=5",
        "d=1.50",
        "f=0.1",
        f"u={UUID(int=7)}",
        "at=2026-01-01T01:00:00+01:00",
        "at=1767225600",
        "day=2026-01-01",
        "parts=[1, 2]",
    ):
        name, _, text = condition.partition("=")
        assert [m.offset for m in find_message(loader, name, text)] == [0], condition
    for condition in (
        "v=18446744073709551621",
        "v=5.0",
        "n=261",
        "n=-251",
        "d=1.5000000004",
        "f=0.10000000000000001",
        "u=garbage",
        "at=2026-01-01T00:00:00.0000001Z",
        "at=yesterday",
        "day=2205-06-08",
        "parts=[257, 2]",
    ):
        name, _, text = condition.partition("=")
        with pytest.raises(PlanError) as raised:
            find_message(loader, name, text)
        assert raised.value.field == name
        assert f"{text!r} is not a value of type" in raised.value.detail


def test_the_where_command(run: Run) -> None:
    run("produce-samples", "payments", "--count", "50", "--partitions", "1")
    assert run("load", "payments").exit_code == 0
    result = run("where", "payments", "offset=0:3")
    assert result.exit_code == 0, result.output
    assert "loaded" in result.output
    missing = run("where", "payments", "payment_id=x")
    assert missing.exit_code == 1
    assert "payment_id=x" in missing.output
    malformed = run("where", "payments", "x")
    assert malformed.exit_code == 1
    assert "order_id=o-17" in malformed.output
