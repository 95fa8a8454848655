"""Loading what lies between two offsets or times."""

from datetime import UTC, datetime
from random import Random

import pytest

from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.planning import Request
from sluice.samples import samples
from sluice.verify import Verifier
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.loads import filled, finish, sums

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def at(minutes: int) -> int:
    """Milliseconds of a time after noon."""
    return int(NOON.timestamp() * 1000) + minutes * 60_000


def test_a_window_of_offsets_and_then_the_rest(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 600, partitions=2)
    first = finish(loader, Request(low="50", high="100"))
    assert sums(loader, first)["planned"] == 100
    again = make_loader(contract)
    assert again.plan(Request(low="50", high="100")).offsets == 0
    rest = make_loader(contract)
    assert sums(rest, load(rest))["planned"] == 500
    verdict = Verifier(contract, rest.broker, rest.clickhouse, rest.ledger).run()
    assert verdict.findings == []
    assert sum(s.open for s in verdict.standings) == 0


def test_a_window_of_time(make_loader: MakeLoader, contract: Contract) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    for minute, sample in enumerate(samples(contract, 60, Random(1), 0, 0)):
        producer.produce(contract.topic, sample.value, sample.key, timestamp=at(minute))
    producer.flush()
    load_id = finish(loader, Request(low="2026-01-15T12:10Z", high="2026-01-15T13:30+01:00"))
    assert sums(loader, load_id)["loaded"] == 20
    (row,) = loader.clickhouse.rows(
        "SELECT min(_timestamp) AS first, max(_timestamp) AS last FROM orders"
    )
    assert (row["first"].minute, row["last"].minute) == (10, 29)


def test_what_is_no_offset_and_no_time_is_refused(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 10, partitions=1)
    with pytest.raises(PlanError, match="neither an offset nor a time"):
        loader.plan(Request(low="yesterday"))


def test_the_command_shows_first_and_then_loads(run: Run) -> None:
    run("produce-samples", "payments", "--count", "400", "--partitions", "2")
    shown = run("backfill", "payments", "--partition", "0", "--to", "20", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "20 offsets; there is no load yet" in shown.output
    done = run("backfill", "payments", "--partition", "0", "--to", "20")
    assert done.exit_code == 0, done.output
    left = run("backfill", "payments", "--partition", "0", "--to", "30", "--dry-run")
    assert "10 offsets, about 0.0 MB; about" in left.output
    wrong = run("backfill", "payments", "--from", "soon")
    assert wrong.exit_code == 1
    assert "neither an offset nor a time" in wrong.output
