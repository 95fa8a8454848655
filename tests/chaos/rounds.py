"""One round: a schedule of faults drawn from a seed, and an audit of the result."""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import NamedTuple

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
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse, connect
from sluice.store.request import RefusalFilter, Request, describe_request
from tests.chaos.proxy import Fault, Proxy
from tests.chaos.replicas import MODES, Mode, Replicas
from tests.chaos.steps import EXCHANGING, STEPS, Stop, When
from tests.chaos.worker import Job, contract_for, direct, loader_for, start

PARTITIONS = 2
WORKER_SECONDS = 90.0
"""Time that a worker may take; a worker that takes longer hangs, which fails the round."""


def mode_of(name: str, seed: int) -> Mode:
    """A mode by its name; otherwise one of all in turn."""
    return next((mode for mode in MODES if mode == name), MODES[seed % len(MODES)])


class Servers(NamedTuple):
    """What the rounds load from and into.

    Attributes:
        kafka: the Airflow connection as JSON.
        clickhouse: connection to the database ``default``.
        stack: the stack that the servers belong to; None if they were started elsewhere.
        second: a second engine, for two replicas that are simulated.
        mode: what is worse than a delay of that replica.
        cluster: the ClickHouse cluster whose servers replicate the databases of a round.
        disturb: a shell command that kills and starts a server again.
    """

    kafka: str
    clickhouse: Connection
    stack: Stack | None = None
    second: Stack | None = None
    mode: str = ""
    cluster: str = ""
    disturb: str = ""


class RoundFailed(AssertionError):
    """Contains the faults, the findings, and the command that repeats the round."""


class Round:
    """A topic, two databases, a proxy, and the faults injected into loads between them.

    Attributes:
        events: what was done, line by line.
    """

    def __init__(self, servers: Servers, seed: int, folder: Path) -> None:
        self.seed, self._servers, self._random = seed, servers, Random(seed)
        self._again = f" REPLICAS='{servers.mode}'" if servers.mode else ""
        self._folder = folder / f"seed-{seed}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.events: list[str] = []
        self._runs = 0
        self._requests: dict[str, Request] = {}
        self._engine_died = False
        self._name = f"chaos_{seed}_{uuid.uuid4().hex[:6]}"
        self._kafka, first = servers.kafka, servers.clickhouse
        self._mode, self._replicas = mode_of(servers.mode, seed), None
        port = first.port or 8123
        if servers.second:
            self._replicas = Replicas(port, servers.second.ports.clickhouse, self._mode, seed)
            self._record(f"two replicas, {self._mode}")
            port = self._replicas.port
        server = msgspec.structs.replace(first, port=port)
        self._server = connect(server)
        self._create_databases()
        if self._replicas:
            self._replicas.wait()
        self._direct = msgspec.structs.replace(server, schema=self._name)
        self._proxy = Proxy(port, server.host or "127.0.0.1")
        creator = loader_for(self._job("creator", self._direct))
        creator.broker.create_topic(self._name, PARTITIONS)
        creator.create_tables()
        self._watch_target(creator.clickhouse)
        # Audits what the first engine has.
        self._auditor: Loader = loader_for(
            self._job("auditor", msgspec.structs.replace(first, schema=self._name))
        )
        self._auditor.create_tables()

    def run(self) -> None:
        """Inject the faults, run undisturbed loads until nothing is left to load, and audit.

        Raises:
            RoundFailed: a load hung or failed, or the audit has findings.
        """
        try:
            for _ in range(2):
                self._produce(self._random.randint(200, 700))
                inject = self._random.choices(*zip(*self._faults(), strict=True))[0]
                inject()
            self._finish()
            if self._replicas:
                self._replicas.wait()
                self._record(f"{self._replicas.stale} statements met a replica that lagged behind")
            if findings := self._audit():
                raise RoundFailed("\n".join(findings))
        except (AssertionError, SluiceError) as error:
            events = "\n  ".join(self.events)
            raise RoundFailed(
                f"seed {self.seed}: {error}\nwhat was done:\n  {events}\nlogs: {self._folder}\n"
                f"repeat it with: make chaos SEED={self.seed} ROUNDS=1{self._again}"
            ) from error
        self._clean()

    def _faults(self) -> list[tuple[Callable[[], None], int]]:
        return [
            (self._kill_at_step, 12),
            (self._kill_at_random, 3),
            (self._pause, 4),
            (self._second_load, 3),
            (self._cut, 4),
            # What is written while a simulated replica dies has no order.
            (self._kill_engine, 3 if self._servers.stack and not self._replicas else 0),
            (self._kill_broker, 1 if self._servers.stack else 0),
            (self._disturb, 6 if self._servers.disturb else 0),
        ]

    def _create_databases(self) -> None:
        """Those of the targets and of Sluice; in a cluster, on each of its servers."""
        cluster, names = self._servers.cluster, [self._name]
        engine = ""
        if cluster:
            names.append(f"{self._name}_sluice")
            path = "/clickhouse/databases/{database}/{shard}"
            engine = (
                f" ON CLUSTER {cluster} ENGINE = Replicated('{path}', '{{shard}}', '{{replica}}')"
            )
        for name in names:
            self._server.execute(f"CREATE DATABASE {name}{engine}")

    # Faults.

    def _kill_at_step(self) -> None:
        # Sometimes twice: the run that settles an interrupted load is interrupted, too.
        for _ in range(self._random.choice((1, 1, 2))):
            stop = self._draw_stop(self._random.choice(("before", "during", "after")))
            worker, owner = self._start(stop)
            self._join(worker, owner, over=self._random.random() < 0.8)

    def _kill_at_random(self) -> None:
        worker, owner = self._start()
        delay = self._random.uniform(0.1, 2.0)
        time.sleep(delay)
        if worker.is_alive():
            worker.kill()
        self._record(f"killed {owner} after {delay:.2f} s")
        self._join(worker, owner)

    def _pause(self) -> None:
        """Pause a task as if it stalled; it continues while or after another does its work."""
        stop = self._draw_stop("pause")
        zombie, owner = self._start(stop)
        if not self._wait_until_paused(zombie):
            self._join(zombie, owner)
            return
        if self._random.random() < 0.5:
            self._record(f"{owner} is paused; the same run is retried")
            retry, _ = self._start(owner=owner)
        else:
            self._record(f"{owner} is paused and its run has ended; another run settles it")
            self._end_run(owner)
            retry, other = self._start()
            owner = other
        if self._random.random() < 0.5:
            retry.join(
                WORKER_SECONDS
            )  # the zombie resumes after the other run has ended, or in the middle of it
        else:
            time.sleep(self._random.uniform(0.2, 1.5))
        assert zombie.pid is not None
        psutil.Process(zombie.pid).resume()
        zombie.join(WORKER_SECONDS)
        assert zombie.exitcode is not None, "a zombie hangs"
        self._record(f"the zombie ended with {zombie.exitcode}")
        self._join(retry, owner)

    def _second_load(self) -> None:
        first, one = self._start()
        second, two = self._start()
        self._join(first, one)
        self._join(second, two)

    def _cut(self) -> None:
        faults: tuple[Fault, ...] = ("lose response", "cut request", "delay", "refuse")
        fault, times = self._random.choice(faults), self._random.randint(1, 4)
        worker, owner = self._start(through_proxy=True)
        for _ in range(times):
            time.sleep(self._random.uniform(0.05, 0.5))
            self._proxy.plan(fault)
        self._join(worker, owner)
        self._proxy.plan("none", 0)
        self._record(f"{fault}: {self._proxy.injected} injected so far")

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

    # Running workers.

    def _draw_stop(self, when: When) -> Stop:
        step = self._random.choice((*STEPS, *EXCHANGING))
        often = step in ("stage", "copy", "chunk finished", "quarantine", "skips", "resolve")
        return Stop(step, self._random.randint(1, 4) if often else 1, when)

    def _draw_request(self, stop: Stop | None) -> Request:
        """Draw a request: mostly new messages; sometimes a reload of a part, or a replay."""
        draw = self._random.random() * (0.4 if stop and stop.step in EXCHANGING else 1)
        if draw < 0.15:
            return Request(refused=RefusalFilter(topic=self._name))
        if draw < 0.4:
            ends = [sorted(self._random.sample(range(800), 2)) for _ in range(PARTITIONS)]
            some = tuple(OffsetRange(p, *ends[p]) for p in range(PARTITIONS))
            window = {"offsets": some} if self._random.random() < 0.6 else {"low": "0"}
            return Request(existing="replace", **window)
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
        """Start a run; a retry of a run has the same request."""
        if not owner:
            self._runs += 1
            owner = f"run-{self._runs}"
            self._requests[owner] = Request() if undisturbed else self._draw_request(stop)
        request = self._requests[owner]
        small = not undisturbed and self._random.random() < 0.3
        proxied = msgspec.structs.replace(self._direct, host="127.0.0.1", port=self._proxy.port)
        clickhouse = proxied if through_proxy else self._direct
        job = self._job(owner, clickhouse, stop, request, small)
        place = f", {stop.when} {stop.step} {stop.nth}" if stop else ""
        self._record(f"started {owner}: {describe_request(request)}{place}")
        return start(job), owner

    def _join(self, worker: BaseProcess, owner: str, over: bool = True) -> None:
        worker.join(WORKER_SECONDS)
        hangs = worker.exitcode is None
        if hangs:
            worker.kill()
        assert not hangs, f"{owner} hangs"
        self._record(f"{owner} ended with {worker.exitcode}")
        if over:
            self._end_run(owner)
        else:  # the task is retried at once
            retry, _ = self._start(owner=owner)
            self._join(retry, owner)

    def _end_run(self, owner: str) -> None:
        (self._folder / owner).touch()

    def _wait_until_paused(self, worker: BaseProcess) -> bool:
        """Return whether the worker paused; False if it ended without reaching its step."""
        assert worker.pid is not None
        process, deadline = psutil.Process(worker.pid), time.monotonic() + WORKER_SECONDS
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end during the check
            while worker.is_alive() and time.monotonic() < deadline:
                if process.status() == psutil.STATUS_STOPPED:
                    return True
                time.sleep(0.02)
        return False

    def _disturb(self) -> None:
        """Kill a server of the cluster, and start it again, by the command that was given."""
        self._engine_died = True
        worker, owner = self._start()
        time.sleep(self._random.uniform(0.2, 2.0))
        subprocess.run(self._servers.disturb, shell=True, check=True)
        self._record("ran the command that disturbs")
        self._join(worker, owner)

    def _restart(self, name: str) -> None:
        stack = self._servers.stack
        assert stack
        service = stack.services[name]
        service.kill()
        time.sleep(0.2)
        stack.start((name,))
        service.wait()
        self._record(f"killed and restarted {name}")

    def _produce(self, count: int) -> None:
        """Produce mixed messages, some of them in transactions, some of which are aborted."""
        samples = make_samples(contract_for(self._name), count, self._random)
        plain = self._auditor.broker.producer()
        for sample in list(samples):
            plain.produce(self._name, sample.value, sample.key, headers=sample.headers)
        plain.flush()
        if self._random.random() < 0.5:
            return
        producer = self._auditor.broker.producer(
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
        """Create a view on the target; it must receive each row of each load exactly once."""
        clickhouse.create(
            "CREATE TABLE IF NOT EXISTS seen (p Int32, o Int64, l String) ENGINE = MergeTree"
            " ORDER BY (p, o) SETTINGS non_replicated_deduplication_window = 10000"
        )
        clickhouse.execute(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS watch TO seen AS"
            " SELECT _partition AS p, _offset AS o, toString(_load_id) AS l FROM orders"
        )

    # Audit.

    def _finish(self) -> None:
        """Run undisturbed loads until nothing is left to load."""
        for _ in range(4):
            worker, owner = self._start(undisturbed=True)
            self._join(worker, owner)
            assert worker.exitcode == 0, f"an undisturbed load ended with {worker.exitcode}"
            if not self._auditor.ledger.loads_of(self._name, live=True) and self._count_open() == 0:
                return
        raise AssertionError("offsets or unfinished loads remain after four undisturbed loads")

    def _count_open(self) -> int:
        return sum(s.open for s in self._verifier().run().partitions)

    def _verifier(self) -> Verifier:
        auditor = self._auditor
        return Verifier(auditor.contract, auditor.broker, auditor.clickhouse, auditor.ledger)

    def _audit(self) -> list[str]:
        """Audit offsets, content, leftovers and the view; return the findings as text."""
        auditor = self._auditor
        topic = auditor.broker.topic(self._name)
        marks = auditor.broker.watermarks(topic)
        whole = [OffsetRange(p, mark.low, mark.high) for p, mark in marks.items()]
        # As the next plan does; a table that no load owns is kept for the duration of a lease.
        if auditor.ledger.work_tables():
            time.sleep(2)
        auditor.settler.sweep()
        verifier = self._verifier()
        check = ContentCheck(
            auditor.contract,
            auditor.broker,
            auditor.clickhouse,
            auditor.ledger,
            Decoder(auditor.contract),
        )
        verdict = verifier.run()
        findings = [*verdict.findings, *verifier.against_broker()]
        findings += check.run(topic, whole, lambda _: None).findings
        texts = [f"{f.kind}: {f.text} {' '.join(map(str, f.ranges[:9]))}" for f in findings]
        if verdict.offsets != sum(r.count for r in whole):
            texts.append(f"{verdict.offsets} offsets published of {sum(r.count for r in whole)}")
        left = [row["name"] for row in auditor.ledger.work_tables()]
        left += auditor.ledger.staging.leftovers(auditor.ledger.state(topic.name))
        texts += [f"leftover: {name}" for name in left]
        view = auditor.clickhouse.rows(
            "SELECT count() AS rows, uniqExact(p, o, l) AS written,"
            " (SELECT count() FROM orders WHERE (_partition, _offset, toString(_load_id))"
            "  NOT IN (SELECT p, o, l FROM seen)) AS missed FROM seen"
        )[0]
        if view["rows"] != view["written"]:
            texts.append(f"the materialized view received rows twice: {view}")
        # The engine does not write to the target and to the view atomically.
        if view["missed"] and not self._engine_died:
            texts.append(f"the materialized view missed rows: {view}")
        return texts

    def _record(self, text: str) -> None:
        self.events.append(text)

    def _clean(self) -> None:
        self._proxy.close()
        self._auditor.clickhouse.client.close()
        for name in (self._name, f"{self._name}_sluice"):
            on_cluster = f" ON CLUSTER {self._servers.cluster}" if self._servers.cluster else ""
            self._server.execute(f"DROP DATABASE IF EXISTS {name}{on_cluster}")
        self._server.client.close()
        if self._replicas:
            self._replicas.wait()
            self._replicas.close()
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()
