"""Kafka timestamps that are no time: every reader works, and nothing is lost."""

import datetime as dt
from random import Random

import msgspec
import pytest

from sluice.authoring.examples import example_message
from sluice.contract import Breaker, Contract, Table
from sluice.kafka.broker import Broker
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.records import LAST_TIMESTAMP
from sluice.report.find_message import MessageFinder
from sluice.report.lag import measure_lag
from sluice.settings import Connection
from sluice.store.clickhouse import connect
from sluice.store.quarantine import Quarantine
from sluice.store.request import RefusalFilter, Request
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.loads import finish, sums, verdict

NOW = 1_790_000_000_000
"""A time in milliseconds."""

USABLE = (1, NOW, LAST_TIMESTAMP)
UNUSABLE = (-1, -2, -NOW, LAST_TIMESTAMP + 1, NOW * 1_000, NOW * 1_000_000, 2**62, 2**63 - 1)
STAMPS = (*UNUSABLE, *USABLE)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

ANY_TIME = {
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "message.timestamp.before.max.ms": str(2**63 - 1),
}
"""Has the broker accept any timestamp, as brokers before 4.0 do."""


@pytest.fixture
def odd(make_loader: MakeLoader, contract: Contract) -> Loader:
    """A topic with one good and one refused message per timestamp."""
    breaker = Breaker(max_refused_share=1.0, max_consecutive=0)
    loader = make_loader(msgspec.structs.replace(contract, breaker=breaker))
    create(loader.broker, contract.topic)
    loader.ledger.create()
    producer = loader.broker.producer()
    for number, stamp in enumerate(STAMPS):
        good = msgspec.json.encode(example_message(contract, Random(number)))
        for value in (good, b"no"):
            producer.produce(contract.topic, value, timestamp=stamp)
    producer.flush()
    return loader


def create(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 1, ANY_TIME)


def as_time(stamp: int) -> dt.datetime:
    milliseconds = stamp if stamp in USABLE else 0
    return EPOCH + dt.timedelta(milliseconds=milliseconds)


def test_every_client_reads_the_rows(odd: Loader, database: Connection) -> None:
    load(odd)
    expected = [as_time(stamp) for stamp in STAMPS]
    for tz_mode in ("aware", "naive_utc", "schema"):
        extra = database.extra | {"tz_mode": tz_mode}
        client = connect(msgspec.structs.replace(database, extra=extra)).client
        for query in (
            "SELECT _timestamp FROM orders ORDER BY _offset",
            f"SELECT timestamp FROM {odd.ledger.database}.quarantine ORDER BY offset",
            f"SELECT timestamp FROM {odd.ledger.database}.quarantine_rows ORDER BY offset",
        ):
            times = [row[0] for row in client.query(query).result_rows]
            assert [t.replace(tzinfo=dt.UTC) for t in times] == expected
            assert len(client.query_df(query)) == len(expected)
            assert len(client.query_np(query)) == len(expected)
        client.close()


def test_the_timestamps_are_kept_as_kafka_has_them(odd: Loader) -> None:
    load(odd)
    database = odd.ledger.database
    rows = odd.clickhouse.rows(
        "SELECT o._offset AS offset, t.timestamp_ms AS raw FROM orders AS o"
        f" INNER JOIN {database}.record_timestamps AS t"
        " ON t.load_id = o._load_id AND t.partition = o._partition AND t.offset = o._offset"
        " ORDER BY offset"
    )
    assert [(row["offset"], row["raw"]) for row in rows] == [
        (2 * number, stamp) for number, stamp in enumerate(UNUSABLE)
    ]
    messages = Quarantine(odd.clickhouse, database).messages(
        RefusalFilter(topic=odd.contract.topic)
    )
    assert [(m.timestamp, m.timestamp_ms) for m in messages] == [
        (as_time(stamp), stamp) for stamp in STAMPS
    ]


def test_the_report_counts_them(odd: Loader) -> None:
    load_id = load(odd)
    report = odd.report(load_id)
    assert report.unusable_timestamps == 2 * len(UNUSABLE)
    (sentence,) = [text for text in report.advice if "timestamp" in text]
    assert sentence.startswith(
        f"{2 * len(UNUSABLE)} messages have a Kafka timestamp that is no time"
    )
    assert f"{odd.ledger.database}.record_timestamps" in sentence


def test_a_load_without_them_reports_nothing_of_it(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = loader.broker.producer()
    producer.produce(contract.topic, msgspec.json.encode(example_message(contract, Random(1))))
    producer.flush()
    report = loader.report(load(loader))
    assert report.unusable_timestamps == 0
    assert not [text for text in report.advice if "timestamp" in text]


def test_the_commands_work(
    odd: Loader, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    contract, topic = odd.contract, odd.contract.topic
    for module in ("quarantine", "loads", "where", "verify"):
        monkeypatch.setattr(f"sluice.cli.commands.{module}.find", lambda _: contract, raising=False)
    assert run("status", topic).exit_code == 0
    load(odd)
    assert run("status", topic).exit_code == 0
    position = 2 * UNUSABLE.index(NOW * 1_000)
    where = run("where", topic, f"offset=0:{position}")
    assert where.exit_code == 0, where.output
    shown = run("quarantine", "show", topic, "0", str(position + 1))
    assert f"{NOW * 1_000} (no time from 1970 to 2299 in milliseconds)" in shown.output
    absent = run("quarantine", "show", topic, "0", str(2 * UNUSABLE.index(-1) + 1))
    assert "timestamp       none" in absent.output
    path = tmp_path_factory.mktemp("export") / "out.ndjson"
    assert run("quarantine", "export", topic, str(path)).exit_code == 0
    raw = [msgspec.json.decode(line)["timestamp_ms"] for line in path.read_text().splitlines()]
    assert raw == list(STAMPS)
    assert run("quarantine", "list", topic).exit_code == 0
    verified = run("verify", topic, "--content")
    assert verified.exit_code == 0, verified.output


def test_a_search_finds_them(odd: Loader) -> None:
    load(odd)
    finder = MessageFinder(odd.contract, odd.clickhouse, odd.ledger.database)
    for number, stamp in enumerate(STAMPS):
        for offset in (2 * number, 2 * number + 1):
            (found,) = finder.find("offset", f"0:{offset}")
            assert found.timestamp == as_time(stamp)


def test_a_replay_keeps_them(odd: Loader, make_loader: MakeLoader) -> None:
    """Messages that were too large are loaded later, from quarantine."""
    small = make_loader(odd.contract, max_message_bytes=1)
    load(small)
    replaying = make_loader(odd.contract)
    load_id = finish(replaying, Request(refused=RefusalFilter(topic=odd.contract.topic)))
    assert sums(replaying, load_id)["loaded"] == len(STAMPS)
    rows = odd.clickhouse.rows("SELECT _timestamp AS at FROM orders ORDER BY _offset")
    assert [row["at"] for row in rows] == [as_time(stamp) for stamp in STAMPS]
    assert replaying.report(load_id).unusable_timestamps == 2 * len(UNUSABLE)
    refused = Quarantine(odd.clickhouse, odd.ledger.database)
    kept = refused.messages(RefusalFilter(topic=odd.contract.topic))
    assert [m.timestamp_ms for m in kept] == list(STAMPS)


def test_lag_and_time_ranges_pass_over_them(odd: Loader, make_loader: MakeLoader) -> None:
    topic = odd.contract.topic
    (lag,) = measure_lag(topic, odd.broker, odd.ledger)
    assert lag.waiting == 2 * len(STAMPS)
    # The first timestamp that is a time is the first millisecond of 1970.
    assert lag.seconds is not None and lag.seconds > 50 * 365 * 86_400
    request = Request(low="2026-01-01", high="2027-01-01")
    load_id = finish(make_loader(odd.contract), request)
    assert sums(odd, load_id)["difference"] == 0
    assert odd.report(load_id).outside == 0
    load(make_loader(odd.contract))
    assert verdict(odd).findings == []


def test_a_partition_without_any_time_has_no_age(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = make_loader(contract)
    create(loader.broker, contract.topic)
    producer = loader.broker.producer()
    for stamp in UNUSABLE:
        producer.produce(contract.topic, b"x", timestamp=stamp)
    producer.flush()
    loader.ledger.create()
    (lag,) = measure_lag(contract.topic, loader.broker, loader.ledger)
    assert (lag.waiting, lag.seconds) == (len(UNUSABLE), None)


def test_a_replacing_table_by_timestamp_takes_them_for_the_oldest(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """A producer in the wrong unit does not replace the rows of all others for ever."""
    table = Table(name="newest", order_by=("order_id",), engine="ReplacingMergeTree(_timestamp)")
    contract = msgspec.structs.replace(contract, table=table)
    loader = make_loader(contract)
    create(loader.broker, contract.topic)
    message = msgspec.json.encode(example_message(contract, Random(1)))
    for stamp in (NOW * 1_000, NOW, NOW * 1_000_000):
        producer = loader.broker.producer()
        producer.produce(contract.topic, message, timestamp=stamp)
        producer.flush()
    finish(make_loader(contract), Request(offsets=(OffsetRange(0, 2, 3),)))
    load(make_loader(contract))
    rows = loader.clickhouse.rows("SELECT _offset AS offset FROM newest FINAL")
    assert rows == [{"offset": 1}]
