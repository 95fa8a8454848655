"""Backfills: loading a range of offsets or times."""

from datetime import UTC, datetime
from random import Random

import msgspec
import pytest

from sluice.audit.verify.verifier import Verifier
from sluice.authoring.sample_messages import make_samples
from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.ranges import OffsetRange
from sluice.store.request import Request
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.loads import filled, finish, sums

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def at(minutes: int) -> int:
    """Timestamp in milliseconds, some minutes after noon."""
    return int(NOON.timestamp() * 1000) + minutes * 60_000


def test_a_range_of_offsets_and_then_the_rest_is_loaded(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 600, partitions=2)
    first = finish(loader, Request(low="50", high="100"))
    assert sums(loader, first)["planned"] == 100
    again = make_loader(contract)
    assert again.plan(Request(low="50", high="100")).offsets == 0
    rest = make_loader(contract)
    assert sums(rest, load(rest))["planned"] == 500
    verdict = Verifier(contract, rest.broker, rest.clickhouse, rest.ledger).run()
    assert verdict.findings == []
    assert sum(s.open for s in verdict.partitions) == 0


def test_a_range_of_times_is_loaded(make_loader: MakeLoader, contract: Contract) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    for minute, sample in enumerate(make_samples(contract, 60, Random(1), 0, 0)):
        producer.produce(contract.topic, sample.value, sample.key, timestamp=at(minute))
    producer.flush()
    load_id = finish(loader, Request(low="2026-01-15T12:10Z", high="2026-01-15T13:30+01:00"))
    assert sums(loader, load_id)["loaded"] == 20
    (row,) = loader.clickhouse.rows(
        "SELECT min(_timestamp) AS first, max(_timestamp) AS last FROM orders"
    )
    assert (row["first"].minute, row["last"].minute) == (10, 29)


def test_an_interrupted_backfill_is_resumed(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 600, partitions=2)
    request = Request(offsets=(OffsetRange(0, 10, 200), OffsetRange(1, 10, 200)))
    killed = make_loader(contract, chunk_offsets=100)
    plan = killed.plan(request, resume=True)
    killed.drain(plan.load_id, 0)
    other = make_loader(contract, chunk_offsets=100)
    other.settler.is_over = lambda _: False
    assert other.plan(Request(low="0"), resume=True).offsets == 220
    again = make_loader(contract)
    again.settler.is_over = lambda owner: owner == killed.owner
    assert again.plan(request, resume=True) == plan
    record = again.ledger.load(contract.topic, plan.load_id)
    assert record is not None
    assert (record.owner, record.state) == (again.owner, "reserved")
    assert set(again.ledger.attempts.accepted(plan.topic, plan.load_id)) == {0}
    for number in range(len(plan.chunks)):
        again.drain(plan.load_id, number)
    again.audit(plan.load_id)
    again.publish(plan.load_id)
    assert sums(again, plan.load_id)["planned"] == 380
    assert len(again.ledger.attempts.accepted(plan.topic, plan.load_id)) == 4
    assert loader.clickhouse.rows(
        f"SELECT count() AS n FROM {loader.ledger.database}.load_chunks"
    ) == [{"n": 4}]


def test_a_run_with_a_new_request_abandons_its_earlier_load(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """An Airflow backfill reruns a failed run in this way."""
    filled(make_loader, contract, 300, partitions=1)
    run = make_loader(contract, "run")
    first = run.plan()
    part = Request(low="100", high="200")
    second = run.plan(part, again=True)
    assert (second.load_id != first.load_id, second.offsets) == (True, 100)
    assert run.plan(part, again=True) == second
    record = run.ledger.load(contract.topic, first.load_id)
    assert record is not None
    assert record.state == "abandoned"
    finish(run, part)
    third = run.plan(msgspec.structs.replace(part, existing="replace"), again=True)
    assert (third.offsets, third.revision) == (100, 1)


def test_a_bound_that_is_neither_offset_nor_time_is_refused(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 10, partitions=1)
    with pytest.raises(PlanError) as raised:
        loader.plan(Request(low="yesterday"))
    assert "'yesterday'" in raised.value.detail


def test_the_backfill_command_previews_and_loads(run: Run) -> None:
    run("produce-samples", "payments", "--count", "400", "--partitions", "2")
    preview = run("backfill", "payments", "--partition", "0", "--to", "20", "--dry-run")
    assert preview.exit_code == 0, preview.output
    assert "20 offsets; there is no load yet" in preview.output
    done = run("backfill", "payments", "--partition", "0", "--to", "20")
    assert done.exit_code == 0, done.output
    rest = run("backfill", "payments", "--partition", "0", "--to", "30", "--dry-run")
    assert "10 offsets, about 0.0 MB; about" in rest.output
    invalid = run("backfill", "payments", "--from", "soon")
    assert invalid.exit_code == 1
    assert "'soon'" in invalid.output
