"""Ranges of time where clocks run backwards: each message in the range of its own timestamp."""

from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest

from sluice.authoring.sample_messages import SampleMessage, make_samples
from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.store.request import Request
from tests.conftest import MakeLoader, load
from tests.loads import finish, sums, target, verdict

NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)


def hour(number: int) -> str:
    return (NOON + timedelta(hours=number)).isoformat()


def window(number: int, anew: bool = False) -> Request:
    existing = "replace" if anew else "skip"
    return msgspec.structs.replace(
        Request(low=hour(number), high=hour(number + 1)), existing=existing
    )


def sent(
    make_loader: MakeLoader,
    contract: Contract,
    minutes: list[int],
    partitions: int = 1,
    tombstones: float = 0.05,
) -> Loader:
    """A loader whose topic has a message so many minutes after noon for each number, in order."""
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, partitions)
    producer = loader.broker.producer()
    noon = int(NOON.timestamp() * 1000)
    made = make_samples(contract, len(minutes), Random(4), 0.05, tombstones)
    for number, (minute, sample) in enumerate(zip(minutes, made, strict=True)):
        producer.produce(
            contract.topic,
            sample.value,
            sample.key,
            partition=number % partitions,
            timestamp=noon + minute * 60_000,
        )
    producer.flush()
    return loader


def times(loader: Loader, load_id: str) -> tuple[datetime, datetime]:
    row = loader.clickhouse.rows(
        "SELECT min(_timestamp) AS first, max(_timestamp) AS last FROM orders"
        " WHERE _load_id = {id:String}",
        {"id": load_id},
    )[0]
    return row["first"], row["last"]


@pytest.mark.parametrize("anew", [False, True])
def test_each_hour_has_its_own_messages(
    make_loader: MakeLoader, contract: Contract, anew: bool
) -> None:
    """Mostly in order, some late, some an hour early; loaded hour by hour in any order."""
    random = Random(8)
    minutes = [
        max(0, min(179, n // 2 + random.choice((0, 0, 0, 0, -70, 65, random.randrange(-9, 9)))))
        for n in range(360)
    ]
    # Tombstones leave no timestamp, so late ones are not loaded anew; nothing would change.
    loader = sent(make_loader, contract, minutes, 2, tombstones=0 if anew else 0.05)
    if anew:
        load(loader)
    hours = list(range(3))
    random.shuffle(hours)
    for number in hours:
        again = make_loader(contract)
        load_id = finish(again, window(number, anew))
        account = sums(again, load_id)
        assert account["planned"] == sum(m // 60 == number for m in minutes)
        first, last = times(again, load_id)
        assert NOON + timedelta(hours=number) <= first <= last < NOON + timedelta(hours=number + 1)
        assert again.report(load_id).outside == 0
    assert verdict(loader).findings == []
    assert make_loader(contract).plan().offsets == 0
    assert target(loader)["loads"] == 3


def test_old_messages_behind_new_ones(make_loader: MakeLoader, contract: Contract) -> None:
    """Somebody has sent an old day's messages again, to a topic that lives."""
    loader = sent(make_loader, contract, [*range(240, 300), *range(60)])
    assert sums(loader, finish(loader, window(0)))["planned"] == 60
    assert make_loader(contract).preview(window(1)).selection.ranges == []
    rest = make_loader(contract)
    assert rest.plan().offsets == 60


def test_what_is_not_looked_through_is_told(make_loader: MakeLoader, contract: Contract) -> None:
    """Then the borders decide, the report counts what is outside, and no message is left out."""
    sent(make_loader, contract, [0, 10, 70, 20, 30, 80, 90, 40, 100, 110])
    short = make_loader(contract, scan_offsets=2)
    survey = short.preview(window(0)).selection
    assert (survey.ranges, survey.unsearched) == ([OffsetRange(0, 0, 2), OffsetRange(0, 3, 4)], 6)
    load_id = finish(short, window(0))
    assert "were not searched for late messages" in " ".join(short.report(load_id).advice)
    second = make_loader(contract, scan_offsets=2)
    load_id = finish(second, window(1))
    planned = sums(second, load_id)
    report = second.report(load_id)
    assert planned["planned"] == 7
    assert 0 < report.outside <= 2
    assert "have timestamps outside" in " ".join(report.advice)
    assert make_loader(contract).plan().offsets == 0
    assert verdict(second).findings == []


def test_windows_without_messages(make_loader: MakeLoader, contract: Contract) -> None:
    loader = sent(make_loader, contract, [60, 61, 62])
    for request in (window(0), window(2), Request(high=hour(1)), Request(low=hour(9))):
        assert loader.preview(request).selection.ranges == []
    everything = (window(1), Request(low=hour(0)), Request(high=hour(9)), Request(low=hour(-999)))
    for request in everything:
        assert loader.preview(request).selection.ranges == [OffsetRange(0, 0, 3)]
    with pytest.raises(PlanError, match="must end later"):
        loader.plan(Request(low=hour(2), high=hour(1)))


def test_a_message_without_a_timestamp_counts_with_its_neighbours(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    noon = int(NOON.timestamp() * 1000)
    for at, sample in zip((noon, -1, noon + 1, noon + 7_200_000), made(contract, 4), strict=True):
        producer.produce(contract.topic, sample.value, timestamp=at)
    producer.flush()
    assert loader.preview(window(0)).selection.ranges == [OffsetRange(0, 0, 3)]
    load(loader)
    rows = loader.clickhouse.rows("SELECT _timestamp AS at FROM orders ORDER BY _offset")
    assert [row["at"].year for row in rows] == [NOON.year, 1970, NOON.year, NOON.year]
    again = make_loader(contract)
    assert sums(again, finish(again, window(0, anew=True)))["planned"] == 3
    assert verdict(again).findings == []


def made(contract: Contract, count: int) -> list[SampleMessage]:
    return list(make_samples(contract, count, Random(1), 0, 0))
