"""One round: a schedule drawn from a seed, and the audit that judges what it left."""

import contextlib
import time
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import msgspec
import psutil

from local.stack import Stack
from sluice.audit.verify.content import ContentCheck
from sluice.audit.verify.verifier import Verifier
from sluice.authoring.sample_messages import make_samples
from sluice.decode.decoder import Decoder
from sluice.errors import SluiceError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.settings import Connection, parse_connection
from sluice.store.clickhouse import ClickHouse, connect
from sluice.store.request import RefusalFilter, Request, describe_request
from tests.chaos.proxy import Fault, Proxy
from tests.chaos.steps import EXCHANGING, STEPS, Stop, When
from tests.chaos.worker import Job, contract_for, direct, loader_for, start

PARTITIONS = 2
PATIENCE = 90.0
"""Seconds that a worker may take; beyond that something hangs, which is a finding too."""


class RoundFailed(AssertionError):
    """What the audit found, and how to see it again."""


class Round:
    """A topic, two databases, a proxy, and what is done to the loads between them."""

    def __init__(self, stack: Stack, seed: int, folder: Path) -> None:
        self.seed, self._stack, self._random = seed, stack, Random(seed)
        self._folder = folder / f"seed-{seed}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.story: list[str] = []
        self._runs = 0
        self._requests: dict[str, Request] = {}
        self._engine_died = False
        self._name = f"chaos_{seed}_{uuid.uuid4().hex[:6]}"
        connections = stack.connections
        self._kafka = connections["AIRFLOW_CONN_KAFKA_DEFAULT"]
        server = parse_connection(connections["AIRFLOW_CONN_CLICKHOUSE_DEFAULT"])
        self._server = connect(server)
        self._server.execute(f"CREATE DATABASE {self._name}")
        self._direct = msgspec.structs.replace(server, schema=self._name)
        self._proxy = Proxy(stack.ports.clickhouse)
        self._judge: Loader = loader_for(self._job("judge", self._direct))
        self._judge.broker.create_topic(self._name, PARTITIONS)
        self._judge.create_tables()
        self._watch_target(self._judge.clickhouse)

    def run(self) -> None:
        """Play the schedule, let an undisturbed load finish, and judge.

        Raises:
            RoundFailed: with what happened, what was found, and the command to repeat it.
        """
        try:
            for _ in range(2):
                self._produce(self._random.randint(200, 700))
                act = self._random.choices(*zip(*self._acts(), strict=True))[0]
                act()
            self._finish()
            if findings := self._findings():
                raise RoundFailed("\n".join(findings))
        except (AssertionError, SluiceError) as error:
            story = "\n  ".join(self.story)
            raise RoundFailed(
                f"seed {self.seed}: {error}\nwhat was done:\n  {story}\nlogs: {self._folder}\n"
                f"repeat it with: make chaos SEED={self.seed} ROUNDS=1"
            ) from error
        self._clean()

    def _acts(self) -> list[tuple[Callable[[], None], int]]:
        return [
            (self._kill_at_step, 12),
            (self._kill_at_random, 3),
            (self._pause, 4),
            (self._second_load, 3),
            (self._cut, 4),
            (self._kill_engine, 3),
            (self._kill_broker, 1),
        ]

    # What is done to a load.

    def _kill_at_step(self) -> None:
        # Twice in a row: what is interrupted is settled by a run that is interrupted too.
        for _ in range(self._random.choice((1, 1, 2))):
            stop = self._stop(self._random.choice(("before", "during", "after")))
            worker, owner = self._start(stop)
            self._join(worker, owner, over=self._random.random() < 0.8)

    def _kill_at_random(self) -> None:
        worker, owner = self._start()
        delay = self._random.uniform(0.1, 2.0)
        time.sleep(delay)
        if worker.is_alive():
            worker.kill()
        self._tell(f"killed {owner} after {delay:.2f} s")
        self._join(worker, owner)

    def _pause(self) -> None:
        """A task that stalls beyond its timeout, and goes on while another does its work."""
        stop = self._stop("pause")
        zombie, owner = self._start(stop)
        if not self._wait_stopped(zombie):
            self._join(zombie, owner)
            return
        if self._random.random() < 0.5:
            self._tell(f"{owner} is paused; the same run is retried")
            retry, _ = self._start(owner=owner)
        else:
            self._tell(f"{owner} is paused and its run given up; another run settles it")
            self._over(owner)
            retry, other = self._start()
            owner = other
        if self._random.random() < 0.5:
            retry.join(PATIENCE)  # the zombie wakes when all is done, or in the middle of it
        else:
            time.sleep(self._random.uniform(0.2, 1.5))
        assert zombie.pid is not None
        psutil.Process(zombie.pid).resume()
        zombie.join(PATIENCE)
        assert zombie.exitcode is not None, "a zombie hangs"
        self._tell(f"the zombie ended with {zombie.exitcode}")
        self._join(retry, owner)

    def _second_load(self) -> None:
        first, one = self._start()
        second, two = self._start()
        self._join(first, one)
        self._join(second, two)

    def _cut(self) -> None:
        faults: tuple[Fault, ...] = ("lose answer", "cut request", "delay", "refuse")
        fault, times = self._random.choice(faults), self._random.randint(1, 4)
        worker, owner = self._start(through_proxy=True)
        for _ in range(times):
            time.sleep(self._random.uniform(0.05, 0.5))
            self._proxy.plan(fault)
        self._join(worker, owner)
        self._proxy.plan("none", 0)
        self._tell(f"{fault}: {self._proxy.done} so far")

    def _kill_engine(self) -> None:
        self._engine_died = True
        worker, owner = self._start()
        time.sleep(self._random.uniform(0.2, 2.0))
        self._restart("clickhouse")
        self._join(worker, owner)

    def _kill_broker(self) -> None:
        worker, owner = self._start()
        time.sleep(self._random.uniform(0.2, 1.0))
        self._restart("kafka")
        self._join(worker, owner)

    # How it is done.

    def _stop(self, when: When) -> Stop:
        step = self._random.choice((*STEPS, *EXCHANGING))
        often = step in ("stage", "copy", "chunk finished", "quarantine", "skips", "resolve")
        return Stop(step, self._random.randint(1, 4) if often else 1, when)

    def _asked(self, stop: Stop | None) -> Request:
        """Mostly what is new; now and then a part loaded anew, or what is in quarantine."""
        draw = self._random.random() * (0.4 if stop and stop.step in EXCHANGING else 1)
        if draw < 0.15:
            return Request(refused=RefusalFilter(topic=self._name))
        if draw < 0.4:
            ends = [sorted(self._random.sample(range(800), 2)) for _ in range(PARTITIONS)]
            some = tuple(OffsetRange(p, *ends[p]) for p in range(PARTITIONS))
            asked = {"offsets": some} if self._random.random() < 0.6 else {"low": "0"}
            return Request(existing="replace", **asked)
        return Request()

    def _job(
        self,
        owner: str,
        clickhouse: Connection,
        stop: Stop | None = None,
        request: Request = Request(),
        small: bool = False,
    ) -> Job:
        return Job(
            topic=self._name,
            owner=owner,
            kafka=self._kafka,
            clickhouse=direct(clickhouse),
            database=f"{self._name}_sluice",
            over=self._folder,
            log=self._folder / "worker.log",
            stop=stop,
            request=request,
            max_message_bytes=560 if small else 1 << 24,
        )

    def _start(
        self,
        stop: Stop | None = None,
        owner: str = "",
        through_proxy: bool = False,
        undisturbed: bool = False,
    ) -> tuple[BaseProcess, str]:
        """Start a run; one that is tried again is asked for the same."""
        if not owner:
            self._runs += 1
            owner = f"run-{self._runs}"
            self._requests[owner] = Request() if undisturbed else self._asked(stop)
        request = self._requests[owner]
        small = not undisturbed and self._random.random() < 0.3
        proxied = msgspec.structs.replace(self._direct, host="127.0.0.1", port=self._proxy.port)
        clickhouse = proxied if through_proxy else self._direct
        job = self._job(owner, clickhouse, stop, request, small)
        where = f", {stop.when} {stop.step} {stop.nth}" if stop else ""
        self._tell(f"started {owner}: {describe_request(request)}{where}")
        return start(job), owner

    def _join(self, worker: BaseProcess, owner: str, over: bool = True) -> None:
        worker.join(PATIENCE)
        hangs = worker.exitcode is None
        if hangs:
            worker.kill()
        assert not hangs, f"{owner} hangs"
        self._tell(f"{owner} ended with {worker.exitcode}")
        if over:
            self._over(owner)
        else:  # its task is tried again at once
            retry, _ = self._start(owner=owner)
            self._join(retry, owner)

    def _over(self, owner: str) -> None:
        (self._folder / owner).touch()

    def _wait_stopped(self, worker: BaseProcess) -> bool:
        """Whether the worker pauses, rather than end without coming to its step."""
        assert worker.pid is not None
        process, give_up = psutil.Process(worker.pid), time.monotonic() + PATIENCE
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends as we look
            while worker.is_alive() and time.monotonic() < give_up:
                if process.status() == psutil.STATUS_STOPPED:
                    return True
                time.sleep(0.02)
        return False

    def _restart(self, name: str) -> None:
        service = self._stack.services[name]
        service.kill()
        time.sleep(0.2)
        self._stack.start((name,))
        service.wait()
        self._tell(f"killed and restarted {name}")

    def _produce(self, count: int) -> None:
        """Mixed messages, some of them in transactions, of which some are aborted."""
        made = make_samples(contract_for(self._name), count, self._random)
        plain = self._judge.broker.producer()
        for sample in list(made):
            plain.produce(self._name, sample.value, sample.key, headers=sample.headers)
        plain.flush()
        if self._random.random() < 0.5:
            return
        producer = self._judge.broker.producer(
            **{"transactional.id": f"{self._name}-{self._random.random()}"}
        )
        producer.init_transactions()
        for commit in (True, False, True):
            producer.begin_transaction()
            for sample in make_samples(contract_for(self._name), 20, self._random):
                producer.produce(self._name, sample.value, sample.key, headers=sample.headers)
            producer.flush()
            if commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()

    def _watch_target(self, clickhouse: ClickHouse) -> None:
        """A materialized view on the target: it must see each row of each load exactly once."""
        clickhouse.execute(
            "CREATE TABLE IF NOT EXISTS seen (p Int32, o Int64, l String) ENGINE = MergeTree"
            " ORDER BY (p, o) SETTINGS non_replicated_deduplication_window = 10000"
        )
        clickhouse.execute(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS watch TO seen AS"
            " SELECT _partition AS p, _offset AS o, toString(_load_id) AS l FROM orders"
        )

    # What is left.

    def _finish(self) -> None:
        """Undisturbed loads, until one finds nothing more to do."""
        for _ in range(4):
            worker, owner = self._start(undisturbed=True)
            self._join(worker, owner)
            assert worker.exitcode == 0, f"an undisturbed load ended with {worker.exitcode}"
            if not self._judge.ledger.loads_of(self._name, live=True) and self._open() == 0:
                return
        raise AssertionError("offsets or loads are left over after four undisturbed loads")

    def _open(self) -> int:
        return sum(s.open for s in self._verifier().run().partitions)

    def _verifier(self) -> Verifier:
        judge = self._judge
        return Verifier(judge.contract, judge.broker, judge.clickhouse, judge.ledger)

    def _findings(self) -> list[str]:
        judge = self._judge
        topic = judge.broker.topic(self._name)
        marks = judge.broker.watermarks(topic)
        whole = [OffsetRange(p, mark.low, mark.high) for p, mark in marks.items()]
        verifier = self._verifier()
        check = ContentCheck(
            judge.contract, judge.broker, judge.clickhouse, judge.ledger, Decoder(judge.contract)
        )
        verdict = verifier.run()
        found = [*verdict.findings, *verifier.against_broker()]
        found += check.run(topic, whole, lambda _: None)
        told = [f"{f.kind}: {f.text} {' '.join(map(str, f.ranges[:9]))}" for f in found]
        if verdict.offsets != sum(r.count for r in whole):
            told.append(f"{verdict.offsets} offsets published of {sum(r.count for r in whole)}")
        if self._judge.ledger.work_tables():
            time.sleep(2)  # a table that no load owns is given the time of a lease
            judge.settler.sweep()
        left = self._judge.ledger.work_tables()
        told += [f"leftover: {row['name']}" for row in left]
        seen = judge.clickhouse.rows(
            "SELECT count() AS rows, uniqExact(p, o, l) AS written,"
            " (SELECT count() FROM orders WHERE (_partition, _offset, toString(_load_id))"
            "  NOT IN (SELECT p, o, l FROM seen)) AS missed FROM seen"
        )[0]
        if seen["rows"] != seen["written"]:
            told.append(f"the materialized view saw rows twice: {seen}")
        # The engine does not write a row of the target and of the view as one.
        if seen["missed"] and not self._engine_died:
            told.append(f"the materialized view missed rows: {seen}")
        return told

    def _tell(self, text: str) -> None:
        self.story.append(text)

    def _clean(self) -> None:
        self._proxy.close()
        for name in (self._name, f"{self._name}_sluice"):
            self._server.execute(f"DROP DATABASE IF EXISTS {name}")
        self._server.client.close()
        self._judge.clickhouse.client.close()
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()
