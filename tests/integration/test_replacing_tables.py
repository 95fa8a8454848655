"""A replacing table keeps, of each key, what replaying the topic in Kafka's order would leave."""

import itertools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from sluice.audit.verify.content import Comparison, ContentCheck
from sluice.contract import Breaker, Contract, Table
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError, EngineError
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.records import retained_ranges
from sluice.store.clickhouse import ClickHouse
from sluice.store.request import RefusalFilter, Request
from tests.conftest import MakeLoader, load, with_topic
from tests.contracts import contract_of
from tests.loads import finish, sums, verdict

NEVER = Breaker(max_refused_share=1.0, max_consecutive=0)
SIZE = 120
"""Messages of more bytes are refused by the first loads, and pass when they are replayed."""

NOW = 1_790_000_000_000
"""A time in milliseconds."""

Kept = tuple[int, int, int, int]
"""Version, content, partition and offset of the row that is kept of a key."""


class State(Struct, frozen=True, kw_only=True):
    """The state of one thing."""

    name: str
    version: Annotated[int, Meta(ge=0, le=1000)]
    content: int = 0
    padding: str = ""


def states(engine: str = "ReplacingMergeTree(version)", **choices: Any) -> Contract:
    table = Table(name="states", order_by=("name",), engine=engine, **choices)
    return with_topic(contract_of(State, topic="states", table=table, breaker=NEVER))


def send(loader: Loader, messages: Sequence[tuple[int, State]]) -> None:
    """Produce messages to given partitions, in order, with their versions as timestamps."""
    producer = loader.broker.producer()
    for partition, message in messages:
        producer.produce(
            loader.contract.topic,
            msgspec.json.encode(message),
            message.name,
            partition=partition,
            timestamp=NOW + message.version,
        )
    producer.flush()


def kept(clickhouse: ClickHouse) -> dict[str, Kept]:
    rows = clickhouse.client.query(
        "SELECT name, version, content, _partition, _offset FROM states FINAL"
    ).result_rows
    return {name: (version, content, p, o) for name, version, content, p, o in rows}


def replayed(messages: Sequence[tuple[int, State]]) -> dict[str, Kept]:
    """What is left when a topic is read in Kafka's order, and an older version never wins."""
    offsets: dict[int, int] = {}
    left: dict[str, Kept] = {}
    for partition, message in messages:
        offset = offsets[partition] = offsets.get(partition, -1) + 1
        if message.name not in left or message.version >= left[message.name][0]:
            left[message.name] = (message.version, message.content, partition, offset)
    return left


def histories(random: Random, keys: int, partitions: int) -> list[tuple[int, State]]:
    """Random histories of keys, mixed; each key in one partition, with many equal versions."""
    messages = []
    for key in range(keys):
        for _ in range(random.randint(1, 9)):
            message = State(
                name=f"k{key}",
                version=random.choice((1, 1, 1, 2, 2, 3, random.randint(0, 9))),
                padding="x" * random.choice((0, 0, 0, SIZE)),
            )
            messages.append((key % partitions, message))
    random.shuffle(messages)
    return [
        (partition, msgspec.structs.replace(message, content=number))
        for number, (partition, message) in enumerate(messages)
    ]


def cuts(random: Random, ends: Mapping[int, int]) -> list[list[OffsetRange]]:
    """A topic's offsets, cut at random points into loads that come in a random order."""
    pieces = []
    for partition, end in ends.items():
        points = sorted({0, end, *(random.randint(0, end) for _ in range(2))})
        pieces += [OffsetRange(partition, a, b) for a, b in itertools.pairwise(points)]
    random.shuffle(pieces)
    parts = max(2, len(pieces) // 2)
    return [pieces[number::parts] for number in range(parts)]


def publish_repeatedly(
    random: Random, loader: Loader, load_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publish, interrupted after the copy, with merges in between, and again by another run."""
    with monkeypatch.context() as patch:

        def stop(*_: Any) -> int:
            raise EngineError(1, "interrupted")

        for _ in range(random.randint(0, 2)):
            patch.setattr(loader.publisher, "_check_target", stop)
            with pytest.raises(EngineError):
                loader.publish(load_id)
            if random.random() < 0.5:
                loader.clickhouse.execute("OPTIMIZE TABLE states FINAL")
    loader.publish(load_id)
    if random.random() < 0.5:
        loader.publish(load_id)


@pytest.mark.parametrize(("seed", "version"), [(1, "version"), (2, "_timestamp")])
def test_the_final_state_is_that_of_a_replay_of_the_topic(
    seed: int,
    version: str,
    make_loader: MakeLoader,
    clickhouse: ClickHouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The histories of 100 keys, in loads cut at random, in any order, repeated and replayed."""
    random, contract, partitions = Random(seed), states(f"ReplacingMergeTree({version})"), 3
    monkeypatch.setattr("sluice.publish.publisher.SLICE_ROWS", (40, 250_000)[seed % 2])
    loader = make_loader(contract)
    # Its messages are as old as their timestamps say: the broker must not remove them meanwhile.
    loader.broker.create_topic(contract.topic, partitions, {"retention.ms": "-1"})
    messages = histories(random, 100, partitions)
    send(loader, messages)
    ends = {p: sum(partition == p for partition, _ in messages) for p in range(partitions)}
    requests = [Request(offsets=tuple(part)) for part in cuts(random, ends)]
    replay = Request(refused=RefusalFilter(topic=contract.topic))
    some = msgspec.structs.replace(replay, max_messages=25)
    requests.insert(random.randint(1, len(requests)), some)
    for number, request in enumerate([*requests, replay]):
        is_replay = request.refused is not None
        limit = 1 << 20 if is_replay else SIZE
        running = make_loader(contract, max_message_bytes=limit, chunk_offsets=100)
        plan = running.plan(request)
        for chunk in range(len(plan.chunks)):
            running.drain(plan.load_id, chunk)
        running.audit(plan.load_id)
        publish_repeatedly(random, running, plan.load_id, monkeypatch)
        if number % 3 == 2:
            clickhouse.execute("OPTIMIZE TABLE states FINAL")
    assert kept(clickhouse) == replayed(messages)
    clickhouse.execute("OPTIMIZE TABLE states FINAL")
    assert kept(clickhouse) == replayed(messages)
    assert verdict(loader).findings == []


def test_of_equal_versions_the_last_message_is_kept(
    make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    contract = states()
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    for content in (1, 2):
        send(loader, [(0, State(name="a", version=7, content=content))])
        again = make_loader(contract)
        assert sums(again, load(again))["loaded"] == 1
    assert kept(clickhouse) == {"a": (7, 2, 0, 1)}


def test_of_many_equal_versions_in_one_insert_the_last_message_is_kept(
    make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    """They are staged in several parts."""
    loader = make_loader(states(), batch_rows=10)
    loader.broker.create_topic(loader.contract.topic, 1)
    send(loader, [(0, State(name="a", version=7, content=n)) for n in range(600)])
    load(loader)
    assert kept(clickhouse) == {"a": (7, 599, 0, 599)}


def test_a_late_load_of_earlier_offsets_does_not_replace_a_later_message(
    make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    contract = states()
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    send(loader, [(0, State(name="a", version=7, content=content)) for content in (1, 2)])
    for low in (1, 0):
        finish(make_loader(contract), Request(offsets=(OffsetRange(0, low, low + 1),)))
    assert kept(clickhouse) == {"a": (7, 2, 0, 1)}
    assert verdict(loader).findings == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_equal_versions_in_two_partitions_the_higher_partition_is_kept(
    order: tuple[int, int], make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    """A key that has moved to an added partition; whatever is loaded first or again."""
    contract = states()
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 2)
    send(loader, [(p, State(name="a", version=7, content=p)) for p in (0, 0, 1)])
    for partition in order:
        finish(make_loader(contract), Request(partitions=(partition,), low="0"))
        clickhouse.execute("OPTIMIZE TABLE states FINAL")
    assert kept(clickhouse) == {"a": (7, 1, 1, 0)}


def test_by_timestamp_a_key_that_moves_to_an_added_partition_stays_newest(
    make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    """Its offsets begin again at 0 there, and the messages of the same moment have an order."""
    contract = states("ReplacingMergeTree(_timestamp)")
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 2)
    send(loader, [(1, State(name="a", version=1, content=n)) for n in range(20)])
    send(loader, [(0, State(name="a", version=2, content=n)) for n in (50, 51)])
    for partition in (0, 1):
        finish(make_loader(contract), Request(partitions=(partition,), low="0"))
    assert kept(clickhouse) == {"a": (2, 51, 0, 1)}


@pytest.fixture
def slow(make_loader: MakeLoader, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """A loader whose inserts take seconds after they have read the target.

    Others are impatient; an insert that runs is waited for all the same.
    """
    monkeypatch.setattr("sluice.publish.publisher.PATIENCE_SECONDS", 0.3)
    loader = make_loader(states())
    insert_statement = loader.publisher.insert_statement

    def slowly(columns: Mapping[str, str], missing_rows: str) -> str:
        return insert_statement(columns, f"{missing_rows} AND sleepEachRow(1.5) = 0")

    monkeypatch.setattr(loader.publisher, "insert_statement", slowly)
    return loader


def audited(loader: Loader, offset: int) -> str:
    """A load of one offset that is ready to be published; other runs are taken to be alive."""
    loader.settler.is_over = lambda _: False
    plan = loader.plan(Request(offsets=(OffsetRange(0, offset, offset + 1),)))
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    return plan.load_id


def test_loads_that_are_published_at_once_take_turns(
    slow: Loader, make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    """The load of the earlier message has read the target before the other, and ends after it."""
    slow.broker.create_topic(slow.contract.topic, 1)
    send(slow, [(0, State(name="a", version=7, content=content)) for content in (1, 2)])
    other = make_loader(slow.contract)
    earlier, later = audited(slow, 0), audited(other, 1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow.publish, earlier)
        wait_for_insert(clickhouse, earlier)
        other.publish(later)
        first.result()
    assert kept(clickhouse) == {"a": (7, 2, 0, 1)}
    assert verdict(other).findings == []


def wait_for_insert(clickhouse: ClickHouse, load_id: str) -> None:
    running = "SELECT 1 AS one FROM system.processes WHERE query LIKE {q:String}"
    for _ in range(100):
        if clickhouse.rows(running, {"q": f"INSERT INTO%{load_id}%sleepEachRow%"}):
            return
        time.sleep(0.05)
    raise AssertionError("the insert did not begin")


def test_the_turn_of_a_publisher_that_died_is_taken_over(
    make_loader: MakeLoader, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was only asleep: its insert finds that its turn is over, and takes another one."""
    monkeypatch.setattr("sluice.publish.publisher.PATIENCE_SECONDS", 0.3)
    sleeping = make_loader(states())
    sleeping.broker.create_topic(sleeping.contract.topic, 1)
    send(sleeping, [(0, State(name="a", version=7, content=content)) for content in (1, 2)])
    other = make_loader(sleeping.contract)
    earlier, later = audited(other, 0), audited(sleeping, 1)
    insert_statement = sleeping.publisher.insert_statement
    statements: list[str] = []

    def sleep(columns: Mapping[str, str], missing_rows: str) -> str:
        if not statements:
            other.publish(earlier)
        statements.append(insert_statement(columns, missing_rows))
        return statements[-1]

    monkeypatch.setattr(sleeping.publisher, "insert_statement", sleep)
    sleeping.publish(later)
    assert len(statements) == 2
    assert kept(clickhouse) == {"a": (7, 2, 0, 1)}
    turns = f"SELECT turn FROM {sleeping.ledger.database}.publish_turns WHERE ended ORDER BY turn"
    assert [row["turn"] for row in clickhouse.rows(turns)] == [1, 2, 3]
    assert verdict(other).findings == []


def test_a_message_whose_key_has_no_row_is_found_by_the_content_check(
    make_loader: MakeLoader,
) -> None:
    """Refused messages have no row either; without their content nothing else is known."""
    contract = states()
    loader = make_loader(contract, max_message_bytes=SIZE)
    loader.broker.create_topic(contract.topic, 1)
    versions = {"a": (2, 1), "b": (1, 1), "c": (1, 2)}
    messages = [State(name=n, version=v) for n, both in versions.items() for v in both]
    refused = State(name="d", version=1, padding="x" * SIZE)
    send(loader, [(0, message) for message in (*messages, refused)])
    load(loader)
    loader.clickhouse.execute("OPTIMIZE TABLE states FINAL")
    merged = [OffsetRange(0, 1, 3), OffsetRange(0, 4, 5)]
    found = verdict(loader)
    assert (found.findings, found.without_row) == ([], merged)
    comparison = compare(loader)
    assert (comparison.findings, comparison.compared) == ([], [OffsetRange(0, 0, 7)])
    settings = {"lightweight_deletes_sync": 2}
    loader.clickhouse.execute("DELETE FROM states WHERE name = 'a'", settings=settings)
    assert verdict(loader).findings == []
    (missing,) = compare(loader).findings
    assert (missing.kind, missing.ranges) == ("missing", (OffsetRange(0, 0, 2),))


def compare(loader: Loader) -> Comparison:
    check = ContentCheck(
        loader.contract, loader.broker, loader.clickhouse, loader.ledger, Decoder(loader.contract)
    )
    topic = loader.broker.topic(loader.contract.topic)
    ranges = retained_ranges(loader.broker.watermarks(topic))
    return check.run(topic, ranges, lambda _: None)


def build(engine: str, struct: type[Struct] = State, **choices: Any) -> ContractError:
    table = Table(name="states", order_by=("name",), engine=engine, **choices)
    with pytest.raises(ContractError) as raised:
        contract_of(struct, topic="states", table=table)
    return raised.value


def test_offsets_are_refused_as_versions() -> None:
    error = build("ReplacingMergeTree(_offset)")
    assert error.field == "_offset"
    assert "ReplacingMergeTree(_timestamp)" in error.detail


class Odd(Struct, frozen=True, kw_only=True):
    """Fields that cannot be versions."""

    name: str
    text: str = ""
    maybe: int | None = None


@pytest.mark.parametrize("field", ["text", "maybe"])
def test_what_cannot_be_a_version_is_refused(field: str) -> None:
    error = build(f"ReplacingMergeTree({field})", Odd)
    assert error.field == field
    assert "must be a number, a date or a time" in error.detail


def test_a_version_that_is_no_column_is_refused() -> None:
    assert build("ReplacingMergeTree(nothing)").field == "nothing"


def test_partitions_that_separate_the_rows_of_a_key_are_refused() -> None:
    error = build("ReplacingMergeTree(version)", partition_by="intDiv(version, 10)")
    assert error.field == "version"
    ClickHouseSchemaMapper(
        State,
        Table(
            name="states",
            order_by=("name",),
            engine="ReplacingMergeTree(version)",
            partition_by="substring(name, 1, 1)",
        ),
    )
