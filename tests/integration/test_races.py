"""Two processes that plan at the same moment: ``RACES`` times, by default twenty."""

import multiprocessing
import os
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import structlog

from sluice.contract import Contract
from sluice.ranges import OffsetRange, merge, total
from sluice.settings import Connection
from tests.chaos.worker import Job, direct, loader_for
from tests.conftest import MakeLoader

ROUNDS = int(os.environ.get("RACES", "20"))


def plan_often(job: Job, name: str, together: Barrier, plans: "Queue[Any]") -> None:
    """Plan for one new run after the other, each at the same time as the rival."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    loader = loader_for(job)
    loader.create_tables()
    for number in range(ROUNDS):
        loader.settler.owner = loader.planner.owner = f"{name}-{number}"
        together.wait()
        plan = loader.planner.plan()
        plans.put((number, [(r.partition, r.low, r.high) for part in plan.chunks for r in part]))


def test_two_processes_that_race_never_take_the_same_offset(
    make_loader: MakeLoader,
    kafka: Connection,
    database: Connection,
    contract: Contract,
    tmp_path: Path,
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 2)
    job = Job(
        topic=contract.topic,
        owner="judge",
        kafka=f'{{"extra": {{"bootstrap.servers": "{kafka.extra["bootstrap.servers"]}"}}}}',
        clickhouse=direct(database),
        database=f"{database.schema}_sluice",
        over=tmp_path,
        log=tmp_path / "log",
    )
    context = multiprocessing.get_context("spawn")
    together, plans = context.Barrier(3, timeout=60), context.Queue()
    racers = [
        context.Process(target=plan_often, args=(job, name, together, plans), daemon=True)
        for name in ("one", "two")
    ]
    for racer in racers:
        racer.start()
    producer = loader.broker.producer()
    sent, taken = 0, []
    for number in range(ROUNDS):
        for partition in (0, 1, 1):
            producer.produce(contract.topic, b"{}", partition=partition)
        producer.flush()
        sent += 3
        together.wait()
        for _ in racers:
            at, ranges = plans.get(timeout=60)
            assert at == number
            taken += [OffsetRange(*r) for r in ranges]
        assert total(taken) == total(merge(taken)) == sent, number
    for racer in racers:
        racer.join(10)
