"""What is sent is what is loaded: every pair of the type table, through the decoder and the engine.

The stored values are read by clickhouse-connect from its Native result, and compared with the
decoded messages: the encoder of the loads is used once only.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, Phase, given, settings
from msgspec import Struct

from sluice.audit.verify.content import ContentCheck
from sluice.contract import Contract, Table, Version, column
from sluice.contract.columns import STAGED
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.type_map import message_type
from sluice.contract.type_rules import RULES
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.drain.batch_builder import ENCODER
from sluice.kafka.schema_registry import SchemaRegistry, SchemaRegistryConfig
from sluice.ranges import OffsetRange
from sluice.refusals import Reason, Refusal
from sluice.settings import Connection
from sluice.store.clickhouse import ClickHouse
from sluice.store.migration import Migration
from tests.conftest import MakeLoader, load, with_topic
from tests.contracts import contract_of
from tests.type_pairs import COLUMNS, Cat, Dog, Pair

DRAWS = 25
"""Values that are drawn of each pair."""

WRAPPERS = ("", "optional", "list", "list of optional", "tuple", "dict", "key", "nested")
COMPOSITE = ("list", "tuple", "dict", "Struct", "union")
NO_KEYS = ("bool", "bytes", "timedelta", "numbers", *COMPOSITE)


def pairs() -> Iterable[Pair]:
    """Every entry of the type table, each in every wrapper that its values may have."""
    for kind, families in COLUMNS.items():
        for columns in families.values():
            for one in columns:
                for wrapper in WRAPPERS:
                    if wrapper == "key" and kind in NO_KEYS:
                        continue
                    if wrapper in ("optional", "list of optional") and one.startswith(
                        ("Array", "Map")
                    ):
                        continue
                    yield Pair(kind, one, wrapper)


PAIRS = list(pairs())


def test_the_tests_have_a_pair_of_every_entry_of_the_type_table() -> None:
    assert {k: set(f) for k, f in COLUMNS.items()} == {k: set(f) for k, f in RULES.items()}


def stored_rows(
    clickhouse: ClickHouse, contract: Contract, messages: Sequence[Struct]
) -> list[dict[str, Any]]:
    """The rows of decoded messages, staged and published as a load does it."""
    mapper, form = ClickHouseSchemaMapper.of(contract), message_type(contract.message).form
    name = contract.table.name
    for table in (name, "staged"):
        clickhouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")
    clickhouse.execute(mapper.create_table())
    clickhouse.execute(mapper.create_staging("staged"))
    bodies = [form(message) if form else message for message in messages]
    rows = [("1", 0, n, 0, "1.0", "", "", "", body) for n, body in enumerate(bodies)]
    columns = ["_attempt", "_partition", "_offset", "_timestamp", "_schema_version"]
    columns += ["_correlation_id", "_trace_id", "_span_id", STAGED]
    lines = ENCODER.encode_lines(rows)
    clickhouse.insert_lines("staged", columns, lines, "JSONCompactEachRow", "t")
    selected = mapper.published_columns()
    names = ", ".join(f"`{n}`" for n in selected)
    clickhouse.execute(
        f"INSERT INTO {name} ({names}) SELECT {', '.join(selected.values())} FROM staged",
        {"topic": contract.topic, "load": "L"},
    )
    result = clickhouse.client.query(
        f"SELECT * FROM {name} ORDER BY _offset",
        query_formats={"String": "bytes", "FixedString": "bytes"},
    )
    return list(result.named_results())


def contract_for(fields: dict[str, Any]) -> Contract:
    struct = msgspec.defstruct("Row", [("id", int), *fields.items()], frozen=True)
    return contract_of(struct, topic="pairs", table=Table(name="pairs", order_by=("id",)))


DECODERS = {pair: Decoder(contract_for({"x": pair.field_type})) for pair in PAIRS}


@cache
def accepted_values(pair: Pair) -> list[Any]:
    """Drawn values of a pair that the decoder accepts; the others are refused as out of range."""
    accepted = []

    @settings(
        max_examples=DRAWS,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(value=pair.values)
    def draw(value: Any) -> None:
        result = DECODERS[pair].decode(msgspec.json.encode({"id": 1, "x": value}))
        if isinstance(result, Refusal):
            assert result.reason is Reason.OUT_OF_RANGE, (pair, value, result)
            assert result.field.startswith("x"), result
            assert RULES[pair.kind][pair.family].limit, (pair, value, result)
        else:
            accepted.append(result[0].x)  # type: ignore[attr-defined]

    draw()
    return accepted


def test_every_value_of_every_pair_is_stored_unchanged_or_refused(clickhouse: ClickHouse) -> None:
    drawn = {f"f{n}": accepted_values(pair) for n, pair in enumerate(PAIRS)}
    fields = {f"f{n}": pair for n, pair in enumerate(PAIRS)}
    assert [pair for name, pair in fields.items() if not drawn[name]] == []
    contract = contract_for({name: pair.field_type for name, pair in fields.items()})
    messages = [
        contract.message(id=n, **{name: drawn[name][n % len(drawn[name])] for name in fields})
        for n in range(max(map(len, drawn.values())))
    ]
    rows = stored_rows(clickhouse, contract, messages)
    assert len(rows) == len(messages)
    for message, row in zip(messages, rows, strict=True):
        for name, pair in fields.items():
            sent = getattr(message, name)
            assert pair.same(sent, row[name]), (pair, sent, row[name])


def test_rows_that_are_older_than_a_column_read_its_default_unchanged(
    clickhouse: ClickHouse,
) -> None:
    values = {pair: accepted_values(pair)[-3:] for pair in PAIRS}
    for number in range(3):
        fields = {f"f{n}": pair for n, pair in enumerate(PAIRS)}
        struct = msgspec.defstruct(
            "Row", [("id", int), *((n, p.field_type) for n, p in fields.items())], frozen=True
        )
        fillings = {n: values[p][number % len(values[p])] for n, p in fields.items()}
        table = Table(name="older", order_by=("id",))
        mapper = ClickHouseSchemaMapper(struct, table, fillings)
        lines = mapper.column_lines()
        clickhouse.execute("DROP TABLE IF EXISTS older SYNC")
        clickhouse.execute("CREATE TABLE older (id Int64) ENGINE = MergeTree ORDER BY id")
        clickhouse.execute("INSERT INTO older VALUES (1)")
        added = ", ".join(f"ADD COLUMN {lines[name]}" for name in fields)
        clickhouse.execute(f"ALTER TABLE older {added}")
        (row,) = clickhouse.client.query(
            "SELECT * FROM older", query_formats={"String": "bytes", "FixedString": "bytes"}
        ).named_results()
        for name, pair in fields.items():
            assert pair.same(fillings[name], row[name]), (pair, fillings[name], row[name])


def test_older_rows_read_a_filled_struct_as_present(clickhouse: ClickHouse) -> None:
    class Place(Struct, frozen=True):
        city: str
        size: int

    struct = msgspec.defstruct("Row", [("id", int), ("place", Place | None)], frozen=True)
    table = Table(name="older", order_by=("id",))
    lines = ClickHouseSchemaMapper(struct, table, {"place": Place("A", 0)}).column_lines()
    clickhouse.execute("CREATE TABLE older (id Int64) ENGINE = MergeTree ORDER BY id")
    clickhouse.execute("INSERT INTO older VALUES (1)")
    names = ("place_given", "place_city", "place_size")
    added = ", ".join(f"ADD COLUMN {lines[name]}" for name in names)
    clickhouse.execute(f"ALTER TABLE older {added}")
    (row,) = clickhouse.rows("SELECT * FROM older")
    assert row == {"id": 1, "place_given": True, "place_city": "A", "place_size": 0}


def loaded(clickhouse: ClickHouse, contract: Contract, *values: bytes) -> list[dict[str, Any]]:
    """The rows of messages; all of them must be accepted."""
    decoder, messages = Decoder(contract), []
    for value in values:
        result = decoder.decode(value)
        assert not isinstance(result, Refusal), result
        messages.append(result[0])
    return stored_rows(clickhouse, contract, messages)


class Brief(Struct, frozen=True, omit_defaults=True):
    n: int = 1
    label: str = "none"


class Full(Brief, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    inner: Brief = Brief()
    optional: Brief | None = None
    listed: list[Brief] = []
    by_name: dict[str, Brief] = {}
    pair: tuple[int, Brief] = (5, Brief())
    union: Cat | Dog = Dog()
    text: Annotated[Brief, column("String")] = Brief()


def test_every_default_is_stored_where_msgspec_omits_it(clickhouse: ClickHouse) -> None:
    contract = contract_of(Full, table=Table(name="full", order_by=("id",)))
    data = b'{"id": 7, "optional": {}, "listed": [{}, {"n": 2}], "by_name": {"a": {}}}'
    (row,) = loaded(clickhouse, contract, data)
    brief = {"n": 1, "label": b"none"}
    expected = {
        "id": 7, "n": 1, "label": b"none", "inner_n": 1, "inner_label": b"none",
        "optional_given": True, "optional_n": 1, "optional_label": b"none",
        "listed": [brief, brief | {"n": 2}], "by_name": {b"a": brief}, "pair": (5, brief),
        "union": b'{"type":"Dog","name":"Rex"}', "text": b'{"n":1,"label":"none"}',
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


class Base(Struct, frozen=True, rename="camel"):
    order_id: int


class Tagged(
    Base, frozen=True, rename="camel", tag="order", tag_field="kind", forbid_unknown_fields=True,
    kw_only=True,
):  # fmt: skip
    full_name: str
    is_new: bool
    grown_up: int = 3


tagged = contract_of(
    Tagged,
    versions=(
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="1.1", released=date(2026, 2, 1), added={"is_new": True}),
        Version(
            name="2.0", released=date(2026, 3, 1), renamed={"name": "full_name"}, removed=("age",)
        ),
    ),
    table=Table(name="tagged", order_by=("orderId",)),
)


def test_tags_renames_and_forbidden_fields_work_in_every_version(clickhouse: ClickHouse) -> None:
    rows = loaded(
        clickhouse,
        tagged,
        b'{"kind":"order","orderId":1,"name":"A","age":3}',
        b'{"kind":"order","orderId":2,"name":"B","age":3,"isNew":false}',
        b'{"kind":"order","orderId":3,"fullName":"C","isNew":true,"grownUp":4}',
    )
    stored = [(r["orderId"], r["fullName"], r["isNew"], r["grownUp"]) for r in rows]
    assert stored == [(1, b"A", True, 3), (2, b"B", False, 3), (3, b"C", True, 4)]
    decoder = Decoder(tagged)
    for data, version in (
        (b'{"kind":"order","orderId":1,"name":"A","age":3}', "1.0"),
        (b'{"kind":"order","orderId":1,"name":"A","isNew":true}', "1.1"),
        (b'{"kind":"order","orderId":1,"fullName":"A","isNew":true}', "2.0"),
    ):
        result = decoder.decode(data)
        assert not isinstance(result, Refusal) and result[1] == version
    unknown = decoder.decode(b'{"kind":"order","orderId":1,"fullName":"A","isNew":true,"z":1}')
    assert isinstance(unknown, Refusal) and "unknown field" in unknown.message
    other = decoder.decode(b'{"kind":"bill","orderId":1,"fullName":"A","isNew":true}')
    assert isinstance(other, Refusal)


class Odd(Struct, frozen=True, rename={"sizes": "a.size0", "nothing": "null", "b": "a.b"}):
    id: int
    a: list[int]
    sizes: Annotated[int, column(name="a_size")]
    nothing: int
    b: Annotated[int, column(name="a_b")]
    message: int
    _offset: Annotated[int, column(name="their_offset")]
    rows: list["OddRow"]
    opt: "OddRow | None"


class OddRow(Struct, frozen=True, rename={"nothing": "null", "dotted": "a.b"}):
    nothing: Annotated[int, column(name="nothing")]
    dotted: int


def test_names_that_clickhouse_reserves_or_takes_apart_keep_their_values(
    clickhouse: ClickHouse,
) -> None:
    contract = contract_of(Odd, table=Table(name="odd", order_by=("id",)))
    (row,) = loaded(
        clickhouse,
        contract,
        b'{"id":1,"a":[5,6],"a.size0":9,"null":7,"a.b":8,"message":4,"_offset":3,'
        b'"rows":[{"null":1,"a.b":2}],"opt":{"null":10,"a.b":11}}',
    )
    expected = {
        "a": [5, 6], "a_size": 9, "null": 7, "a_b": 8, "message": 4, "their_offset": 3,
        "rows": [{"nothing": 1, "a.b": 2}], "opt_given": True, "opt_nothing": 10, "opt_a.b": 11,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


def test_an_object_beside_a_dotted_name_is_stored_in_a_column_of_its_own(
    clickhouse: ClickHouse,
) -> None:
    class User(Struct, frozen=True):
        id: int

    class Event(Struct, frozen=True, rename={"dotted": "user.id"}):
        key: int
        user_id: int
        dotted: Annotated[int, column(name="dotted")]
        user: Annotated[User, column(name="person")]

    contract = contract_of(Event, table=Table(name="event", order_by=("key",)))
    data = b'{"key":1,"user_id":2,"user.id":3,"user":{"id":4}}'
    (row,) = loaded(clickhouse, contract, data)
    assert (row["user_id"], row["dotted"], row["person_id"]) == (2, 3, 4)


@pytest.mark.parametrize("length", [127, 128, 255, 1000])
def test_column_names_of_any_length_are_stored_and_migrated(
    clickhouse: ClickHouse, length: int
) -> None:
    long = "n" * length
    inner = msgspec.defstruct("In", [(long, list[int])], frozen=True)
    fields = [("id", int), (long, int | None), ("inner", inner)]
    struct = msgspec.defstruct("Long", fields, frozen=True)
    contract = contract_of(struct, table=Table(name="long", order_by=("id",)))
    data = msgspec.json.encode({"id": 1, long: 5, "inner": {long: [6, 7]}})
    (row,) = loaded(clickhouse, contract, data)
    assert (row[long], row[f"inner_{long}"]) == (5, [6, 7])
    grown = msgspec.defstruct("Long", [*fields, (f"new_{long}", int, 0)], frozen=True)
    table = Table(name="long", order_by=("id",))
    migration = Migration(contract_of(grown, table=table), clickhouse, clickhouse.database)
    migration.apply_required()
    assert [step for step in migration.steps() if step.kind != "note"] == []


def test_a_wider_default_column_of_times_is_migrated(clickhouse: ClickHouse) -> None:
    class Old(Struct, frozen=True):
        id: int
        at: Annotated[datetime, column("DateTime64(3, 'UTC')")]

    class New(Struct, frozen=True):
        id: int
        at: datetime

    table = Table(name="times", order_by=("id",))
    moment = b'{"id": 1, "at": "2026-01-01T00:00:00.123Z"}'
    loaded(clickhouse, contract_of(Old, table=table), moment)
    Migration(contract_of(New, table=table), clickhouse, clickhouse.database).apply_required()
    (row,) = clickhouse.rows("SELECT at, toTypeName(at) AS type FROM times")
    assert row["type"] == "DateTime64(6, 'UTC')"
    assert row["at"] == datetime(2026, 1, 1, 0, 0, 0, 123000, UTC)


def test_a_truncated_time_is_cut_to_the_column_that_the_contract_states(
    clickhouse: ClickHouse,
) -> None:
    class Cut(Struct, frozen=True):
        id: int
        at: Annotated[datetime, column("DateTime64(3, 'UTC')", truncate=True)]
        second: Annotated[datetime, column("DateTime", truncate=True)]

    text = '"2026-01-01T00:00:00.999999999Z"'
    contract = contract_of(Cut, table=Table(name="cut", order_by=("id",)))
    data = f'{{"id": 1, "at": "1969-12-31T23:59:59.999900Z", "second": {text}}}'.encode()
    (row,) = loaded(clickhouse, contract, data)
    assert row["at"] == datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)
    assert row["second"] == datetime(2026, 1, 1, 0, 0, 0, 0, UTC)


def test_a_load_of_omitted_defaults_and_dotted_names_verifies(
    make_loader: MakeLoader, kafka: Connection
) -> None:
    class Small(Struct, frozen=True, omit_defaults=True, rename={"sizes": "a.size0"}):
        id: int
        a: list[int] = []
        n: int = 1
        sizes: Annotated[int, column(name="a_size")] = 2
        code: Annotated[bytes, column("FixedString(2)")] = b"ab"
        maybe: Annotated[int, column("Nullable(Int32)")] = 4

    contract = with_topic(contract_of(Small, table=Table(name="small", order_by=("id",))))
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = Producer(dict(kafka.extra))
    producer.produce(contract.topic, b'{"id": 1, "a": [3]}')
    producer.produce(contract.topic, b'{"id": 2, "a.size0": 9, "code": "enk="}')
    producer.flush(20)
    load(loader)
    rows = loader.clickhouse.client.query(
        "SELECT id, a, n, a_size, code, maybe FROM small ORDER BY id"
    ).result_rows
    assert [tuple(row) for row in rows] == [(1, [3], 1, 2, b"ab", 4), (2, [], 1, 9, b"zy", 4)]
    topic = loader.broker.topic(contract.topic)
    ranges = [OffsetRange(0, 0, 2)]
    check = ContentCheck(
        contract, loader.broker, loader.clickhouse, loader.ledger, Decoder(contract)
    )
    assert check.run(topic, ranges, lambda _: None).findings == []


@pytest.mark.parametrize("header", ["1.0", ""])
def test_an_older_name_that_belongs_to_another_field_now_keeps_its_value_apart(
    clickhouse: ClickHouse, header: str
) -> None:
    class Moved(Struct, frozen=True):
        id: int
        a: int
        b: int

    versions = (
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="2.0", released=date(2026, 1, 2), renamed={"a": "b"}),
        Version(name="3.0", released=date(2026, 1, 3), added={"a": 7}),
    )
    contract = contract_of(Moved, versions=versions, table=Table(name="moved", order_by=("id",)))
    decoded = Decoder(contract).decode(b'{"id": 1, "a": 100}', header)
    assert not isinstance(decoded, Refusal) and decoded[1] == "1.0"
    (row,) = stored_rows(clickhouse, contract, [decoded[0]])
    assert (row["a"], row["b"]) == (7, 100)


def test_a_field_that_is_added_again_does_not_get_the_value_of_the_removed_one(
    clickhouse: ClickHouse,
) -> None:
    class Priced(Struct, frozen=True):
        id: int
        price: int

    versions = (
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="2.0", released=date(2026, 1, 2), removed=("price",)),
        Version(name="3.0", released=date(2026, 1, 3), added={"price": 7}),
    )
    contract = contract_of(Priced, versions=versions, table=Table(name="priced", order_by=("id",)))
    decoded = Decoder(contract).decode(b'{"id": 1, "price": 100}', "1.0")
    assert not isinstance(decoded, Refusal)
    (row,) = stored_rows(clickhouse, contract, [decoded[0]])
    assert row["price"] == 7


@pytest.mark.parametrize("key", ["_newest", "_any", "_key_0", "_attempt"])
def test_columns_with_the_names_of_sluices_own_queries_are_published_and_verified(
    make_loader: MakeLoader, kafka: Connection, key: str
) -> None:
    struct = msgspec.defstruct("Row", [(key, str), ("v", int), ("w", str)], frozen=True)
    table = Table(name="row", order_by=(key,), engine="ReplacingMergeTree(v)")
    contract = with_topic(contract_of(struct, table=table))
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    producer = Producer(dict(kafka.extra))
    for texts in ("xy", "z"):
        for text in texts:
            producer.produce(contract.topic, msgspec.json.encode({key: "a", "v": 1, "w": text}))
        producer.flush(20)
        load(make_loader(contract))
    rows = loader.clickhouse.client.query(f"SELECT `{key}`, v, w FROM row FINAL").result_rows
    assert [tuple(row) for row in rows] == [("a", 1, "z")]
    check = ContentCheck(
        contract, loader.broker, loader.clickhouse, loader.ledger, Decoder(contract)
    )
    topic = loader.broker.topic(contract.topic)
    assert check.run(topic, [OffsetRange(0, 0, 3)], lambda _: None).findings == []


TYPE = descriptor_pb2.FieldDescriptorProto


def reading_class() -> Any:
    """A Protobuf class with the types whose JSON form has other values."""
    name = "fidelity"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    reading = file.message_type.add(name="Reading")
    fields = {
        "id": TYPE.TYPE_INT64, "real": TYPE.TYPE_FLOAT, "data": TYPE.TYPE_BYTES,
        "big": TYPE.TYPE_UINT64, "at": TYPE.TYPE_INT64,
    }  # fmt: skip
    for number, (field, type_) in enumerate(fields.items(), 1):
        reading.field.add(name=field, number=number, type=type_, label=TYPE.LABEL_OPTIONAL)
    entry = reading.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=TYPE.TYPE_INT32, label=TYPE.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=TYPE.TYPE_FLOAT, label=TYPE.LABEL_OPTIONAL)
    reading.field.add(
        name="counts", number=6, type=TYPE.TYPE_MESSAGE, label=TYPE.LABEL_REPEATED,
        type_name=".fidelity.Reading.CountsEntry",
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.Reading"))


def test_protobuf_values_keep_their_own_types(clickhouse: ClickHouse, registry_url: str) -> None:
    class Reading(Struct, frozen=True):
        id: int
        real: float
        data: bytes | None
        big: Annotated[int, column("UInt64")]
        counts: Annotated[dict[int, float], column("Map(Int32, Float32)")]

    class Timed(Struct, frozen=True):
        id: int
        at: datetime

    protobuf = reading_class()
    sent = protobuf(id=1, real=0.1, data=b"\x9e\xe9e", big=2**64 - 1, at=1_700_000_000)
    sent.counts[-5] = 0.1
    read, timed = (
        with_topic(
            contract_of(struct, protobuf=protobuf, table=Table(name="read", order_by=("id",)))
        )
        for struct in (Reading, Timed)
    )
    config = SchemaRegistryConfig(registry_url=registry_url, schema_subject=read.subject)
    registry = SchemaRegistry(config)
    with SchemaRegistryClient({"url": registry_url}) as client:
        serialize = ProtobufSerializer(protobuf, client, {"use.deprecated.format": False})
        value = serialize(sent, SerializationContext(read.topic, MessageField.VALUE))
    assert isinstance(value, bytes)
    decoded = Decoder(read, RegistryPayloads(read, registry)).decode(value)
    assert not isinstance(decoded, Refusal), decoded
    (row,) = stored_rows(clickhouse, read, [decoded[0]])
    # The JSON form of these bytes is the text "null", and that of the float is 0.1.
    assert (row["data"], row["real"], row["big"]) == (sent.data, sent.real, sent.big)
    assert row["counts"] == {-5: sent.real}
    refused = Decoder(timed, RegistryPayloads(timed, registry)).decode(value)
    assert isinstance(refused, Refusal), "a number does not say its unit"
    assert (refused.reason, refused.field) == (Reason.WRONG_TYPE, "at")
