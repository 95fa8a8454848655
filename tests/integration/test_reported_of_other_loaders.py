"""What users of other loaders report, each once: here it does not happen."""

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
from sluice.authoring.sample_messages import as_version, make_samples, produce
from sluice.contract import Contract
from sluice.errors import EngineError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.settings import Connection
from sluice.store.clickhouse import UNKNOWN_TABLE
from tests.conftest import MakeLoader, load
from tests.loads import delete_up_to, filled, sums, target


def good(loader: Loader) -> None:
    """The audit has no findings, and nothing of the topic is left to load."""
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
    made: dict[str, Any] = msgspec.to_builtins(contract.example(Random(1)), str_keys=True)
    return made | changed


def interrupted(loader: Loader, after: int) -> Callable[[int], None]:
    """A progress callback that kills the attempt after some offsets."""
    seen = 0

    def progress(done: int) -> None:
        nonlocal seen
        seen += done
        if seen >= after:
            raise KeyboardInterrupt

    return progress


def test_rows_do_not_vanish_when_a_retry_cuts_its_batches_elsewhere(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """A sink whose stored state and new batch disagree at the left border drops rows."""
    loader = filled(make_loader, contract, 3000, partitions=1)
    loader.settings.batch_rows = 170
    plan = loader.plan()
    with pytest.raises(KeyboardInterrupt):
        loader.drain(plan.load_id, 0, interrupted(loader, 1000))
    filled(make_loader, contract, 500, partitions=1)  # the topic grows meanwhile
    loader.settings.batch_rows = 333
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    assert sums(loader, plan.load_id)["planned"] == 3000
    load(make_loader(contract))
    good(loader)


def test_a_writer_that_stalls_past_the_deduplication_window_doubles_nothing(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 800, partitions=1)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    loader.publisher.fence(plan.load_id)
    source = loader.ledger.publishing_table(plan.load_id)
    columns = loader.publisher.columns(loader.known(plan.load_id))
    attempt = loader.ledger.audited_attempts(plan.load_id)[0]
    target_table = loader.publisher.target
    missing = target_table.missing_rows(source, plan.chunks[0])
    stalled = target_table.insert_statement(columns, missing)
    parameters = {"topic": contract.topic, "load": plan.load_id, "attempt": attempt}
    loader.clickhouse.execute(
        "ALTER TABLE orders MODIFY SETTING non_replicated_deduplication_window = 1"
    )
    make_loader(contract, loader.owner).publish(plan.load_id)
    for number in range(3):  # other tokens push the load's own out of the window
        loader.clickhouse.execute(
            "INSERT INTO orders SELECT * FROM orders WHERE 0",
            settings={"insert_deduplication_token": str(number)},
        )
    # The staging table is gone by now; the writer that wakes up finds nothing to copy.
    with pytest.raises(EngineError) as raised:
        loader.clickhouse.execute(stalled, parameters)
    assert raised.value.code == UNKNOWN_TABLE
    good(loader)


def test_a_retry_after_too_many_parts_appends_nothing_twice(
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
    good(loader)


def test_one_bad_message_does_not_drag_its_batch_into_quarantine(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    values = [msgspec.json.encode(order(contract)) for _ in range(200)]
    values[77] = b"not json"
    send(loader, *values)
    account = sums(loader, load(loader))
    assert (account["loaded"], account["quarantined"]) == (199, 1)
    good(loader)


def test_a_missing_field_with_a_default_does_not_stop_the_task(
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


def test_a_lone_unread_message_is_loaded(make_loader: MakeLoader, contract: Contract) -> None:
    """Loaders that wait for a full batch, or take the last offset for the end, leave it lying."""
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 3)
    send(loader, msgspec.json.encode(order(contract)))
    assert sums(loader, load(loader))["loaded"] == 1
    send(loader, msgspec.json.encode(order(contract)))
    assert sums(loader, load(make_loader(contract)))["loaded"] == 1
    good(loader)


def test_a_topic_whose_first_offset_is_not_0_is_loaded_whole(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 300, partitions=1)
    delete_up_to(kafka, contract.topic, 120)
    account = sums(loader, load(loader))
    assert (account["planned"], account["difference"]) == (180, 0)
    good(loader)


def test_an_empty_poll_is_not_taken_for_the_end(
    stack: Stack, make_loader: MakeLoader, contract: Contract
) -> None:
    """The broker answers nothing for seconds in the middle of a range, and then goes on."""
    loader = filled(make_loader, contract, 40_000, partitions=2)
    loader.settings.batch_rows = 1000
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
    good(loader)


def test_a_failed_run_that_had_committed_its_offsets_loses_nothing(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """What a consumer group has committed is a mirror, and never asked for what to read."""
    loader = filled(make_loader, contract, 400, partitions=1)
    plan = loader.plan()
    with pytest.raises(KeyboardInterrupt):
        loader.drain(plan.load_id, 0, interrupted(loader, 1))
    loader.broker.mirror(contract.topic, loader.group, {0: 400})
    account = sums(loader, load(make_loader(contract)))
    assert (account["planned"], account["difference"]) == (400, 0)
    good(loader)


def test_a_missing_table_drops_no_rows_silently(
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
    load(make_loader(contract))  # makes the table, rolls the first load forward, loads the rest
    assert target(loader)["loads"] == 2
    good(loader)


def test_ranges_are_half_open_and_touch(make_loader: MakeLoader, contract: Contract) -> None:
    """Two loads side by side share no offset and leave none between them."""
    loader = filled(make_loader, contract, 100, partitions=1)
    load(loader)
    filled(make_loader, contract, 50, partitions=1)
    load(make_loader(contract))
    ranges = sorted(t.range for t in loader.ledger.held_ranges(contract.topic))
    assert ranges == [OffsetRange(0, 0, 100), OffsetRange(0, 100, 150)]
