"""Creates the Sluice database, and brings it up to date.

``bookkeeping.sql`` declares the tables and views; its statements can be repeated. What they cannot
express is done by the numbered steps of this module.
"""

import hashlib
import operator
import re
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct

from sluice.contract.ddl import WORK_TABLE, create_staging, staging_comment, statements
from sluice.errors import EngineError, SettingsError
from sluice.sql import quote_identifier
from sluice.store.clickhouse import (
    ALSO_IN_VIEWS,
    TABLE_EXISTS,
    UNKNOWN_DATABASE,
    UNKNOWN_TABLE,
    ClickHouse,
)
from sluice.store.load_state import Load
from sluice.store.staging import Staging
from sluice.store.topic_log import TopicLog
from sluice.store.topology import server_of, server_sql

log = structlog.get_logger()

BOOKKEEPING = Path(__file__).with_name("bookkeeping.sql")
"""The tables and views of the Sluice database; ``sql/`` contains a copy for reading."""

VERSION = 4
"""1: events and ranges of loads in tables of their own. 2: a log per topic (``topic_log``).
3: staging tables that stay, with a partition for each load. 4: totals of metrics; tables whose old
rows are removed are partitioned by month.
"""

OPEN_REFUSALS = "sluice.quarantine.messages"
"""The metric of the messages that are in quarantine."""

UNKNOWN_IDENTIFIER = 47


class Applied(Struct, frozen=True):
    """What was applied to a database last: the version, and the digest of its statements."""

    version: int
    digest: str


def create_bookkeeping(clickhouse: ClickHouse, database: str) -> None:
    """Create the database with its tables and views, or bring them up to date; repeatable.

    Raises:
        SettingsError: a newer release of Sluice has brought it up to date.
    """
    db, text = quote_identifier(database), BOOKKEEPING.read_text()
    applied = _applied(clickhouse, db)
    if applied.version > VERSION:
        raise SettingsError(
            f"the database {database} was brought up to date by a newer release of Sluice (its"
            f" version is {applied.version}, and this release knows {VERSION}): update this"
            " deployment"
        )
    digest = hashlib.sha256(text.encode()).hexdigest()
    if applied == Applied(VERSION, digest):
        return
    clickhouse.refuse_unrelated_servers()
    _set_aside(clickhouse, database, OLD_TABLES, "engine LIKE '%MergeTree'", 1)
    _set_aside(clickhouse, database, DATED_TABLES, "partition_key = ''", 3)
    for statement in statements(re.sub(r"\bsluice\b(?=[.;])", lambda _: db, text)):
        clickhouse.create(statement)
    _convert_old_ledger(clickhouse, database)
    _move_staged_rows(clickhouse, database)
    _copy_undated_tables(clickhouse, database)
    if applied.version < 4:
        _add_up_metrics(clickhouse, database)
    row = {"digest": digest, "version": VERSION}
    clickhouse.insert(f"{db}.bookkeeping", [row], uuid.uuid4().hex)


def _applied(clickhouse: ClickHouse, db: str) -> Applied:
    """What was applied last; version 0 if nothing was.

    Raises:
        SettingsError: another server has responded than before, which is not its replica.
    """
    try:
        rows = clickhouse.rows(
            f"SELECT max(version) AS version, argMax(digest, at) AS digest,"
            f" {server_sql(clickhouse.database)} FROM {db}.bookkeeping",
            waits=False,
        )
        if server_of(rows[0]) != clickhouse.server:
            clickhouse.refuse_unrelated_servers()
    except EngineError as error:
        if error.code == UNKNOWN_IDENTIFIER:
            return Applied(1, "")
        if error.code in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
            return Applied(0, "")
        raise
    return Applied(rows[0]["version"], rows[0]["digest"])


IN_ORDER = {"insert_deduplicate": 1, "max_threads": 1, "max_insert_threads": 1}
"""Settings with which a repeated INSERT SELECT makes the same blocks, which one token covers."""

OLD_TABLES = ("load_events", "load_ranges")
"""Tables of version 1; version 2 has views of these names."""

DATED_TABLES = ("reports", "quality_results", "data_docs")
"""Tables that version 4 partitions by month."""


def _set_aside(
    clickhouse: ClickHouse, database: str, tables: Sequence[str], which: str, version: int
) -> None:
    """Rename tables of an older version, so that deployments of it can no longer write to them.

    Args:
        which: a condition over ``system.tables`` that those of the version fulfil.
    """
    found = clickhouse.rows(
        "SELECT name FROM system.tables WHERE database = {db:String}"
        f" AND name IN {{names:Array(String)}} AND {which}",
        {"db": database, "names": list(tables)},
    )
    for row in found:
        name = f"{quote_identifier(database)}.{row['name']}"
        log.info("old_table_set_aside", table=row["name"])
        try:
            clickhouse.execute(f"RENAME TABLE {name} TO {name}_{version}")
        except EngineError as error:
            if error.code not in (UNKNOWN_TABLE, TABLE_EXISTS):
                raise  # else another process has renamed it


def _convert_old_ledger(clickhouse: ClickHouse, database: str) -> None:
    """Write the events and ranges of version 1 to the logs of their topics; repeatable.

    Every process that finds the tables of version 1 writes the same entries under the same token,
    so no process goes on before they are there. Plans that were not confirmed are left out: their
    runs plan again.
    """
    db = quote_identifier(database)
    if not clickhouse.has_table(database, "load_events_1"):
        return
    if not clickhouse.has_table(database, "load_ranges_1"):
        raise EngineError(0, f"{db}.load_ranges_1 is missing beside {db}.load_events_1")
    clickhouse.execute(
        f"INSERT INTO {db}.topic_log"
        " (topic, entry, writer, load_id, state, owner, detail, revision, chunks, at)"
        " SELECT e.topic, row_number() OVER (PARTITION BY e.topic ORDER BY e.at, e.load_id,"
        " e.state) AS number, 'converted', e.load_id, multiIf(e.state = 'planned', 'reserved',"
        " e.state = 'withdrawn', 'abandoned', e.state), e.owner, e.detail,"
        " if(e.state = 'planned', r.revision, 0), if(e.state = 'planned', r.chunks, []), e.at"
        f" FROM {db}.load_events_1 AS e LEFT JOIN ("
        "  SELECT load_id, max(revision) AS revision,"
        "   arrayMap(c -> c.2, arraySort(groupArray((chunk, ranges)))) AS chunks FROM ("
        "   SELECT load_id, chunk, max(revision) AS revision,"
        "    arraySort(groupArray((partition, low, high))) AS ranges"
        f"   FROM {db}.load_ranges_1 GROUP BY load_id, chunk)"
        "  GROUP BY load_id) AS r ON r.load_id = e.load_id"
        " WHERE e.state != 'reserved' AND e.load_id IN"
        f"  (SELECT load_id FROM {db}.load_events_1 WHERE state = 'reserved')"
        f" AND e.topic NOT IN (SELECT topic FROM {db}.topic_log)"
        " ORDER BY e.topic, number",
        settings=IN_ORDER
        | {
            "insert_deduplication_token": "converted from version 1",
            "max_block_size": 1 << 24,
            "min_insert_block_size_rows": 1 << 30,
            "min_insert_block_size_bytes": 8 << 30,
            "join_use_nulls": 0,
        },
    )
    log.info("old_ledger_converted", database=database)


def _move_staged_rows(clickhouse: ClickHouse, database: str) -> None:
    """Move the rows that live loads have staged in tables of their own; repeatable.

    Older releases made a table for each load, ``publishing_<load>`` or ``staging_<load>``.
    """
    tables = clickhouse.rows(
        "SELECT t.name AS name, substring(t.name, position(t.name, '_') + 1) AS load_id"
        " FROM system.tables AS t WHERE t.database = {db:String} AND t.comment = {mark:String}"
        " AND match(t.name, '^(publishing|staging)_')",
        {"db": database, "mark": WORK_TABLE},
    )
    for row in tables:
        old = f"{quote_identifier(database)}.{quote_identifier(row['name'])}"
        try:
            if load := _live_load(clickhouse, database, row["load_id"]):
                _move(clickhouse, database, old, load)
            clickhouse.execute(f"DROP TABLE IF EXISTS {old}")
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:
                raise  # else another process has moved them
        log.info("staged_rows_moved", table=row["name"], live=bool(load))


def _live_load(clickhouse: ClickHouse, database: str, load_id: str) -> Load | None:
    rows = clickhouse.rows(
        f"SELECT topic FROM {quote_identifier(database)}.topic_log"
        " WHERE load_id = {load:String} LIMIT 1",
        {"load": load_id},
    )
    state = TopicLog(clickhouse, database, rows[0]["topic"]).read() if rows else None
    return state.live.get(load_id) if state else None


def _move(clickhouse: ClickHouse, database: str, old: str, load: Load) -> None:
    columns = {row["name"]: row["type"] for row in clickhouse.rows(f"DESCRIBE TABLE {old}")}
    rows = Staging(clickhouse, database).rows(load)
    clickhouse.create(create_staging(rows.table, columns, staging_comment(load.topic)))
    listed = ", ".join(map(quote_identifier, columns))
    clickhouse.execute(
        f"INSERT INTO {rows.table} (_load, {listed}) SELECT {load.number}, {listed} FROM {old}"
        " ORDER BY _attempt, _partition, _offset",
        settings=IN_ORDER | {"insert_deduplication_token": f"moved/{load.load_id}"},
    )
    (counted,) = clickhouse.rows(
        f"SELECT (SELECT count() FROM {old}) AS before,"
        f" (SELECT count() FROM {rows.table} WHERE {rows.condition}) AS after"
    )
    if counted["before"] != counted["after"]:
        raise EngineError(
            0,
            f"{counted['after']:,} of {counted['before']:,} staged rows of load {load.load_id} were"
            f" moved from {old}",
        )


def _copy_undated_tables(clickhouse: ClickHouse, database: str) -> None:
    """Copy the rows of the tables that were set aside, a month at a time; repeatable."""
    db = quote_identifier(database)
    for table in DATED_TABLES:
        if not clickhouse.has_table(database, f"{table}_3"):
            continue
        old, new = f"{db}.{table}_3", f"{db}.{table}"
        try:
            for row in clickhouse.rows(
                f"SELECT toYYYYMM(at) AS month, count() AS n FROM {old} GROUP BY month"
            ):
                of_month = f"toYYYYMM(at) = {row['month']}"
                clickhouse.execute(
                    f"INSERT INTO {new} SELECT * FROM {old} WHERE {of_month} ORDER BY ALL",
                    settings=IN_ORDER
                    | {"insert_deduplication_token": f"{table} of version 3/{row['month']}"},
                )
                counted = clickhouse.until(
                    partial(_count, clickhouse, f"{new} WHERE {of_month}"),
                    partial(operator.le, row["n"]),
                )
                if counted < row["n"]:
                    raise EngineError(0, f"{counted:,} of {row['n']:,} rows were copied from {old}")
            clickhouse.execute(f"DROP TABLE IF EXISTS {old}")
        except EngineError as error:
            if error.code != UNKNOWN_TABLE:
                raise  # else another process has copied them
        log.info("old_table_copied", table=table)


def _count(clickhouse: ClickHouse, source: str) -> int:
    (row,) = clickhouse.rows(f"SELECT count() AS n FROM {source}")
    return int(row["n"])


def _add_up_metrics(clickhouse: ClickHouse, database: str) -> None:
    """Add up the metrics that older releases have saved, and count the quarantine; repeatable."""
    db = quote_identifier(database)
    clickhouse.execute(
        f"INSERT INTO {db}.metric_totals (topic, name, labels, total, last)"
        " SELECT topic, name, labels, sum(value), argMaxState(value, at) FROM ("
        "  SELECT m.topic AS topic, m.name AS name, m.labels AS labels, m.load_id,"
        "   argMax(m.value, m.at) AS value, max(m.at) AS at"
        f"  FROM {db}.metrics AS m WHERE m.saved = 0 GROUP BY topic, name, labels, m.load_id)"
        " GROUP BY topic, name, labels ORDER BY topic, name, toString(labels)",
        settings=IN_ORDER | {"insert_deduplication_token": "metrics of version 3"},
    )
    clickhouse.execute(
        f"INSERT INTO {db}.metrics (load_id, topic, name, labels, value, saved)"
        f" SELECT '', q.topic, '{OPEN_REFUSALS}', map(), count(), 1"
        f" FROM {db}.quarantine AS q WHERE q.status = 'quarantined'"
        " GROUP BY q.topic ORDER BY q.topic",
        settings=IN_ORDER
        | ALSO_IN_VIEWS
        | {"insert_deduplication_token": "quarantine of version 3"},
    )
