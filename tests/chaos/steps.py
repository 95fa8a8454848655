"""Names the steps of the load protocol, and stops a process exactly at one of them.

The library contains no hooks for this. The loader's calls to ClickHouse and Kafka are wrapped, and
a step is recognized by the statement that it sends.
"""

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from sluice.loader import Loader

When = Literal["before", "during", "after", "pause"]

_STATEMENTS = (
    (r"CREATE TABLE IF NOT EXISTS .*`staging_", "create staging"),
    (r"INSERT INTO .*\.quarantine_resolutions", "resolve"),
    (r"INSERT INTO ", "copy"),
    (r"DELETE FROM ", "remove"),
    (r"ALTER TABLE .*`staging_.* DROP PARTITION", "drop staging"),
    (r"CREATE (OR REPLACE )?VIEW .*audit_", "gate"),
)
_TABLES = {
    "quarantine_rows": "quarantine",
    "load_skips": "skips",
    "load_chunks": "chunk finished",
    "load_accounts": "account",
    "quality_results": "quality",
    "load_replaced": "count replaced",
    "load_repairs": "repairs",
    "reports": "report",
}

STEPS = (
    "create staging",
    "event reserved",
    "stage",
    "quarantine",
    "skips",
    "chunk finished",
    "account",
    "gate",
    "quality",
    "event audited",
    "event publishing",
    "copy",
    "event published",
    "drop staging",
    "mirror",
    "report",
    "event abandoned",
)
"""In the order in which a load reaches them; the last one belongs to settling."""

EXCHANGING = ("count replaced", "event replacing", "resolve", "remove")
"""Further steps of loads that replace or replay, between ``copy`` and ``event published``."""


class Stop(msgspec.Struct, frozen=True):
    """The point at which a process stops itself.

    Attributes:
        step: a name of :data:`STEPS` or :data:`EXCHANGING`.
        nth: the occurrence of the step, from 1.
        when: SIGKILL *before* or *after* the call, or while it is in progress (*during*); or
            SIGSTOP before it (*pause*), until SIGCONT.
    """

    step: str
    nth: int
    when: When


def step_of_statement(sql: str) -> str:
    """Return the step that a statement belongs to; empty if it belongs to none."""
    return next((step for pattern, step in _STATEMENTS if re.match(pattern, sql, re.S)), "")


def step_of_insert(table: str, body: bytes) -> str:
    """Return the step that an insert into a table belongs to; empty if it belongs to none."""
    name = table.rpartition(".")[2].strip("`")
    if name.startswith("staging_"):
        return "stage"
    if name == "topic_log":
        return f"event {msgspec.json.decode(body.splitlines()[0])['state']}"
    return _TABLES.get(name, "")


def stop_at(loader: Loader, stop: Stop) -> None:
    """Wrap the loader's calls so that this process stops itself at a step."""
    counts: Counter[str] = Counter()

    def call_step(step: str, call: Callable[[], Any]) -> Any:
        counts[step] += 1
        if step != stop.step or counts[step] != stop.nth:
            return call()
        if stop.when == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif stop.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        elif stop.when == "during":
            threading.Thread(target=call, daemon=True).start()
            time.sleep(0.004)
            os.kill(os.getpid(), signal.SIGKILL)
        result = call()
        if stop.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    clickhouse, broker = loader.clickhouse, loader.broker
    execute, insert, mirror = clickhouse.execute, clickhouse.insert_lines, broker.mirror

    def watched_execute(sql: str, *rest: Any, **more: Any) -> Any:
        return call_step(step_of_statement(sql), lambda: execute(sql, *rest, **more))

    def watched_insert(table: str, columns: Any, body: bytes, *rest: Any, **more: Any) -> Any:
        return call_step(
            step_of_insert(table, body), lambda: insert(table, columns, body, *rest, **more)
        )

    def watched_mirror(*arguments: Any) -> Any:
        return call_step("mirror", lambda: mirror(*arguments))

    for owner, name, watching in (
        (clickhouse, "execute", watched_execute),
        (clickhouse, "insert_lines", watched_insert),
        (broker, "mirror", watched_mirror),
    ):
        setattr(owner, name, watching)
