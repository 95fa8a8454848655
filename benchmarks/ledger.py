"""What steps read of a ledger that is years old: ``python -m benchmarks.ledger``."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from include.schemas.orders import contract as orders
from local.loaders import loader_of
from local.temporary import temporary_stack
from sluice.errors import TopicRecreated
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.store.load_state import PlanRecord
from sluice.store.topic_log import CHECKPOINT_EVERY, TopicLog

console = Console(highlight=False)

EVENTS = ("reserved", "audited", "publishing", "published")
PARTITIONS, OFFSETS = 4, 1000
"""Per load: partitions; per partition: offsets."""

AT = "toDateTime64('2026-01-01', 6, 'UTC') + toIntervalHour(number)"


@click.command()
@click.option(
    "--topics", default=500, show_default=True, type=click.IntRange(min=8), help="Topic 7 is read."
)
@click.option("--loads", default=2_600, show_default=True, help="Loads per topic.")
def main(topics: int, loads: int) -> None:
    """Fill the ledger as hourly loads of many topics would, and count what a load reads of it."""
    with temporary_stack(console) as stack:
        contract = msgspec.structs.replace(orders, topic="topic-7")
        loader = loader_of(stack, contract, "benchmark")
        with console.status(f"inserting {topics * loads:,} loads"):
            _fill(loader, topics, loads)
        _measure(loader, topics, loads)


def _fill(loader: Loader, topics: int, loads: int) -> None:
    clickhouse, db = loader.clickhouse, loader.ledger.database
    loader.broker.create_topic("topic-7", PARTITIONS)
    loader.create_tables()
    topic_id = loader.broker.topic("topic-7").id
    plan = msgspec.json.encode(PlanRecord(topic_id=topic_id, watermarks={0: (0, 1)})).decode()
    low = f"number * {OFFSETS}"
    ranges = f"[arrayMap(p -> (toInt32(p), {low}, {low} + {OFFSETS}), range({PARTITIONS}))]"
    for topic in range(topics):
        clickhouse.execute(
            f"INSERT INTO {db}.topic_log"
            " (topic, entry, writer, load_id, state, owner, detail, chunks, at)"
            f" SELECT 'topic-{topic}', {len(EVENTS)} * number + place, 'w',"
            f" 'topic-{topic}_' || leftPad(toString(number), 6, '0'), state,"
            f" 'airflow/load#' || toString(number), if(place = 1, '{plan}', '{{}}'),"
            f" if(place = 1, {ranges}, []), {AT} + toIntervalSecond(place)"
            f" FROM numbers({loads}) ARRAY JOIN {list(EVENTS)} AS state,"
            f" arrayEnumerate({list(EVENTS)}) AS place"
        )
    clickhouse.execute(f"OPTIMIZE TABLE {db}.topic_log FINAL")
    _save_checkpoints(loader, topics, loads)


def _save_checkpoints(loader: Loader, topics: int, loads: int) -> None:
    """Every checkpoint of every topic; their states are as large as that of the last one."""
    state = TopicLog(loader.clickhouse, loader.ledger.database, "topic-7").read()
    assert state.entry == len(EVENTS) * loads
    assert state.loaded[0] == OffsetRange(0, 0, loads * OFFSETS)
    text, last = msgspec.json.encode(state).decode(), state.entry - 50
    loader.clickhouse.execute(
        f"INSERT INTO {loader.ledger.database}.topic_checkpoints (topic, entry, format, state)"
        f" SELECT 'topic-' || toString(t), number * {CHECKPOINT_EVERY}, 0, {{text:String}}"
        f" FROM numbers(1, {state.entry // CHECKPOINT_EVERY}) ARRAY JOIN range({topics}) AS t",
        {"text": text},
    )
    # The one that is read: that of an entry before the end.
    prefix = TopicLog(loader.clickhouse, loader.ledger.database, "topic-7")
    prefix.save_checkpoint(msgspec.structs.replace(state, entry=last))


def _measure(loader: Loader, topics: int, loads: int) -> None:
    clickhouse, ledger = loader.clickhouse, loader.ledger
    topic, load_id = loader.contract.topic, f"topic-7_{loads // 2:06}"
    counts: list[str] = []
    rows = clickhouse.rows

    def counted(sql: str, *rest: Any, **more: Any) -> Any:
        counts.append(sql)
        return rows(sql, *rest, **more)

    clickhouse.rows = counted  # type: ignore[method-assign]
    steps: dict[str, Callable[[], Any]] = {
        "state of the topic, first read": lambda: TopicLog(
            clickhouse, ledger.database, topic
        ).read(),
        "state of the topic, again": lambda: ledger.state(topic),
        "one load": lambda: ledger.load(topic, load_id),
        "history of a load": lambda: ledger.events(topic, load_id),
        "loads of a run": lambda: ledger.loads_of(topic, "airflow/load#17"),
        "all loads of the topic": lambda: ledger.loads_of(topic),
        "plan": lambda: _plan(loader),
        "the view of all loads (Topics page)": lambda: clickhouse.rows(
            f"SELECT count() AS n FROM {ledger.database}.loads"
        ),
    }
    title = f"{topics * loads:,} loads of {topics} topics"
    table = Table("", "ms", "statements", title=title)
    ledger.state(topic)
    for name, step in steps.items():
        counts.clear()
        began = time.perf_counter()
        step()
        taken = (time.perf_counter() - began) * 1000
        table.add_row(name, f"{taken:,.0f}", str(len(counts)))
    console.print(table)


def _plan(loader: Loader) -> None:
    """What a plan reads; it ends when it finds that the broker has none of the messages."""
    with contextlib.suppress(TopicRecreated):
        loader.planner.plan()


if __name__ == "__main__":
    main()
