"""Forgetting a topic: its loads leave the ledger, so that the next load reads all that it has."""

from datetime import UTC, datetime, timedelta

import structlog
from msgspec import Struct

from sluice.errors import EngineError, LoadLost, PlanError
from sluice.loader import Loader
from sluice.ranges import intersect, total
from sluice.records import retained_ranges
from sluice.report.metrics import save_no_refusals
from sluice.sql import quote_identifier
from sluice.store.clickhouse import UNKNOWN_TABLE
from sluice.store.load_state import Load, State
from sluice.store.topic_state import Entry

log = structlog.get_logger()


class ForgottenTopic(Struct, frozen=True, kw_only=True):
    """What the ledger records of a topic that is to be forgotten.

    Attributes:
        loads: the number of loads.
        offsets: how many offsets the published loads account for.
        in_topic: how many of these the topic still has; the next load reads them again.
    """

    loads: int
    offsets: int
    in_topic: int


def describe_topic(loader: Loader) -> ForgottenTopic:
    """What would be forgotten; reads only.

    Raises:
        PlanError: the topic must not be forgotten now: its table has rows, or a load runs.
        BrokerError: the broker does not respond.
    """
    topic = loader.contract.topic
    _refuse_rows(loader)
    loads = loader.ledger.loads_of(topic)
    if running := [load for load in loads if load.live and not _is_over(loader, load)]:
        names = ", ".join(f"{load.load_id} ({load.state}, {load.owner})" for load in running)
        raise PlanError(f"these loads may still run, so end them first: {names}", topic=topic)
    if publishing := [x for x in loads if x.state.is_publishing or x.state is State.TAKING_BACK]:
        names = ", ".join(f"{load.load_id} ({load.state})" for load in publishing)
        raise PlanError(
            f"rows of these loads may be visible, or become so: {names}. Complete them first"
            " ('sluice release') or take them back ('sluice discard')",
            topic=topic,
        )
    published = loader.ledger.state(topic).loaded
    marks = loader.broker.watermarks(loader.broker.topic(topic))
    return ForgottenTopic(
        loads=len(loads),
        offsets=total(published),
        in_topic=total(intersect(published, retained_ranges(marks))),
    )


def forget_topic(loader: Loader) -> None:
    """Remove the loads of a topic from the ledger; repeatable.

    Unfinished loads lose their staged rows, so that late tasks of theirs fail.

    Raises:
        PlanError: see :func:`describe_topic`.
    """
    topic, database = loader.contract.topic, quote_identifier(loader.ledger.database)
    topic_log = loader.ledger.log(topic)
    seen = topic_log.read().entry
    describe_topic(loader)
    mine = {load.load_id for load in loader.ledger.loads_of(topic)}
    forgotten = Entry(load_id="", state=State.FORGOTTEN, owner=loader.owner)
    try:
        number = topic_log.append(
            forgotten, allowed=lambda state: "a load began" if state.entry > seen else ""
        ).entry
    except LoadLost:
        raise PlanError("a load began meanwhile: repeat the command", topic=topic) from None
    loader.ledger.staging.sweep(topic_log.read())
    for row in loader.ledger.work_tables():
        if row["load_id"] in mine:
            table = f"{database}.{quote_identifier(row['name'])}"
            loader.clickhouse.execute(f"DROP TABLE IF EXISTS {table}")
    topic_log.forget(number)
    save_no_refusals(loader.clickhouse, loader.ledger.database, topic, number)
    log.warning("topic_forgotten", topic=topic, loads=len(mine))


def _refuse_rows(loader: Loader) -> None:
    """Rows that stay would belong to no load, and the next load would not replace them."""
    topic, table = loader.contract.topic, loader.contract.table.name
    try:
        rows = loader.clickhouse.rows(
            f"SELECT 1 AS one FROM {loader.clickhouse.qualified(table)}"
            " WHERE _topic = {topic:String} LIMIT 1",
            {"topic": topic},
        )
    except EngineError as error:
        if error.code != UNKNOWN_TABLE:
            raise
        return
    if rows:
        raise PlanError(
            f"table {table!r} has rows of it. To load them again in place, use 'sluice backfill"
            f" {topic} --everything --existing replace'. To start from nothing, first rename the"
            " table, or drop it",
            topic=topic,
        )


def _is_over(loader: Loader, load: Load) -> bool:
    over = loader.settler.is_over(load.owner)
    if over is None:
        inactive = datetime.now(UTC) - loader.ledger.last_activity(load)
        over = inactive > timedelta(minutes=loader.settings.lease_minutes)
    return over or load.state is State.HELD
