"""Live tables that are older or newer than their contracts."""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Annotated

import msgspec
import pytest
from confluent_kafka import Producer
from msgspec import Meta, Struct

from sluice.contract import Contract, Table, Version, column
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import EngineError, LoadLost, MigrationError, ShapeChanged
from sluice.loader import Loader
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse
from sluice.store.migration import Migration
from sluice.store.table_change import TableChange
from tests.conftest import MakeLoader, load
from tests.contracts import contract_of
from tests.loads import sums

FIRST = Version(name="1.0", released=dt.date(2026, 1, 1))
SECOND = Version(name="1.1", released=dt.date(2026, 2, 1), added={"colour": "grey"})


class Part(Struct, frozen=True):
    n: Annotated[int, column("Int32")]


class NewPart(Struct, frozen=True):
    n: int
    label: str = ""


class Thing(Struct, frozen=True, kw_only=True):
    """A thing.

    Attributes:
        id: its id.
    """

    id: str
    size: Annotated[int, Meta(ge=0, le=9), column("UInt8")]
    parts: list[Part] = []


class NewThing(Struct, frozen=True, kw_only=True):
    """A thing in the next version.

    Attributes:
        id: its name.
    """

    id: Annotated[str, column(codec="ZSTD(5)")]
    colour: Annotated[str, column(low_cardinality=True)]
    size: Annotated[int, Meta(ge=0, le=9), column("Int64")]
    parts: list[NewPart] = []


def old(topic: str = "things") -> Contract:
    return contract_of(
        Thing, topic=topic, versions=(FIRST,), table=Table(name="things", order_by=("id",))
    )


def new(topic: str = "things") -> Contract:
    table = Table(
        name="things",
        order_by=("id",),
        indexes={"by_colour": "colour TYPE set(10) GRANULARITY 1"},
        settings={"index_granularity": 8192, "merge_with_ttl_timeout": 3600},
    )
    return contract_of(NewThing, topic=topic, versions=(FIRST, SECOND), table=table)


MakeMigration = Callable[[Contract], Migration]


@pytest.fixture
def migration(clickhouse: ClickHouse) -> MakeMigration:
    """Makes the migration of a contract; temporary tables are in the test's own database."""

    def make(contract: Contract) -> Migration:
        return Migration(contract, clickhouse, clickhouse.database)

    return make


def create(clickhouse: ClickHouse, contract: Contract) -> None:
    for statement in ClickHouseSchemaMapper.of(contract).create_tables():
        clickhouse.execute(statement)


NARROW, WIDE = "Array(Tuple(n Int32))", "Array(Tuple(n Int64, label String))"


def reasons(steps: list[TableChange]) -> dict[str, list[str]]:
    by_kind: dict[str, list[str]] = {}
    for step in steps:
        by_kind.setdefault(step.kind, []).append(step.why)
    return by_kind


@pytest.mark.parametrize("contract", [old(), new()])
def test_a_new_table_matches_its_contract(
    clickhouse: ClickHouse, migration: MakeMigration, contract: Contract
) -> None:
    create(clickhouse, contract)
    assert migration(contract).steps() == []


def test_safe_changes_are_applied_and_old_rows_read_as_upgraded(
    clickhouse: ClickHouse, migration: MakeMigration
) -> None:
    create(clickhouse, old())
    clickhouse.execute("INSERT INTO things (id, size, parts) VALUES ('a', 3, [(7)])")
    steps = migration(new()).steps()
    assert reasons(steps) == {
        "addition": [
            "column colour is missing",
            "column size has type UInt8, but the contract requires Int64",
            f"column parts has type {NARROW}, but the contract requires {WIDE}",
        ],
        "choice": [
            "codec of column id differs",
            "comment of column id differs",
            "index by_colour differs",
            "setting merge_with_ttl_timeout differs",
        ],
    }
    migration(new()).apply(steps)
    assert migration(new()).steps() == []
    assert clickhouse.rows("SELECT id, colour, size, parts FROM things") == [
        {"id": "a", "colour": "grey", "size": 3, "parts": [{"n": 7, "label": ""}]}
    ]


def test_a_contract_older_than_its_table_requires_no_change(
    clickhouse: ClickHouse, migration: MakeMigration
) -> None:
    create(clickhouse, new())
    steps = migration(old()).steps()
    assert {step.kind for step in steps} == {"note", "choice"}
    assert [step.column for step in steps if step.kind == "note"] == ["size", "parts", "colour"]
    migration(old()).apply_required()
    assert migration(new()).steps() == []


@pytest.mark.parametrize(
    ("change", "column", "keyword"),
    [
        ("MODIFY COLUMN size String", "size", "type String"),
        ("MODIFY COLUMN size UInt8 TTL _timestamp + INTERVAL 1 DAY", "size", "TTL"),
        ("MODIFY TTL _timestamp + INTERVAL 1 DAY", "", "TTL"),
    ],
)
def test_a_change_that_would_lose_data_is_refused_with_steps_for_a_person(
    clickhouse: ClickHouse, migration: MakeMigration, change: str, column: str, keyword: str
) -> None:
    create(clickhouse, old())
    clickhouse.execute(f"ALTER TABLE things {change}")
    (refused,) = [step for step in migration(old()).steps() if step.kind == "refused"]
    assert refused.column == column
    assert keyword in refused.why
    assert refused.sql
    with pytest.raises(MigrationError, match=keyword) as raised:
        migration(old()).apply_required()
    assert (raised.value.topic, raised.value.field) == ("things", column)


def test_clickhouse_refuses_a_ttl_of_a_key_column(clickhouse: ClickHouse) -> None:
    """Therefore no change of a contract removes values of a key column."""
    create(clickhouse, old())
    with pytest.raises(EngineError) as raised:
        clickhouse.execute(
            "ALTER TABLE things MODIFY COLUMN id String TTL _timestamp + INTERVAL 1 DAY"
        )
    assert raised.value.code == 44


@pytest.mark.parametrize(
    "table",
    [
        Table(name="things", order_by=("size", "id")),
        Table(name="things", order_by=("id",), partition_by="size"),
        Table(name="things", order_by=("id",), engine="ReplacingMergeTree(_timestamp)"),
    ],
)
def test_changes_of_keys_and_engine_are_refused_and_the_steps_for_a_person_work(
    clickhouse: ClickHouse, migration: MakeMigration, table: Table
) -> None:
    create(clickhouse, old())
    clickhouse.execute("INSERT INTO things (id, size) VALUES ('a', 3)")
    changed = msgspec.structs.replace(old(), table=table)
    (refused,) = migration(changed).steps()
    assert refused.kind == "refused"
    for sql in refused.sql:
        clickhouse.execute(sql)
    assert migration(changed).steps() == []
    assert clickhouse.rows("SELECT id, size FROM things") == [{"id": "a", "size": 3}]


def test_a_changed_default_does_not_change_old_rows(
    clickhouse: ClickHouse, migration: MakeMigration
) -> None:
    create(clickhouse, old())
    clickhouse.execute("INSERT INTO things (id, size) VALUES ('a', 3)")
    migration(new()).apply_required()
    version = msgspec.structs.replace(SECOND, added={"colour": "blue"})
    changed = msgspec.structs.replace(new(), versions=(FIRST, version))
    steps = [step for step in migration(changed).steps() if step.column == "colour"]
    assert [step.kind for step in steps] == ["choice"]
    migration(changed).apply(steps)
    clickhouse.execute("INSERT INTO things (id, size) VALUES ('b', 3)")
    rows = clickhouse.rows("SELECT id, colour FROM things ORDER BY id")
    assert [row["colour"] for row in rows] == ["grey", "blue"]


def test_statements_for_a_cluster_name_the_cluster(clickhouse: ClickHouse) -> None:
    migration = Migration(old(), clickhouse, clickhouse.database, "events")
    assert migration.alter("ADD COLUMN x Int8") == (
        "ALTER TABLE `things_local` ON CLUSTER `events` ADD COLUMN x Int8",
        "ALTER TABLE `things` ON CLUSTER `events` ADD COLUMN x Int8",
    )
    assert migration.alter("MODIFY SETTING a = 1") == (
        "ALTER TABLE `things_local` ON CLUSTER `events` MODIFY SETTING a = 1",
    )


# Deployments: loaders of an old and of a new contract that run at the same time.


def send(kafka: Connection, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.extra["bootstrap.servers"]})
    for value in values:
        producer.produce(topic, value, b"k")
    producer.flush()


OLD_MESSAGE = b'{"id":"old","size":1,"parts":[{"n":1}]}'
NEW_MESSAGE = b'{"id":"new","size":2,"colour":"red","parts":[{"n":2,"label":"l"}]}'


@pytest.fixture
def topic(make_loader: MakeLoader, kafka: Connection) -> str:
    name = f"things-{uuid.uuid4().hex[:8]}"
    make_loader(old(name)).broker.create_topic(name, 1)
    send(kafka, name, OLD_MESSAGE, NEW_MESSAGE)
    return name


def rows(loader: Loader) -> list[tuple[str, str, int]]:
    things = loader.clickhouse.rows("SELECT id, colour, size FROM things ORDER BY _offset")
    return [(row["id"], row["colour"], row["size"]) for row in things]


def test_a_new_loader_updates_an_old_table_first(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    load(make_loader(old(topic)))
    send(kafka, topic, OLD_MESSAGE, NEW_MESSAGE)
    loader = make_loader(new(topic))
    load(loader)
    before = [("old", "grey", 1), ("new", "grey", 2)]
    assert rows(loader) == [*before, ("old", "grey", 1), ("new", "red", 2)]


def test_an_old_loader_works_with_a_new_table(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    load(make_loader(new(topic)))
    send(kafka, topic, OLD_MESSAGE, NEW_MESSAGE)
    loader = make_loader(old(topic))
    load(loader)
    assert [row[0] for row in rows(loader)] == ["old", "new", "old", "new"]
    assert rows(loader)[:2] == [("old", "grey", 1), ("new", "red", 2)]


def test_rows_staged_by_an_old_deployment_are_published_by_a_new_one(
    make_loader: MakeLoader, topic: str
) -> None:
    before = make_loader(old(topic), "run")
    plan = before.plan()
    before.drain(plan.load_id, 0)
    before.audit(plan.load_id)
    before.publisher.fence(plan.load_id, before.owner)
    after = make_loader(new(topic), "run")
    assert after.plan() == plan
    after.publish(plan.load_id)
    assert rows(after) == [("old", "grey", 1), ("new", "grey", 2)]


def test_rows_staged_by_a_new_deployment_are_not_published_without_their_new_fields(
    make_loader: MakeLoader, topic: str
) -> None:
    after = make_loader(new(topic), "run")
    plan = after.plan()
    after.drain(plan.load_id, 0)
    after.audit(plan.load_id)
    after.publisher.fence(plan.load_id, after.owner)
    with pytest.raises(ShapeChanged) as raised:
        make_loader(old(topic), "run").publish(plan.load_id)
    assert (raised.value.topic, raised.value.field) == (topic, "colour")
    after.publish(plan.load_id)
    assert rows(after) == [("old", "grey", 1), ("new", "red", 2)]


def test_a_run_that_changes_deployment_is_planned_again(
    make_loader: MakeLoader, topic: str
) -> None:
    before, after = make_loader(old(topic), "run"), make_loader(new(topic), "run")
    plan = before.plan()
    before.drain(plan.load_id, 0)
    after.create_tables()
    with pytest.raises(ShapeChanged) as raised:
        after.audit(plan.load_id)
    assert raised.value.load_id == plan.load_id
    again = after.plan()
    assert again.load_id != plan.load_id
    with pytest.raises(LoadLost):
        before.audit(plan.load_id)
    after.drain(again.load_id, 0)
    after.audit(again.load_id)
    after.publish(again.load_id)
    assert sums(after, again.load_id)["loaded"] == 2


def test_a_load_into_a_table_that_does_not_match_fails_before_it_reads(
    make_loader: MakeLoader, topic: str
) -> None:
    loader = make_loader(old(topic))
    loader.create_tables()
    loader.clickhouse.execute("ALTER TABLE things MODIFY COLUMN size String")
    with pytest.raises(MigrationError) as raised:
        loader.plan()
    assert (raised.value.topic, raised.value.field) == (topic, "size")
    assert loader.ledger.loads_of(topic) == []
