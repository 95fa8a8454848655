"""The process that loads: forked from one that has everything imported already."""

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

STALLED, REFUSED = 3, 4
"""Exit codes: an error that a retry may mend, and one that says to stop."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a load.

    Attributes:
        owner: the run; a retry of a run has the same one.
        over: folder with an empty file for each run that is over.
        stop: where the process is to be stopped, if at all.
        request: what it is asked to load.
        max_message_bytes: smaller than some messages now and then, which are then refused.
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
    """The contract of orders, for a topic of the chaos run; it publishes whatever was refused."""
    return msgspec.structs.replace(orders, topic=topic, breaker=Breaker(max_refused_share=1.0))


def loader_for(job: Job) -> Loader:
    """A loader as the job describes it; small chunks and batches, so that there are many steps."""
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
    """A whole load, as the tasks of a DAG run do it."""
    sys.stdout = sys.stderr = job.log.open("a")
    logging.basicConfig(stream=sys.stderr, force=True)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    print(f"--- {job.owner} {job.stop} {describe_request(job.request)}", flush=True)
    try:
        loader = loader_for(job)
        if job.stop:
            stop_at(loader, job.stop)
        plan = loader.plan(job.request)
        try:
            for number in range(len(plan.chunks)):
                loader.drain(plan.load_id, number)
            loader.audit(plan.load_id)
            loader.publish(plan.load_id)
        finally:
            loader.report(plan.load_id)
    except SluiceError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(REFUSED)
    except Exception as error:  # as a task would fail: said in the log, and no more
        structlog.get_logger().exception("failed", error=str(error))
        os._exit(STALLED)
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
    """A connection as the environment would have it."""
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
