"""Fills the Sluice database as hourly loads of many topics would, up to now."""

import time
from collections.abc import Iterator

import msgspec

from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.store.load_state import EventDetail, PlanRecord
from sluice.store.topic_log import CHECKPOINT_EVERY, FORMAT, TopicLog

PARTITIONS, OFFSETS, REFUSED, RULES = 4, 1000, 3, 20
"""Per load: partitions; per partition: offsets and refused messages; per load: quality rules."""

REFUSING = 10
"""One load of so many has refused messages."""

RECENT = 500
"""Loads per topic whose reports and quality results are not yet removed."""

EVENTS = ("reserved", "audited", "publishing", "published")


def load_id(topic: str, number: int) -> str:
    """The id of one of the loads."""
    return f"{topic}_{number:06}"


def fill(loader: Loader, topics: list[str], loads: int) -> None:
    """Write the records of ``loads`` published loads for each topic.

    The topic of the loader's contract, which is among them, is created in Kafka; it has no
    messages.
    """
    _History(loader, topics, loads).fill()


class _History:
    def __init__(self, loader: Loader, topics: list[str], loads: int) -> None:
        self._loader, self._topics, self._loads = loader, topics, loads
        self._db = loader.ledger.database
        listed = ", ".join(f"'{topic}'" for topic in topics)
        self._every = (
            f"(SELECT arrayJoin([{listed}]) AS topic, number AS n,"
            " topic || '_' || leftPad(toString(n), 6, '0') AS load,"
            f" now64(6, 'UTC') - toIntervalHour({loads} - n) AS at,"
            f" n * {OFFSETS} AS low FROM numbers({loads}))"
        )
        self._recent = f"(SELECT * FROM {self._every} WHERE n >= {loads - RECENT})"

    def fill(self) -> None:
        loader = self._loader
        loader.broker.create_topic(loader.contract.topic, PARTITIONS)
        loader.create_tables()
        self._fill_log(loader.broker.topic(loader.contract.topic).id)
        self._fill_chunks()
        self._fill_metrics()
        self._fill_recent()
        while self._loader.clickhouse.rows("SELECT 1 AS one FROM system.merges LIMIT 1"):
            time.sleep(0.5)

    def _by_topics(self) -> Iterator[str]:
        """The loads of fifty topics at a time, for tables with many rows of each."""
        for start in range(0, len(self._topics), 50):
            listed = ", ".join(f"'{topic}'" for topic in self._topics[start : start + 50])
            yield f"(SELECT * FROM {self._every} WHERE topic IN ({listed}))"

    def _insert(self, table: str, columns: str, selected: str, source: str, rest: str = "") -> None:
        self._loader.clickhouse.execute(
            f"INSERT INTO {self._db}.{table} ({columns}) SELECT {selected} FROM {source} {rest}"
        )

    def _fill_log(self, topic_id: str) -> None:
        plan = msgspec.json.encode(PlanRecord(topic_id=topic_id, watermarks={0: (0, 1)})).decode()
        refused = f"if(n % {REFUSING} = 0, {PARTITIONS * REFUSED}, 0)"
        audited = msgspec.json.encode(EventDetail(attempts={0: "0-a"}, loaded=-1, quarantined=-2))
        audited_text = audited.decode().replace("-1", "@loaded").replace("-2", "@refused")
        detail = (
            f"multiIf(place = 1, '{plan}', place = 2, replaceOne(replaceOne('{audited_text}',"
            f" '@loaded', toString({PARTITIONS * OFFSETS} - {refused})),"
            f" '@refused', toString({refused})), '{{}}')"
        )
        ranges = f"[arrayMap(p -> (toInt32(p), low, low + {OFFSETS}), range({PARTITIONS}))]"
        for some in self._by_topics():
            self._insert(
                "topic_log",
                "topic, entry, writer, load_id, state, owner, detail, chunks, at",
                f"topic, {len(EVENTS)} * n + place, 'w', load, state,"
                f" 'airflow/load#' || toString(n), {detail}, if(place = 1, {ranges}, []),"
                " at + toIntervalSecond(place)",
                some,
                f"ARRAY JOIN {list(EVENTS)} AS state, arrayEnumerate({list(EVENTS)}) AS place",
            )
        self._loader.clickhouse.execute(f"OPTIMIZE TABLE {self._db}.topic_log FINAL")
        self._save_checkpoints()

    def _save_checkpoints(self) -> None:
        """Every checkpoint of every topic; their states are as large as that of the last one."""
        topic = self._loader.contract.topic
        state = TopicLog(self._loader.clickhouse, self._db, topic).read()
        assert state.entry == len(EVENTS) * self._loads
        assert state.loaded[0] == OffsetRange(0, 0, self._loads * OFFSETS)
        last = state.entry - CHECKPOINT_EVERY // 2
        text = msgspec.json.encode(msgspec.structs.replace(state, entry=last)).decode()
        listed = ", ".join(f"'{topic}'" for topic in self._topics)
        self._loader.clickhouse.execute(
            f"INSERT INTO {self._db}.topic_checkpoints (topic, entry, format, state)"
            f" SELECT t, {last} - number * {CHECKPOINT_EVERY}, {FORMAT},"
            f' replaceOne({{text:String}}, \'"topic":"{topic}"\', \'"topic":"\' || t || \'"\')'
            f" FROM numbers(0, {last // CHECKPOINT_EVERY}) ARRAY JOIN [{listed}] AS t",
            {"text": text},
        )

    def _fill_chunks(self) -> None:
        self._insert(
            "load_chunks",
            "load_id, topic, chunk, attempt, bytes, seconds, cpu_seconds, batches, at",
            "load, topic, 0, '0-a', 1, 1, 1, 1, at",
            self._every,
        )
        refused = f"if(n % {REFUSING} = 0, {REFUSED}, 0)"
        self._insert(
            "load_accounts",
            "load_id, topic, partition, planned, loaded, quarantined, at",
            f"load, topic, p, {OFFSETS}, {OFFSETS} - {refused}, {refused}, at",
            self._every,
            f"ARRAY JOIN range({PARTITIONS}) AS p",
        )
        self._insert(
            "quarantine_rows",
            "load_id, attempt, topic, partition, offset, timestamp, timestamp_ms, value, reason,"
            " field, message, version, at",
            f"load, '0-a', topic, intDiv(k, {REFUSED}), low + k % {REFUSED}, at,"
            " toUnixTimestamp64Milli(at), 'e30=',"
            " 'missing_field', 'order_id', 'it is missing', '1.2', at",
            f"(SELECT * FROM {self._every} WHERE n % {REFUSING} = 0)",
            f"ARRAY JOIN range({PARTITIONS * REFUSED}) AS k",
        )

    def _fill_metrics(self) -> None:
        labelled = {
            "sluice.messages": ("version", ("1.0", "1.1", "1.2")),
            "sluice.quality.failed": ("severity", ("critical", "warning")),
            "sluice.offsets": ("outcome", ("loaded", "quarantined", "tombstones", "absent")),
            "sluice.lag.offsets": ("partition", tuple(map(str, range(PARTITIONS)))),
            "sluice.step.seconds": ("step", ("drain", "publish", "from plan to end")),
        }
        named = [
            f"('{name}', map('{label}', '{value}'))"
            for name, (label, values) in labelled.items()
            for value in values
        ]
        named += [f"('sluice.{name}', map())" for name in ("upgraded", "load.end", "read.bytes")]
        named.append("('sluice.loads', map('state', 'published', 'kind', 'load'))")
        for some in self._by_topics():
            self._insert(
                "metrics",
                "load_id, topic, name, labels, value, at",
                "load, topic, m.1, m.2, 5, at",
                some,
                f"ARRAY JOIN [{', '.join(named)}] AS m",
            )

    def _fill_recent(self) -> None:
        self._insert(
            "quality_results",
            "load_id, topic, audit, expectation, column, description, severity, success,"
            " element_count, unexpected_count, examples, at",
            "load, topic, 'a', 'x', 'c', 'rule ' || toString(r), 'critical', 1, 1, 0, '[]', at",
            self._recent,
            f"ARRAY JOIN range({RULES}) AS r",
        )
        last = load_id(self._loader.contract.topic, self._loads - 1)
        report = self._loader.write_report(last)
        self._insert(
            "data_docs",
            "load_id, topic, audit, document, at",
            "load, topic, 'a', repeat('<p>a rule</p>', 1000), at",
            self._recent,
        )
        self._insert(
            "reports",
            "load_id, topic, owner, report, at",
            "load, topic, 'airflow/load#' || toString(n), report, at",
            f"{self._recent} AS made CROSS JOIN (SELECT report FROM {self._db}.reports"
            f" WHERE load_id = '{report.load_id}') AS r",
        )
