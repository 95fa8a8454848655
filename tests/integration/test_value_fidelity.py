"""What is sent is what is loaded: every pair of the type table, through the decoder and the engine.

The stored values are read by clickhouse-connect from its Native result, and compared with the
decoded messages: the encoder of the loads is used once only.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from msgspec import Struct

from sluice.contract import Contract, Table
from sluice.contract.columns import STAGED
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.type_map import message_type
from sluice.contract.type_rules import RULES
from sluice.decode.decoder import Decoder
from sluice.drain.batch_builder import ENCODER
from sluice.refusals import Reason, Refusal
from sluice.store.clickhouse import ClickHouse
from tests.contracts import contract_of
from tests.type_pairs import COLUMNS, Pair

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
    assert all(drawn.values()), "a pair has no value that is stored"
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
