"""The log of a topic, on the real engine."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluice.contract.ddl import WORK_TABLE, statements
from sluice.errors import EngineError, LoadLost, SettingsError
from sluice.ranges import OffsetRange
from sluice.settings import Settings
from sluice.store import topic_log
from sluice.store.bookkeeping import create_bookkeeping
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import Load, State
from sluice.store.topic_log import TopicLog
from sluice.store.topic_state import Entry


@pytest.fixture
def ledger(clickhouse: ClickHouse, settings: Settings) -> Ledger:
    made = Ledger(clickhouse, settings.database)
    made.create()
    return made


def log_of(ledger: Ledger) -> TopicLog:
    """A log that has read nothing yet, as that of another process."""
    return TopicLog(ledger.clickhouse, ledger.database, "t")


def reservation(number: int) -> Entry:
    chunks = ((OffsetRange(0, number, number + 1),),)
    return Entry(load_id=f"load {number}", state=State.RESERVED, owner=str(number), chunks=chunks)


def rows_of(ledger: Ledger, topic: str = "t") -> list[dict[str, int]]:
    return ledger.clickhouse.rows(
        f"SELECT entry, count() AS rows FROM {ledger.database}.topic_log WHERE topic = '{topic}'"
        " GROUP BY entry ORDER BY entry"
    )


def test_writers_at_once_get_one_number_each(ledger: Ledger) -> None:
    numbers = range(40)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: log_of(ledger).append(reservation(n)), numbers))
    state = log_of(ledger).read()
    assert state.entry == len(numbers)
    assert sorted(state.live) == sorted(f"load {n}" for n in numbers)
    assert rows_of(ledger) == [{"entry": n + 1, "rows": 1} for n in numbers]


def test_of_two_writers_of_the_same_offsets_one_succeeds(ledger: Ledger) -> None:
    def try_append(owner: str) -> bool:
        entry = reservation(1)
        made = Entry(load_id=owner, state=State.RESERVED, owner=owner, chunks=entry.chunks)
        try:
            log_of(ledger).append(made)
        except LoadLost as error:
            assert "another load has reserved" in error.detail
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(try_append, "abcdef")) == 1


def test_a_writer_that_comes_after_its_token_was_forgotten_has_lost(ledger: Ledger) -> None:
    late = log_of(ledger)
    assert late.read().entry == 0
    log_of(ledger).append(reservation(1))
    table = f"{ledger.database}.topic_log"
    ledger.clickhouse.execute(
        f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 1"
    )
    for number in range(3):
        TopicLog(ledger.clickhouse, ledger.database, f"other {number}").append(reservation(1))
    advance, slept = late._advance, list[bool]()

    def asleep() -> Any:
        if slept:
            return advance()
        slept.append(True)
        return {}

    late._advance = asleep  # type: ignore[method-assign]  # it slept after it had read
    insert, inserted = late._insert, list[int]()

    def counting(entry: Entry, number: int, writer: str) -> None:
        insert(entry, number, writer)
        inserted.append({row["entry"]: row["rows"] for row in rows_of(ledger, "t")}[number])

    late._insert = counting  # type: ignore[method-assign]
    late.append(reservation(2))
    assert inserted == [2, 1]
    assert rows_of(ledger) == [{"entry": 1, "rows": 1}, {"entry": 2, "rows": 1}], "its row is gone"
    assert {e.number: e.load_id for e in log_of(ledger).entries()} == {1: "load 1", 2: "load 2"}
    assert list(log_of(ledger).read().live) == ["load 1", "load 2"]
    assert [load.load_id for load in log_of(ledger).loads()] == ["load 2", "load 1"]
    views = ledger.clickhouse.rows(
        f"SELECT load_id, state FROM {ledger.database}.loads WHERE topic = 't' ORDER BY load_id"
    )
    assert [row["load_id"] for row in views] == ["load 1", "load 2"]


def test_the_log_ends_at_the_first_gap(ledger: Ledger) -> None:
    """A replica may have received the third entry before the second."""
    log_of(ledger).append(reservation(1))
    ledger.clickhouse.execute(
        f"INSERT INTO {ledger.database}.topic_log (topic, entry, load_id, state)"
        " VALUES ('t', 3, 'load 3', 'reserved')"
    )
    assert log_of(ledger).read().entry == 1


def test_an_entry_that_cannot_be_read_is_an_error(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_log, "PATIENCE_SECONDS", 0)
    log = log_of(ledger)
    monkeypatch.setattr(log, "_advance", dict)
    with pytest.raises(EngineError, match="cannot be read"):
        log.append(reservation(1))


def test_a_checkpoint_equals_what_the_entries_say(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_log, "CHECKPOINT_EVERY", 10)
    for number in range(6):
        log = log_of(ledger)
        log.append(reservation(number))
        log.append(Entry(load_id=f"load {number}", state=State.AUDITED, owner="x"))
        if number % 2:
            log.append(Entry(load_id=f"load {number}", state=State.PUBLISHING, owner="x"))
            log.append(Entry(load_id=f"load {number}", state=State.PUBLISHED, owner="x"))
    with_checkpoint = log_of(ledger).read()
    checkpoints = f"{ledger.database}.topic_checkpoints"
    (row,) = ledger.clickhouse.rows(f"SELECT max(entry) AS entry FROM {checkpoints}")
    assert row["entry"] == 10
    ledger.clickhouse.execute(f"TRUNCATE TABLE {checkpoints}")
    assert log_of(ledger).read() == with_checkpoint
    assert with_checkpoint.entry == 18


def test_a_long_log_without_a_checkpoint_gets_one_with_the_next_entry(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the conversion of an old ledger, or of a writer that was killed before it."""
    for number in range(12):
        log_of(ledger).append(reservation(number))
    checkpoints = f"SELECT entry FROM {ledger.database}.topic_checkpoints"
    assert ledger.clickhouse.rows(checkpoints) == []
    monkeypatch.setattr(topic_log, "CHECKPOINT_EVERY", 10)
    for number in range(12, 15):
        log_of(ledger).append(reservation(number))
    assert ledger.clickhouse.rows(checkpoints) == [{"entry": 13}]
    assert len(log_of(ledger).read().live) == 15


def test_a_forgotten_topic_begins_again(ledger: Ledger) -> None:
    log = log_of(ledger)
    log.append(reservation(1))
    number = log.append(Entry(load_id="", state=State.FORGOTTEN, owner="x")).entry
    log.forget(number)
    assert log_of(ledger).read().live == {}
    log_of(ledger).append(reservation(1))
    assert list(log_of(ledger).read().live) == ["load 1"]
    assert len(log_of(ledger).loads()) == 1


def test_a_database_of_a_newer_release_is_refused(ledger: Ledger) -> None:
    ledger.clickhouse.execute(
        f"INSERT INTO {ledger.database}.bookkeeping (version, digest) VALUES (99, 'x')"
    )
    with pytest.raises(SettingsError, match="newer release"):
        ledger.create()


# A database of version 1

OLD_EVENTS = {
    "published": ("planned", "reserved", "audited", "publishing", "published"),
    "replaced": ("planned", "reserved", "audited", "publishing", "replacing", "published"),
    "abandoned": ("planned", "reserved", "failed", "abandoned"),
    "withdrawn": ("planned", "withdrawn"),
    "unconfirmed": ("planned",),
    "publishing": ("planned", "reserved", "audited", "adopted", "publishing"),
    "held": ("planned", "reserved", "held"),
}
"""Load → its events, in the order of time."""

OLD_RANGES = {
    "published": (0, 10),
    "replaced": (0, 5),
    "abandoned": (10, 20),
    "withdrawn": (0, 10),
    "unconfirmed": (0, 10),
    "publishing": (10, 20),
    "held": (20, 30),
}


STAGED = "_attempt String, _partition Int32, _offset Int64, message Tuple(a String)"


def check_moved(ledger: Ledger, load: Load, old: str) -> None:
    """The rows that a load has staged in a table of its own are in its partition."""
    rows = ledger.staging.rows(load)
    (found,) = ledger.clickhouse.rows(
        f"SELECT count() AS rows, uniqExact(_offset) AS offsets, any(message.a) AS a"
        f" FROM {rows.table} WHERE {rows.condition} AND _attempt = 'x'"
    )
    assert found == {"rows": 10, "offsets": 10, "a": "b"}
    assert not ledger.clickhouse.has_table(ledger.database, old)


def run_dump(clickhouse: ClickHouse, database: str, version: int) -> None:
    """Create the database of an older version."""
    clickhouse.execute(f"DROP DATABASE IF EXISTS {database}")
    text = (Path(__file__).parents[1] / f"golden/bookkeeping_{version}.sql").read_text()
    for statement in statements(re.sub(r"\bsluice\b(?=[.;])", database, text)):
        clickhouse.execute(statement)
    applied = {"digest": "an older one"} | ({"version": version} if version > 1 else {})
    clickhouse.insert(f"{database}.bookkeeping", [applied], "applied")


def bring_up_at_once(clickhouse: ClickHouse, database: str) -> Ledger:
    """What four processes do that meet an older database."""
    ledgers = [Ledger(clickhouse, database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda ledger: ledger.create(), ledgers))
    return ledgers[0]


def create_old_database(clickhouse: ClickHouse, database: str) -> None:
    """The ledger as version 1 has left it."""
    run_dump(clickhouse, database, 1)
    plan = '{"topic_id": "id-1", "watermarks": {"0": [0, 30]}, "kind": "KIND", "request": {}}'
    events, ranges, second = [], [], 0
    for load, states in OLD_EVENTS.items():
        low, high = OLD_RANGES[load]
        for chunk, (start, end) in enumerate([(low, low + 2), (low + 2, high)]):
            revision = int(load == "replaced")
            ranges.append(
                {"load_id": load, "topic": "t", "chunk": chunk, "partition": 0, "low": start}
                | {"high": end, "revision": revision}
            )
        for state in states:
            second += 1
            kind = "replace" if load == "replaced" else "load"
            detail = {"planned": plan.replace("KIND", kind), "audited": '{"attempts": {"0": "x"}}'}
            events.append(
                {
                    "load_id": load,
                    "topic": "t",
                    "state": state,
                    "at": f"2026-01-01 00:00:{second:02}",
                }
                | {
                    "owner": "new" if state == "adopted" else "run",
                    "detail": detail.get(state, "{}"),
                }
            )
    clickhouse.insert(f"{database}.load_events", events, "events")
    clickhouse.insert(f"{database}.load_ranges", ranges, "ranges")
    clickhouse.execute(
        f"CREATE TABLE {database}.publishing_publishing ({STAGED}) ENGINE = MergeTree"
        f" ORDER BY _offset COMMENT '{WORK_TABLE}'"
    )
    clickhouse.execute(
        f"INSERT INTO {database}.publishing_publishing SELECT 'x', 0, number, tuple('b')"
        " FROM numbers(10, 10)"
    )


def check_converted(ledger: Ledger) -> None:
    state = TopicLog(ledger.clickhouse, ledger.database, "t").read()
    assert state.loaded == (OffsetRange(0, 0, 10),)
    assert (state.topic_id, state.revision, state.origins) == ("id-1", 1, {0: 0})
    assert {load.load_id: load.state for load in state.live.values()} == {
        "publishing": State.PUBLISHING,
        "held": State.HELD,
    }
    live = state.live["publishing"]
    assert (live.owner, live.attempts) == ("new", {0: "x"})
    assert live.chunks == ((OffsetRange(0, 10, 12),), (OffsetRange(0, 12, 20),))


def test_staged_rows_of_version_2_are_moved(clickhouse: ClickHouse, settings: Settings) -> None:
    """Each load had a table of its own; one of them has ended, and one belongs to no load."""
    database = settings.database
    run_dump(clickhouse, database, 2)
    old_log = TopicLog(clickhouse, database, "t")
    for name, low in (("ended", 0), ("live", 10)):
        chunks = ((OffsetRange(0, low, low + 10),),)
        entry = Entry(load_id=name, state=State.RESERVED, owner=name, chunks=chunks)
        old_log.append(entry)
        clickhouse.execute(
            f"CREATE TABLE {database}.staging_{name} ({STAGED}) ENGINE = MergeTree"
            f" ORDER BY _offset COMMENT '{WORK_TABLE}'"
        )
        clickhouse.execute(
            f"INSERT INTO {database}.staging_{name} SELECT 'x', 0, number, tuple('b')"
            f" FROM numbers({low}, 10)"
        )
    old_log.append(Entry(load_id="ended", state=State.ABANDONED, owner="x"))
    ledger = bring_up_at_once(clickhouse, database)
    check_moved(ledger, ledger.state("t").live["live"], "staging_live")
    assert not clickhouse.has_table(database, "staging_ended")
    assert ledger.staging.leftovers(ledger.state("t")) == []


def test_a_ledger_of_version_1_is_converted(clickhouse: ClickHouse, settings: Settings) -> None:
    create_old_database(clickhouse, settings.database)
    ledger = bring_up_at_once(clickhouse, settings.database)
    check_converted(ledger)
    ledger.create()
    ledger.record("held", "t", State.ABANDONED, "x")
    check_moved(ledger, ledger.state("t").live["publishing"], "publishing_publishing")
    rows = clickhouse.rows(
        f"SELECT load_id, state FROM {settings.database}.loads ORDER BY planned_at"
    )
    assert {row["load_id"]: row["state"] for row in rows} == {
        "published": "published",
        "replaced": "published",
        "abandoned": "abandoned",
        "publishing": "publishing",
        "held": "abandoned",
    }
    # A deployment of version 1 that still runs can no longer write.
    with pytest.raises(EngineError):
        clickhouse.insert(f"{settings.database}.load_events", [{"load_id": "x"}], "old")


@pytest.mark.parametrize("step", (1, 2, 3, 8, 9))
def test_an_interrupted_conversion_is_completed(
    clickhouse: ClickHouse, settings: Settings, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A process dies before one of its statements that change more than the declaration."""
    create_old_database(clickhouse, settings.database)
    execute, changes = clickhouse.execute, list[str]()

    def dying(sql: str, *rest: Any, **more: Any) -> None:
        if re.match(r"RENAME|INSERT|CREATE OR REPLACE VIEW", sql):
            changes.append(sql)
            if len(changes) == step:
                raise KeyboardInterrupt
        execute(sql, *rest, **more)

    monkeypatch.setattr(clickhouse, "execute", dying)
    with pytest.raises(KeyboardInterrupt):
        create_bookkeeping(clickhouse, settings.database)
    monkeypatch.undo()
    ledger = Ledger(clickhouse, settings.database)
    ledger.create()
    check_converted(ledger)
