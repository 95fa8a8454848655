"""Random sequences of loads, backfills, replays and deaths: each offset exactly once.

``SEQUENCES`` says how many; by default ten.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Annotated, Any

import msgspec
import pytest

from sluice.contract import Breaker, Contract
from sluice.errors import SluiceError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.store.request import RefusalFilter, Request
from tests.conftest import MakeLoader, with_topic
from tests.contracts import contract_of
from tests.loads import after_each_statement, leftovers, verdict

PARTITIONS, STEPS = 2, 4
NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=20)


class Thing(msgspec.Struct, frozen=True):
    """Something small."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    size: int


def mended(value: bytes) -> bytes:
    return value.replace(b"'", b'"')


class Interrupted(Exception):
    """What a process that dies feels."""


class Sequence:
    """One topic, and what is done to it."""

    def __init__(self, make_loader: MakeLoader, seed: int) -> None:
        self.random, self._make = Random(seed), make_loader
        things = contract_of(Thing, breaker=Breaker(max_refused_share=1.0), repair=mended)
        self.contract: Contract = with_topic(things)
        self.sent = [0] * PARTITIONS
        self.loader = make_loader(self.contract, lease_minutes=0.001)
        self.loader.broker.create_topic(self.contract.topic, PARTITIONS)
        self.producer = self.loader.broker.producer()
        self.story: list[str] = []

    def produce(self) -> None:
        """Some messages: good, mendable, hopeless, too large at times; clocks run backwards."""
        for _ in range(self.random.randint(5, 40)):
            partition = self.random.randrange(PARTITIONS)
            name = "x" * self.random.choice((1, 5, 60))
            value = msgspec.json.encode(Thing(name, self.sent[partition]))
            draw = self.random.random()
            if draw < 0.1:
                value = value.replace(b'"', b"'")
            elif draw < 0.15:
                value = b"nothing"
            at = NOON + timedelta(minutes=self.random.randrange(300))
            self.producer.produce(
                self.contract.topic,
                None if draw > 0.95 else value,
                partition=partition,
                timestamp=int(at.timestamp() * 1000),
            )
            self.sent[partition] += 1
        self.producer.flush()

    def request(self) -> Request:
        """What is new, a window of offsets or time, skipping or replacing, or a replay."""
        draw = self.random.random()
        most = self.random.choice((0, 0, 0, 7))
        if draw < 0.3:
            return Request(max_messages=most)
        if draw < 0.5:
            return Request(refused=RefusalFilter(topic=self.contract.topic), max_messages=most)
        existing: Any = self.random.choice(("skip", "replace", "replace"))
        if draw < 0.75:
            ends = [sorted(self.random.sample(range(150), 2)) for _ in range(PARTITIONS)]
            some = tuple(OffsetRange(p, *ends[p]) for p in range(PARTITIONS))
            most = 0 if existing == "replace" else most
            return Request(offsets=some, existing=existing, max_messages=most)
        low, high = sorted(self.random.sample(range(6), 2))
        hours = [(NOON + timedelta(hours=n)).isoformat() for n in (low, high)]
        return Request(low=hours[0], high=hours[1], existing=existing)

    def load(self, request: Request, die_at: int = 0) -> None:
        """A whole load, by a run that may die after so many statements."""
        small = self.random.random() < 0.4 and die_at >= 0
        changed = {"chunk_offsets": 30, "batch_rows": 12, "lease_minutes": 0.001}
        changed |= {"max_message_bytes": 60} if small else {}
        loader = self._make(self.contract, **changed)
        if die_at > 0:
            _die_after(loader, die_at)
        self.story.append(f"{request} small={small} die_at={die_at}")
        try:
            plan = loader.plan(request)
            for number in range(len(plan.chunks)):
                loader.drain(plan.load_id, number)
            if plan.load_id:  # else there is nothing new
                loader.audit(plan.load_id)
                loader.publish(plan.load_id)
        except Interrupted:
            self.story.append("died")
        loader.clickhouse.client.close()

    def judge(self) -> None:
        """Everything is loaded or refused, once, and is what was sent."""
        found = verdict(self.loader)
        assert found.findings == []
        assert found.offsets == sum(self.sent)
        assert sum(s.open for s in found.partitions) == 0
        if leftovers(self.loader):  # a table that no load came to own has the time of a lease
            time.sleep(1.1)
            self.loader.settler.sweep()
        assert leftovers(self.loader) == []
        # A name alone is what most rows differ in, so the size is the offset it was sent at.
        wrong = self.loader.clickhouse.rows("SELECT count() AS n FROM things WHERE size != _offset")
        assert wrong[0]["n"] == 0


def _die_after(loader: Loader, statements: int) -> None:
    left = [statements]

    def count_down() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise Interrupted

    after_each_statement(loader, count_down)


@pytest.mark.parametrize("seed", range(int(os.environ.get("SEQUENCES", "10"))))
def test_a_sequence_leaves_every_offset_exactly_once(make_loader: MakeLoader, seed: int) -> None:
    sequence = Sequence(make_loader, seed)
    try:
        for _ in range(STEPS):
            if sequence.random.random() < 0.6:
                sequence.produce()
            dies = sequence.random.random() < 0.4
            sequence.load(sequence.request(), sequence.random.randint(1, 40) if dies else 0)
        sequence.load(Request(), die_at=-1)
        sequence.judge()
    except (AssertionError, SluiceError) as error:
        raise AssertionError("\n".join([str(error), *sequence.story])) from error
