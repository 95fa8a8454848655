"""The worker that loads, forked from a process that has already imported everything."""

import contextlib
import logging
import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec
import structlog

from include.schemas.orders import contract as orders
from sluice.contract import Breaker, Contract
from sluice.errors import SluiceError
from sluice.loader import Loader
from sluice.settings import Connection, Settings, parse_connection
from sluice.store.request import Request, describe_request
from tests.chaos.steps import Stop, stop_at

PRELOAD = ["tests.chaos.worker", "great_expectations", "sluice.audit.quality_gate"]

CRASHED, FAILED = 3, 4
"""Exit codes: an unexpected error, after which a retry may succeed; and a SluiceError."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a load.

    Attributes:
        owner: the run; a retry has the same owner.
        over: folder with an empty file for each run that has ended.
        stop: where the process stops itself, if at all.
        request: what to load.
        max_message_bytes: larger messages are refused; some rounds set it below some messages.
    """

    topic: str
    owner: str
    kafka: str
    clickhouse: str
    database: str
    over: Path
    log: Path
    stop: Stop | None = None
    request: Request = Request()
    max_message_bytes: int = 1 << 24


def contract_for(topic: str) -> Contract:
    """Return the orders contract for a topic of its own, with a breaker that never trips."""
    return msgspec.structs.replace(orders, topic=topic, breaker=Breaker(max_refused_share=1.0))


def loader_for(job: Job) -> Loader:
    """Return the loader of a job, with small chunks and batches so that there are many steps."""
    settings = Settings(
        database=job.database,
        chunk_offsets=400,
        batch_rows=120,
        stall_seconds=20,
        lease_minutes=0.02,
        max_message_bytes=job.max_message_bytes,
    )
    connections = (parse_connection(job.kafka), parse_connection(job.clickhouse))
    return Loader(
        contract_for(job.topic),
        *connections,
        settings,
        job.owner,
        lambda owner: (job.over / owner.replace("/", "_")).exists(),
    )


def load(job: Job) -> None:
    """Run a whole load as the tasks of a DAG run do, and exit the process."""
    sys.stdout = sys.stderr = job.log.open("a")
    logging.basicConfig(stream=sys.stderr, force=True)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    print(f"--- {job.owner} {job.stop} {describe_request(job.request)}", flush=True)
    try:
        loader = loader_for(job)
        if job.stop:
            stop_at(loader, job.stop)
        plan = loader.plan(job.request)
        if not plan.load_id:
            os._exit(0)  # nothing is new
        try:
            for number in range(len(plan.chunks)):
                loader.drain(plan.load_id, number)
            loader.audit(plan.load_id)
            loader.publish(plan.load_id)
        finally:
            loader.report(plan.load_id)
    except SluiceError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(FAILED)
    except Exception as error:  # as a task would fail: log the error and exit
        structlog.get_logger().exception("failed", error=str(error))
        os._exit(CRASHED)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(0)


def start(job: Job) -> BaseProcess:
    """Fork a worker for a job."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=load, args=(job,), daemon=True)
    process.start()
    return process


def direct(connection: Connection) -> str:
    """Encode a connection as an environment variable would contain it."""
    return msgspec.json.encode(
        {
            "conn_type": "clickhouse",
            "host": connection.host,
            "port": connection.port,
            "login": connection.login,
            "password": connection.password.get_secret_value(),
            "schema": connection.schema,
        }
    ).decode()
