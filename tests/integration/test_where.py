"""Every offset has an answer, in the command and on the page; and a load that reads nothing says
what that means.
"""

import re
import time
from datetime import date
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from msgspec import Struct

from sluice.airflow.pages import find_message as page
from sluice.airflow.pages.responses import TEMPLATES
from sluice.authoring.examples import example_message
from sluice.contract import Contract, Table, Version, find
from sluice.errors import BrokerError, PlanError
from sluice.loader import Loader
from sluice.report.find_message import MessageFinder
from sluice.report.found_message import GOOD, SENTENCES, FoundMessage
from sluice.report.html import render
from sluice.settings import Connection
from sluice.store.load_state import State
from sluice.store.request import Request
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.contracts import contract_of
from tests.loads import delete_up_to, finish

EXPECTED = {
    "0:0": "removed",
    "0:2": "loaded",
    "0:3": "quarantined",
    "0:4": "tombstone",
    "0:5": "loaded",
    "0:6": "absent",
    "0:7": "held",
    "0:8": "staged",
    "0:9": "reserved",
    "0:10": "not loaded",
    "0:11": "beyond the end",
    "7:0": "no partition",
}
"""Offset → its status, in the topic that :func:`world` fills."""


def order_of(contract: Contract, seed: int) -> bytes:
    return msgspec.json.encode(example_message(contract, Random(seed)))


def one_more(make_loader: MakeLoader, contract: Contract) -> tuple[Loader, str]:
    """A loader that leaves other loads alone, and its load of one more offset."""
    loader = make_loader(contract)
    loader.settler.is_over = lambda owner: False
    return loader, loader.plan(Request(max_messages=1)).load_id


@pytest.fixture
def world(make_loader: MakeLoader, project_with_topic: str, kafka: Connection) -> Loader:
    """A topic of which every offset is in another state."""
    contract = find(project_with_topic)
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    for value in (b"1", b"2", order_of(contract, 2), b"{}", None):
        producer.produce(contract.topic, value, b"key")
    producer.flush()
    delete_up_to(kafka, contract.topic, 2)
    transactions = Producer(dict(kafka.extra) | {"transactional.id": contract.topic})
    transactions.init_transactions(20)
    transactions.begin_transaction()
    transactions.produce(contract.topic, order_of(contract, 5))
    transactions.commit_transaction(20)
    while loader.broker.watermarks(loader.broker.topic(contract.topic))[0].high < 7:
        time.sleep(0.05)  # the marker is written shortly after the commit
    for seed in (7, 8, 9, 10):
        producer.produce(contract.topic, order_of(contract, seed))
    producer.flush()
    finish(loader, Request(high="7"))
    held, held_id = one_more(make_loader, contract)
    held.drain(held_id, 0)
    held.ledger.record(held_id, contract.topic, State.HELD, held.owner)
    staged, staged_id = one_more(make_loader, contract)
    staged.drain(staged_id, 0)
    one_more(make_loader, contract)
    return loader


def finder_of(loader: Loader) -> MessageFinder:
    return MessageFinder(
        loader.contract,
        loader.clickhouse,
        loader.ledger.database,
        lambda: loader.broker.watermarks(loader.broker.topic(loader.contract.topic)),
    )


def test_every_offset_has_its_own_answer_in_the_command_and_on_the_page(
    world: Loader, run: Run, kafka: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = world.contract.topic
    store = SimpleNamespace(clickhouse=world.clickhouse, database=world.ledger.database)
    monkeypatch.setattr(page, "Store", lambda: store)
    monkeypatch.setattr(page, "connection", lambda conn_id: kafka)
    for place, status in EXPECTED.items():
        (found,) = finder_of(world).find("offset", place)
        assert (f"{found.partition}:{found.offset}", found.status) == (place, status)
        result = run("where", topic, f"offset={place}")
        assert result.exit_code == 0, result.output
        words = re.sub(r"[│\s]+", " ", result.output)
        assert SENTENCES[status] in words
        assert (found.load_id in words) or not found.load_id
        on_page = page._find(world.contract, f"offset={place}", payloads=True)
        assert on_page == [found]
        assert SENTENCES[status] in html_of(on_page)


def html_of(messages: list[FoundMessage]) -> str:
    values: dict[str, Any] = dict.fromkeys(("root", "api", "nonce", "question", "problem"), "")
    html = render(
        "find_message.html",
        folder=TEMPLATES,
        **values,
        topics=["orders"],
        topic="orders",
        messages=messages,
        good=GOOD,
        refusal_text=lambda reason, field, text: text,
    )
    return html.replace("&#39;", "'")


def test_a_load_that_holds_an_offset_is_named(world: Loader) -> None:
    for place in ("0:6", "0:7", "0:8", "0:9"):
        (found,) = finder_of(world).find("offset", place)
        assert found.load_id
        assert found.run.startswith("test/")
        assert found.at is not None


def test_a_staged_message_is_found_by_its_value(world: Loader) -> None:
    for seed, status in ((7, "held"), (8, "staged"), (2, "loaded")):
        order = msgspec.json.decode(order_of(world.contract, seed), type=world.contract.message)
        key = str(getattr(order, "order_id"))  # noqa: B009
        (found,) = finder_of(world).find("order_id", key)
        assert (found.offset, found.status) == (seed, status)
        assert found.timestamp is not None


def test_without_the_broker_an_offset_that_no_load_holds_is_unknown(world: Loader) -> None:
    def read_watermarks() -> Any:
        raise BrokerError("away")

    finder = MessageFinder(world.contract, world.clickhouse, world.ledger.database, read_watermarks)
    (found,) = finder.find("offset", "0:10")
    assert found.status == "unknown"
    assert finder.find("offset", "0:9")[0].status == "reserved"


def test_a_number_that_no_offset_has_is_refused(world: Loader) -> None:
    for value in (f"{1 << 31}:0", f"0:{1 << 63}", "0:-1", "0:"):
        with pytest.raises(PlanError) as raised:
            finder_of(world).find("offset", value)
        assert raised.value.field == "offset"


def test_an_offset_of_an_ended_load_and_a_lost_row_have_an_answer(
    world: Loader, make_loader: MakeLoader
) -> None:
    world.settler.settle()  # the runs of all other loads are over; the held one waits
    (found,) = finder_of(world).find("offset", "0:9")
    assert found.status == "not loaded"
    assert "was given up" in found.sentence
    world.clickhouse.execute("DELETE FROM orders WHERE _offset = 2")
    assert finder_of(world).find("offset", "0:2")[0].status == "missing"
    world.clickhouse.execute("DROP TABLE orders SYNC")
    assert finder_of(world).find("offset", "0:5")[0].status == "missing"


def test_a_row_that_was_replaced_by_a_newer_one_of_its_key_has_an_answer(
    make_loader: MakeLoader, contract: Contract
) -> None:
    class Stock(Struct, frozen=True, kw_only=True):
        id: str
        n: int

    stock = contract_of(
        Stock,
        topic=contract.topic,
        versions=(Version(name="1.0", released=date(2026, 1, 1)),),
        table=Table(name="stock", order_by=("id",), engine="ReplacingMergeTree(n)"),
    )
    loader = make_loader(stock)
    loader.broker.create_topic(stock.topic, 1)
    producer = loader.broker.producer()
    for n in (2, 1):
        producer.produce(stock.topic, b'{"id":"a","n":%d}' % n)
    producer.flush()
    load(loader)
    loader.clickhouse.execute("OPTIMIZE TABLE stock FINAL")
    statuses = [finder_of(loader).find("offset", f"0:{o}")[0].status for o in (0, 1)]
    assert statuses == ["loaded", "newer"]
    loader.clickhouse.execute("TRUNCATE TABLE stock")
    (emptied,) = finder_of(loader).find("offset", "0:1")
    assert emptied.status == "missing"


# A load that reads nothing


def test_nothing_new_is_said_only_when_every_offset_is_accounted_for(
    world: Loader, run: Run
) -> None:
    topic = world.contract.topic
    said = "nothing new: every offset"
    world.settler.settle()  # ends the loads of other runs; the held one waits
    beyond = run("backfill", topic, "--from", "100", "--to", "200")
    assert beyond.exit_code == 0, beyond.output
    assert said not in beyond.output
    assert "100 offsets are beyond the topic's end" in beyond.output
    rest = run("load", topic)  # the held offset waits for a person
    assert rest.exit_code == 0, rest.output
    held = run("load", topic)
    assert said not in held.output
    assert "1 offsets" in held.output
    (load_id,) = [each.load_id for each in world.ledger.loads_of(topic, live=True)]
    assert load_id in held.output
    assert run("discard", load_id, "--why", "test").exit_code == 0
    assert said not in run("load", topic).output
    assert said in run("load", topic).output


def test_nothing_in_some_partitions_is_not_nothing_in_the_topic(
    make_loader: MakeLoader, project_with_topic: str, run: Run
) -> None:
    run("produce-samples", project_with_topic, "--count", "40", "--partitions", "2")
    for _ in range(2):
        some = run("load", project_with_topic, "--partition", "1")
        assert some.exit_code == 0, some.output
    assert "every offset" not in some.output
    assert "not loaded yet" in some.output
    again = run("backfill", project_with_topic, "--partition", "1", "--to", "5")
    assert "every offset" not in again.output
    assert "5 offsets are loaded already" in again.output
