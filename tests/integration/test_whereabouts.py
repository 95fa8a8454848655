"""Where is message X, in one step."""

from random import Random

import msgspec
import pytest

from sluice.contract import Contract
from sluice.decode.tracing import TracingHelper
from sluice.errors import PlanError
from sluice.loader import Loader
from sluice.report.find_message import FoundMessage, MessageFinder
from tests.commands import Run
from tests.conftest import MakeLoader, load


def asked(loader: Loader, name: str, value: str) -> list[FoundMessage]:
    return MessageFinder(loader.contract, loader.clickhouse, loader.ledger.database).find(
        name, value
    )


def sent(make_loader: MakeLoader, contract: Contract, *values: bytes) -> Loader:
    loader = make_loader(contract, "airflow/load_orders/run+1")
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    for value in values:
        producer.produce(contract.topic, value, headers=[("correlation_id", b"from the header")])
    producer.flush()
    return loader


def test_an_order_is_found_by_its_id_by_correlation_and_by_offset(
    make_loader: MakeLoader, contract: Contract
) -> None:
    order = contract.example(Random(1))
    key = str(getattr(order, "order_id"))  # noqa: B009
    loader = sent(make_loader, contract, b"{}", msgspec.json.encode(order))
    load_id = load(loader)
    (place,) = asked(loader, "order_id", key)
    assert (place.status, place.partition, place.offset) == ("loaded", 0, 1)
    assert (place.load_id, place.run) == (load_id, "airflow/load_orders/run+1")
    assert place.correlation_id == "from the header"
    assert asked(loader, "offset", "0:1") == [place]
    assert place in asked(loader, "correlation_id", "from the header")
    assert asked(loader, "order_id", "another") == []


def test_a_refused_message_is_found_by_what_its_bytes_mention(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = sent(make_loader, contract, b'{"order_id": "o-17", "total_price": "<b>much</b>"}')
    load_id = load(loader)
    (place,) = asked(loader, "order_id", "o-17")
    assert (place.status, place.load_id, place.offset) == ("quarantined", load_id, 0)
    assert place.reason
    assert place.message
    assert asked(loader, "correlation_id", "from the header") == [place]
    assert asked(loader, "offset", "0:0") == [place]


def test_ids_in_the_body_of_a_traced_message_reach_the_row(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    traced = TracingHelper.add_tracing(contract.example(Random(2)), "in the body")
    traced = msgspec.structs.replace(traced, trace_id="t" * 32, span_id="s" * 16)
    producer = loader.broker.producer()
    producer.produce(contract.topic, msgspec.json.encode(traced))
    producer.flush()
    load(loader)
    (place,) = asked(loader, "correlation_id", "in the body")
    assert place.status == "loaded"
    (row,) = loader.clickhouse.rows("SELECT _trace_id AS t, _span_id AS s FROM orders")
    assert row == {"t": "t" * 32, "s": "s" * 16}


def test_questions_that_cannot_be_answered(make_loader: MakeLoader, contract: Contract) -> None:
    loader = sent(make_loader, contract)
    loader.create_tables()
    for name, value, said in (
        ("colour", "red", "has no 'colour'; ask for order_id"),
        ("created_at", "soon", "'soon' is no DateTime64"),
        ("total_price", "much", "'much' is no Float64"),
        ("offset", "17", "partition:offset"),
    ):
        with pytest.raises(PlanError, match=said):
            asked(loader, name, value)


def test_the_command(run: Run) -> None:
    run("produce-samples", "payments", "--count", "50", "--partitions", "1")
    assert run("load", "payments").exit_code == 0
    found = run("where", "payments", "offset=0:3")
    assert found.exit_code == 0, found.output
    assert "loaded" in found.output
    assert "no row and no refused message" in run("where", "payments", "payment_id=x").output
    assert "ask with a name and a value" in run("where", "payments", "x").output
