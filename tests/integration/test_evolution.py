"""A contract that renames fields over a table that has the older names; a table that is gone."""

import datetime as dt
import uuid
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer
from msgspec import Struct

from sluice.contract import Contract, Table, Version, column
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.errors import MigrationError, PlanError, TableMissing
from sluice.forget import forget_topic
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse
from sluice.store.migration import Migration
from sluice.store.request import Request
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.contracts import contract_of

DAY = dt.date(2026, 1, 1)
FIRST = Version(name="1.0", released=DAY)
SECOND = Version(name="2.0", released=DAY, renamed={"carrier": "carrier_code", "home": "address"})
THIRD = Version(name="3.0", released=DAY, renamed={"carrier_code": "carrier_id"})


class Place(Struct, frozen=True):
    street: str
    number: Annotated[int, column("Int32")]


class Parcel(Struct, frozen=True, kw_only=True):
    id: str
    carrier: str
    home: Place | None = None


class Parcel2(Struct, frozen=True, kw_only=True):
    id: str
    carrier_code: str
    address: Place | None = None


class Parcel3(Struct, frozen=True, kw_only=True):
    """A parcel.

    Attributes:
        carrier_id: who carries it.
    """

    id: str
    carrier_id: Annotated[str, column(codec="ZSTD(5)")]
    address: Place | None = None


def parcels(number: int, topic: str = "parcels", **table: Any) -> Contract:
    """The contract at its first, second or third version."""
    message = (Parcel, Parcel2, Parcel3)[number - 1]
    return contract_of(
        message,
        topic=topic,
        versions=(FIRST, SECOND, THIRD)[:number],
        table=Table(**{"name": "parcels", "order_by": ("id",)} | table),
    )


def create(clickhouse: ClickHouse, contract: Contract) -> None:
    for statement in ClickHouseSchemaMapper.of(contract).create_tables():
        clickhouse.execute(statement)


def migration_of(clickhouse: ClickHouse, contract: Contract) -> Migration:
    return Migration(contract, clickhouse, clickhouse.database)


def values(clickhouse: ClickHouse, columns: str) -> list[tuple[Any, ...]]:
    """The rows of the table, read by clickhouse-connect in its Native format."""
    result = clickhouse.client.query(f"SELECT {columns} FROM parcels ORDER BY id")
    return [tuple(row) for row in result.result_rows]


def fill(clickhouse: ClickHouse) -> None:
    """Rows of the first version: one with an address, and one without."""
    create(clickhouse, parcels(1))
    clickhouse.execute(
        "INSERT INTO parcels (id, carrier, home_given, home_street, home_number)"
        " VALUES ('a', 'dhl', true, 'Kirkegade', 7), ('b', 'ups', false, NULL, NULL)"
    )


@pytest.mark.parametrize(("number", "name"), [(2, "carrier_code"), (3, "carrier_id")])
def test_renamed_columns_keep_the_values_of_old_rows(
    clickhouse: ClickHouse, number: int, name: str
) -> None:
    """The columns of a nested Struct are renamed too, also over several versions at once."""
    fill(clickhouse)
    clickhouse.execute(
        "ALTER TABLE parcels ADD INDEX by_carrier carrier TYPE set(10) GRANULARITY 1"
    )
    migration = migration_of(
        clickhouse, parcels(number, indexes={"by_carrier": f"{name} TYPE set(10) GRANULARITY 1"})
    )
    migration.apply_required()
    columns = f"id, {name}, address_given, address_street, address_number"
    expected = [("a", "dhl", True, "Kirkegade", 7), ("b", "ups", False, None, None)]
    assert values(clickhouse, columns) == expected
    assert {step.kind for step in migration.steps()} <= {"choice"}
    assert not [step for step in migration.steps() if "INDEX" in str(step.sql)]
    migration.apply(migration.steps())
    assert migration.steps() == []


def test_a_table_that_was_migrated_at_every_version_equals_one_that_was_migrated_at_once(
    clickhouse: ClickHouse,
) -> None:
    fill(clickhouse)
    for number in (2, 3):
        migration_of(clickhouse, parcels(number)).apply_required()
    assert values(clickhouse, "id, carrier_id, address_street") == [
        ("a", "dhl", "Kirkegade"),
        ("b", "ups", None),
    ]


class ParcelWithNames(Struct, frozen=True, kw_only=True):
    """A parcel.

    Attributes:
        note: what the sender wrote.
    """

    id: str
    carrier: Annotated[str, column(name="carried_by")]
    note: Annotated[str, column(name="remark")] = ""
    other: str = ""


class ParcelWithOtherNames(Struct, frozen=True, kw_only=True):
    """A parcel.

    Attributes:
        note: what the sender wrote.
    """

    id: str
    carrier: Annotated[str, column(name="transport")]
    note: str = ""
    weight: str = ""


def test_another_name_of_a_column_is_refused_until_a_person_renames_it(
    clickhouse: ClickHouse,
) -> None:
    """No version records ``column(name=…)``: a new empty column would hide the old values."""
    first, second = (
        contract_of(message, topic="parcels", table=Table(name="parcels", order_by=("id",)))
        for message in (ParcelWithNames, ParcelWithOtherNames)
    )
    create(clickhouse, first)
    clickhouse.execute("INSERT INTO parcels (id, carried_by, remark) VALUES ('a', 'dhl', 'hello')")
    migration = migration_of(clickhouse, second)
    with pytest.raises(MigrationError, match="seems to be the same column") as caught:
        migration.apply_required()
    assert caught.value.field == "transport"
    refused = {step.column: step for step in migration.steps() if step.kind == "refused"}
    assert set(refused) == {"transport", "note"}  # `weight` is another field than `other`
    for step in refused.values():
        for sql in step.sql:
            clickhouse.execute(sql)
    migration.apply_required()
    assert values(clickhouse, "transport, note, weight") == [("dhl", "hello", "")]


def test_queries_and_views_that_use_the_older_name_keep_working(clickhouse: ClickHouse) -> None:
    fill(clickhouse)
    clickhouse.execute("CREATE TABLE seen (carrier String) ENGINE = MergeTree ORDER BY carrier")
    clickhouse.execute("CREATE MATERIALIZED VIEW view TO seen AS SELECT carrier FROM parcels")
    for number in (2, 3):
        migration_of(clickhouse, parcels(number)).apply_required()
    clickhouse.execute("INSERT INTO parcels (id, carrier_id) VALUES ('c', 'gls')")
    assert clickhouse.rows("SELECT carrier FROM seen") == [{"carrier": "gls"}]
    assert [row[0] for row in values(clickhouse, "carrier")] == ["dhl", "ups", "gls"]


def test_a_deployment_of_the_older_contract_is_refused_after_a_rename(
    clickhouse: ClickHouse,
) -> None:
    fill(clickhouse)
    migration_of(clickhouse, parcels(2)).apply_required()
    with pytest.raises(MigrationError, match="carrier is named carrier_code") as raised:
        migration_of(clickhouse, parcels(1)).apply_required()
    assert raised.value.field in ("carrier", "home_given")


def test_a_rename_that_another_loader_has_made_meanwhile_is_no_error(
    clickhouse: ClickHouse,
) -> None:
    fill(clickhouse)
    first, second = (migration_of(clickhouse, parcels(2)) for _ in range(2))
    steps = second.steps()
    first.apply_required()
    second.apply(steps)
    assert [row[1] for row in values(clickhouse, "id, carrier_code")] == ["dhl", "ups"]


def test_a_table_with_both_columns_is_refused_until_the_values_are_copied(
    clickhouse: ClickHouse,
) -> None:
    """An earlier release of Sluice added an empty column beside the old one."""
    fill(clickhouse)
    clickhouse.execute("ALTER TABLE parcels ADD COLUMN carrier_code String")
    clickhouse.execute("INSERT INTO parcels (id, carrier_code) VALUES ('c', 'gls')")
    contract = parcels(2)
    with pytest.raises(MigrationError, match="carrier is named carrier_code") as raised:
        migration_of(clickhouse, contract).apply_required()
    assert raised.value.field == "carrier_code"
    for step in migration_of(clickhouse, contract).steps():
        for sql in step.sql:
            clickhouse.execute(sql, settings={"mutations_sync": 1})
    assert values(clickhouse, "id, carrier_code, carrier, address_street") == [
        ("a", "dhl", "dhl", "Kirkegade"),
        ("b", "ups", "ups", None),
        ("c", "gls", "gls", None),
    ]
    assert migration_of(clickhouse, contract).steps() == []


def test_an_older_column_without_values_is_no_reason_to_refuse(clickhouse: ClickHouse) -> None:
    create(clickhouse, parcels(2))
    clickhouse.execute("ALTER TABLE parcels ADD COLUMN carrier String DEFAULT 'none'")
    clickhouse.execute("INSERT INTO parcels (id, carrier_code) VALUES ('c', 'gls')")
    (note,) = migration_of(clickhouse, parcels(2)).steps()
    assert (note.kind, note.column) == ("note", "carrier")


KEYS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"order_by": ("carrier", "id")}, {"order_by": ("carrier_code", "id")}),
    ({"partition_by": "carrier"}, {"partition_by": "carrier_code"}),
]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("before", "after"), KEYS)
def test_a_key_column_is_not_renamed_but_the_steps_for_a_person_work(
    clickhouse: ClickHouse, before: dict[str, Any], after: dict[str, Any], both: bool
) -> None:
    create(clickhouse, parcels(1, **before))
    clickhouse.execute("INSERT INTO parcels (id, carrier) VALUES ('a', 'dhl')")
    expected = [("a", "dhl")]
    if both:
        clickhouse.execute("ALTER TABLE parcels ADD COLUMN carrier_code String")
        clickhouse.execute("INSERT INTO parcels (id, carrier_code) VALUES ('b', 'gls')")
        expected.append(("b", "gls"))
    contract = parcels(2, **after)
    with pytest.raises(MigrationError, match="key") as raised:
        migration_of(clickhouse, contract).apply_required()
    assert raised.value.field == "carrier_code"
    steps = migration_of(clickhouse, contract).steps()
    assert [step.column for step in steps if step.kind == "refused"] == ["carrier_code"]
    for step in steps:
        for sql in step.sql:
            clickhouse.execute(sql)
    assert values(clickhouse, "id, carrier_code") == expected
    assert migration_of(clickhouse, contract).steps() == []


class Counted(Struct, frozen=True, kw_only=True):
    id: str
    seq: int


class Counted2(Struct, frozen=True, kw_only=True):
    id: str
    revision: int


def test_a_version_column_is_not_renamed_but_the_steps_for_a_person_work(
    clickhouse: ClickHouse,
) -> None:
    before, after = (
        contract_of(
            struct,
            versions=versions,
            table=Table(name="parcels", order_by=("id",), engine=f"ReplacingMergeTree({column})"),
        )
        for struct, versions, column in (
            (Counted, (FIRST,), "seq"),
            (
                Counted2,
                (FIRST, Version(name="2.0", released=DAY, renamed={"seq": "revision"})),
                "revision",
            ),
        )
    )
    create(clickhouse, before)
    clickhouse.execute("INSERT INTO parcels (id, seq) VALUES ('a', 3)")
    with pytest.raises(MigrationError, match="seq is named revision now") as raised:
        migration_of(clickhouse, after).apply_required()
    assert raised.value.field == "revision"
    (refused,) = migration_of(clickhouse, after).steps()
    for sql in refused.sql:
        clickhouse.execute(sql)
    assert values(clickhouse, "id, revision") == [("a", 3)]
    assert migration_of(clickhouse, after).steps() == []


class Reused(Struct, frozen=True, kw_only=True):
    id: str
    carrier_code: str
    carrier: Annotated[int, column("Int32")]


def test_a_name_that_a_later_version_uses_for_another_field_gets_a_column_of_its_own(
    clickhouse: ClickHouse,
) -> None:
    versions = (
        FIRST,
        Version(name="2.0", released=DAY, renamed={"carrier": "carrier_code"}),
        Version(name="2.1", released=DAY, added={"carrier": 5}),
    )
    contract = contract_of(
        Reused, topic="parcels", versions=versions, table=Table(name="parcels", order_by=("id",))
    )
    fill(clickhouse)
    migration_of(clickhouse, contract).apply_required()
    assert values(clickhouse, "carrier_code, carrier") == [("dhl", 5), ("ups", 5)]
    clickhouse.execute("DROP TABLE parcels")
    fill(clickhouse)
    migration_of(clickhouse, parcels(2)).apply_required()  # leaves an alias of that name
    migration_of(clickhouse, contract).apply_required()
    assert values(clickhouse, "carrier_code, carrier") == [("dhl", 5), ("ups", 5)]


class Grown(Struct, frozen=True, kw_only=True):
    id: str
    carrier_code: str


def test_a_column_added_and_renamed_since_has_the_filling_value_of_its_first_name(
    clickhouse: ClickHouse,
) -> None:
    class Old(Struct, frozen=True, kw_only=True):
        id: str

    table = Table(name="parcels", order_by=("id",))
    create(clickhouse, contract_of(Old, versions=(FIRST,), table=table))
    clickhouse.execute("INSERT INTO parcels (id) VALUES ('a')")
    versions = (
        FIRST,
        Version(name="1.1", released=DAY, added={"carrier": "post"}),
        Version(name="2.0", released=DAY, renamed={"carrier": "carrier_code"}),
    )
    contract = contract_of(Grown, versions=versions, table=table)
    migration_of(clickhouse, contract).apply_required()
    assert values(clickhouse, "carrier_code") == [("post",)]


# Loads


@pytest.fixture
def topic(make_loader: MakeLoader) -> str:
    name = f"parcels-{uuid.uuid4().hex[:8]}"
    make_loader(parcels(1, name)).broker.create_topic(name, 1)
    return name


def send(kafka: Connection, topic: str, *messages: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.extra["bootstrap.servers"]})
    for message in messages:
        producer.produce(topic, message, b"k")
    producer.flush()


OLD = b'{"id":"a","carrier":"dhl","home":{"street":"Kirkegade","number":7}}'
NEW = b'{"id":"b","carrier_code":"ups","address":{"street":"Nygade","number":8}}'


def test_a_load_renames_the_column_before_it_loads(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    send(kafka, topic, OLD)
    load(make_loader(parcels(1, topic)))
    send(kafka, topic, OLD.replace(b'"a"', b'"c"'), NEW)
    loader = make_loader(parcels(2, topic))
    load(loader)
    columns = "id, carrier_code, address_street, _schema_version"
    assert values(loader.clickhouse, columns) == [
        ("a", "dhl", "Kirkegade", "1.0"),
        ("b", "ups", "Nygade", "2.0"),
        ("c", "dhl", "Kirkegade", "1.0"),
    ]


def test_rows_that_an_old_deployment_staged_are_published_under_the_new_name(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    send(kafka, topic, OLD)
    before = make_loader(parcels(1, topic), "run")
    plan = before.plan()
    before.drain(plan.load_id, 0)
    before.audit(plan.load_id)
    before.publisher.fence(plan.load_id, before.owner)
    after = make_loader(parcels(2, topic), "run")
    assert after.plan() == plan
    after.publish(plan.load_id)
    expected = [("a", "dhl", True, "Kirkegade", 7)]
    columns = "id, carrier_code, address_given, address_street, address_number"
    assert values(after.clickhouse, columns) == expected


# A table that is gone


@pytest.mark.parametrize("gone", ["DROP TABLE {} SYNC", "RENAME TABLE {} TO kept"])
def test_a_missing_table_is_an_error_until_it_is_back(
    make_loader: MakeLoader, kafka: Connection, topic: str, gone: str
) -> None:
    send(kafka, topic, OLD)
    load(make_loader(parcels(1, topic)))
    loader = make_loader(parcels(1, topic))
    loader.clickhouse.execute(gone.format("parcels"))
    for step in (loader.plan, loader.create_tables, lambda: loader.preview(Request())):
        with pytest.raises(TableMissing, match=f"sluice forget {topic}") as raised:
            step()
        assert raised.value.topic == topic
    assert "1 rows" in raised.value.detail
    assert not loader.migration.exists()


def test_another_table_name_in_the_contract_is_no_empty_table(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    send(kafka, topic, OLD)
    load(make_loader(parcels(1, topic)))
    with pytest.raises(TableMissing):
        make_loader(parcels(1, topic, name="parcels_2")).plan()


def test_a_table_without_published_rows_is_created_again(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    send(kafka, topic, b"{}")
    loader = make_loader(parcels(1, topic))
    load(loader)
    loader.clickhouse.execute("DROP TABLE parcels SYNC")
    send(kafka, topic, OLD)
    load(make_loader(parcels(1, topic)))
    assert [row[0] for row in values(loader.clickhouse, "id")] == ["a"]


def test_a_forgotten_topic_is_loaded_again_and_verify_is_green(
    run: Run, project_with_topic: str, make_loader: MakeLoader, clickhouse: ClickHouse
) -> None:
    topic = project_with_topic
    run("produce-samples", topic, "--count", "300", "--partitions", "2", "--broken", "0.01")
    assert run("load", topic, "--max-messages", "100").exit_code == 0
    assert run("load", topic).exit_code == 0
    before = clickhouse.rows("SELECT count() AS n, uniqExact(_load_id) AS loads FROM orders")
    refused = run("forget", topic, "--yes")
    assert refused.exit_code == 1
    assert "has rows of it" in refused.output
    clickhouse.execute("DROP TABLE orders SYNC")
    for command in ("load", "verify"):
        result = run(command, topic)
        assert result.exit_code == 1
        assert f"sluice forget {topic}" in result.output
    assert not clickhouse.has_table(clickhouse.database, "orders")
    forgotten = run("forget", topic, "--yes")
    assert forgotten.exit_code == 0, forgotten.output
    assert "2 loads" in forgotten.output
    loaded = run("load", topic)
    assert loaded.exit_code == 0, loaded.output
    (after,) = clickhouse.rows("SELECT count() AS n, uniqExact(_load_id) AS loads FROM orders")
    assert (after["n"], after["loads"]) == (before[0]["n"], 1)
    verified = run("verify", topic, "--messages", "--content")
    assert verified.exit_code == 0, verified.output


def test_a_topic_is_not_forgotten_while_a_load_may_run(
    make_loader: MakeLoader, kafka: Connection, topic: str
) -> None:
    send(kafka, topic, OLD)
    loader = make_loader(parcels(1, topic))
    plan = loader.plan()
    loader.clickhouse.execute("DROP TABLE parcels SYNC")
    loader.settler.is_over = lambda owner: None
    with pytest.raises(PlanError, match=plan.load_id) as raised:
        forget_topic(loader)
    assert raised.value.topic == topic
    loader.settler.is_over = lambda owner: True
    forget_topic(loader)
    assert loader.ledger.work_tables() == []
    assert loader.ledger.loads_of(topic) == []
    forget_topic(loader)
