"""Faults that users of other loaders have reported, each tested once against this loader."""

import os
import signal
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from local.stack import Stack
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import as_version, make_samples, produce
from sluice.contract import Contract
from sluice.errors import EngineError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.settings import Connection
from sluice.store.clickhouse import UNKNOWN_TABLE
from tests.conftest import MakeLoader, load
from tests.loads import delete_up_to, filled, sums, target


def check_all_loaded(loader: Loader) -> None:
    """Assert that the audit has no findings and no offset is left to load."""
    verifier = Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger)
    verdict = verifier.run()
    assert [*verdict.findings, *verifier.against_broker()] == []
    assert sum(s.open for s in verdict.partitions) == 0


def send(loader: Loader, *values: bytes) -> None:
    producer = loader.broker.producer()
    for value in values:
        producer.produce(loader.contract.topic, value, b"k", partition=0)
    producer.flush()


def order(contract: Contract, **changed: Any) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.to_builtins(
        example_message(contract, Random(1)), str_keys=True
    )
    return message | changed


def interrupt_after(offsets: int) -> Callable[[int], None]:
    """A progress callback that interrupts the attempt after some offsets."""
    processed = 0

    def progress(done: int) -> None:
        nonlocal processed
        processed += done
        if processed >= offsets:
            raise KeyboardInterrupt

    return progress


def test_a_retry_with_other_batch_boundaries_loses_no_rows(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Other sinks drop rows if their stored state and a new batch start at different offsets."""
    loader = filled(make_loader, contract, 3000, partitions=1)
    loader.settings.batch_rows = 170
    plan = loader.plan()
    with pytest.raises(KeyboardInterrupt):
        loader.drain(plan.load_id, 0, interrupt_after(1000))
    filled(make_loader, contract, 500, partitions=1)  # the topic grows meanwhile
    loader.settings.batch_rows = 333
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["planned"] == 3000
    load(make_loader(contract))
    check_all_loaded(loader)


def test_a_writer_delayed_past_the_deduplication_window_duplicates_nothing(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 800, partitions=1)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publisher.fence(plan.load_id, loader.owner)
    known = loader.known(plan.load_id)
    source, attempt = loader.ledger.staging.rows(known), known.attempts[0]
    columns = loader.publisher.columns(known)
    missing = loader.publisher.target.missing_rows(source, plan.chunks[0])
    delayed_insert = loader.publisher.insert_statement(columns, missing)
    parameters = {"topic": contract.topic, "load": plan.load_id, "attempt": attempt}
    loader.clickhouse.execute(
        "ALTER TABLE orders MODIFY SETTING non_replicated_deduplication_window = 1"
    )
    make_loader(contract, loader.owner).publish(plan.load_id)
    for number in range(3):  # other tokens displace the load's own from the window
        loader.clickhouse.execute(
            "INSERT INTO orders SELECT * FROM orders WHERE 0",
            settings={"insert_deduplication_token": str(number)},
        )
    loader.clickhouse.execute(delayed_insert, parameters)
    check_all_loaded(loader)
    # The staged rows have been dropped by now, so a writer that is even later restores nothing.
    loader.clickhouse.execute("TRUNCATE TABLE orders")
    loader.clickhouse.execute(delayed_insert, parameters)
    assert target(loader)["rows"] == 0


def test_a_retry_after_too_many_parts_duplicates_nothing(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 600, partitions=1)
    load(loader)
    filled(make_loader, contract, 400, partitions=1)
    loader.clickhouse.execute("SYSTEM STOP MERGES orders")
    loader.clickhouse.execute("ALTER TABLE orders MODIFY SETTING parts_to_throw_insert = 1")
    second = make_loader(contract, clickhouse_retry_seconds=0.5)
    plan = second.plan()
    second.drain(plan.load_id, 0)
    second.audit(plan.load_id)
    for _ in range(2):
        with pytest.raises(EngineError):
            second.publish(plan.load_id)
    loader.clickhouse.execute("ALTER TABLE orders MODIFY SETTING parts_to_throw_insert = 3000")
    second.publish(plan.load_id)
    second.publish(plan.load_id)
    check_all_loaded(loader)


def test_only_the_invalid_message_of_a_batch_is_quarantined(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    values = [msgspec.json.encode(order(contract)) for _ in range(200)]
    values[77] = b"not json"
    send(loader, *values)
    account = sums(loader, load(loader))
    assert (account["loaded"], account["quarantined"]) == (199, 1)
    check_all_loaded(loader)


def test_a_message_without_a_defaulted_field_is_loaded(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    oldest = as_version(contract, contract.versions[0], order(contract))
    assert oldest is not None
    oldest.pop("notes", None)
    send(loader, msgspec.json.encode(oldest))
    assert sums(loader, load(loader))["loaded"] == 1
    row = loader.clickhouse.rows("SELECT notes, shipping_address_country AS c FROM orders")
    assert row == [{"notes": "", "c": "unknown"}]


def test_a_single_unread_message_is_loaded(make_loader: MakeLoader, contract: Contract) -> None:
    """Loaders that wait for a full batch, or stop one offset too early, do not load it."""
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 3)
    send(loader, msgspec.json.encode(order(contract)))
    assert sums(loader, load(loader))["loaded"] == 1
    send(loader, msgspec.json.encode(order(contract)))
    assert sums(loader, load(make_loader(contract)))["loaded"] == 1
    check_all_loaded(loader)


def test_a_topic_that_does_not_start_at_offset_0_is_loaded_completely(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 300, partitions=1)
    delete_up_to(kafka, contract.topic, 120)
    account = sums(loader, load(loader))
    assert (account["planned"], account["difference"]) == (180, 0)
    check_all_loaded(loader)


def test_an_empty_poll_does_not_end_the_read(
    stack: Stack, make_loader: MakeLoader, contract: Contract
) -> None:
    """The broker stops responding for some seconds in the middle of a range, then continues."""
    loader = filled(make_loader, contract, 40_000, partitions=2)
    loader.settings.batch_rows = 1000
    # The client must not have fetched the whole range before the broker stops responding.
    loader.broker._config["queued.max.messages.kbytes"] = 1024
    plan = loader.plan()
    process = stack.services["kafka"].process()
    assert process is not None
    frozen = threading.Event()

    def freeze(_: int) -> None:
        if not frozen.is_set():
            frozen.set()
            os.kill(process.pid, signal.SIGSTOP)
            threading.Timer(3, os.kill, (process.pid, signal.SIGCONT)).start()

    began = time.monotonic()
    loader.drain(plan.load_id, 0, freeze)
    assert frozen.is_set()
    assert time.monotonic() - began > 2
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["planned"] == 40_000
    check_all_loaded(loader)


def test_a_failed_run_with_committed_offsets_loses_nothing(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """The offsets of the consumer group are a mirror, and are never used to decide what to read."""
    loader = filled(make_loader, contract, 400, partitions=1)
    plan = loader.plan()
    with pytest.raises(KeyboardInterrupt):
        loader.drain(plan.load_id, 0, interrupt_after(1))
    loader.broker.mirror(contract.topic, loader.group, {0: 400})
    account = sums(loader, load(make_loader(contract)))
    assert (account["planned"], account["difference"]) == (400, 0)
    check_all_loaded(loader)


def test_no_rows_are_lost_if_the_target_table_is_missing(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 400, partitions=1)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.clickhouse.execute("DROP TABLE orders SYNC")
    with pytest.raises(EngineError) as raised:
        loader.publish(plan.load_id)
    assert raised.value.code == UNKNOWN_TABLE
    produce(contract, loader.broker, make_samples(contract, 50, Random(1)))
    load(make_loader(contract))  # creates the table, rolls the first load forward, loads the rest
    assert target(loader)["loads"] == 2
    check_all_loaded(loader)


def test_consecutive_loads_have_adjacent_half_open_ranges(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """They share no offset and leave no gap."""
    loader = filled(make_loader, contract, 100, partitions=1)
    load(loader)
    filled(make_loader, contract, 50, partitions=1)
    load(make_loader(contract))
    ranges = sorted(t.range for t in loader.ledger.held_ranges(contract.topic))
    assert ranges == [OffsetRange(0, 0, 100), OffsetRange(0, 100, 150)]
