"""Every generated statement, compared with a golden file and parsed by the real engine.

``pytest tests/integration/test_golden.py --write-golden`` rewrites the files.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta, Struct

from include.schemas.orders import contract as orders
from sluice.contract import Contract, Table, Version, column
from sluice.contract.ddl import ClickHouseSchemaMapper, staging_comment, statements
from sluice.contract.kafka_engine_ddl import KafkaTableSchema
from sluice.store.clickhouse import ClickHouse
from tests.contracts import contract_of
from tests.integration.test_types import everything

GOLDEN = Path(__file__).parents[1] / "golden"


class Colour(Enum):
    RED = "red"


class Point(Struct, frozen=True):
    """A place.

    Attributes:
        x: how far east.
    """

    x: int
    label: str


class Chosen(Struct, frozen=True, kw_only=True):
    """Every choice that a column has, and every kind of filling.

    Attributes:
        id: what it's called.
        at: when.
    """

    id: Annotated[str, column(codec="ZSTD(3)")]
    at: Annotated[dt.datetime, column("DateTime", codec="Delta, ZSTD")]
    count: Annotated[int, Meta(ge=0, le=200), column(smallest=True, comment="how many")]
    kind: Annotated[str, column(low_cardinality=True, default="'none'")]
    text: str
    plain: Annotated[str, column(ttl="at + INTERVAL 1 YEAR")]
    number: int
    share: float
    flag: bool
    day: dt.date
    moment: dt.datetime
    amount: Decimal
    ident: UUID
    colour: Colour
    blob: bytes
    tags: tuple[str, ...]
    maybe: str | None
    point: Point


chosen = contract_of(
    Chosen,
    versions=(
        Version(name="1.0", released=dt.date(2026, 1, 1)),
        Version(
            name="1.1",
            released=dt.date(2026, 1, 1),
            added={
                "text": "it's \\ new",
                "plain": "",
                "number": -1,
                "share": 0.5,
                "flag": True,
                "day": dt.date(2020, 2, 29),
                "moment": dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC),
                "amount": Decimal("1.50"),
                "ident": UUID(int=1),
                "colour": Colour.RED,
                "blob": b"\x00\xff",
                "tags": ("a", "b"),
                "maybe": None,
                "point": Point(0, "origin"),
            },
        ),
    ),
    table=Table(
        name="chosen",
        order_by=("toDate(at)", "id"),
        partition_by="toYYYYMM(at)",
        ttl="at + INTERVAL 2 YEAR",
        indexes={"by_text": "text TYPE bloom_filter GRANULARITY 4"},
        settings={"index_granularity": 1024, "storage_policy": "default"},
    ),
)

replacing = msgspec.structs.replace(
    orders,
    table=Table(
        name="orders_newest", order_by=("order_id",), engine="ReplacingMergeTree(_timestamp)"
    ),
)


def _tables(contract: Contract, cluster: str = "") -> list[str]:
    return ClickHouseSchemaMapper.of(contract, cluster).create_tables()


STATEMENTS: dict[str, Callable[[], list[str]]] = {
    "everything": lambda: _tables(everything),
    "choices": lambda: _tables(chosen),
    "replacing": lambda: _tables(replacing),
    "staging": lambda: [
        ClickHouseSchemaMapper.of(orders).create_staging(
            "`sluice`.`staging_1`", staging_comment("orders")
        )
    ],
    "cluster": lambda: _tables(orders, "events"),
    "cluster_replacing": lambda: _tables(replacing, "events"),
    "kafka_engine": lambda: KafkaTableSchema(orders, "broker:9092").statements(),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_equals_its_golden_file_and_the_engine_parses_it(
    name: str, clickhouse: ClickHouse, request: pytest.FixtureRequest
) -> None:
    text = ";\n\n".join(s.rstrip() for s in STATEMENTS[name]()) + ";\n"
    path = GOLDEN / f"{name}.sql"
    if request.config.getoption("--write-golden"):
        path.write_text(text)
    assert text == path.read_text()
    for statement in STATEMENTS[name]():
        clickhouse.rows("SELECT formatQuery({sql:String}) AS parsed", {"sql": statement})


@pytest.mark.parametrize("name", ["everything", "choices", "replacing"])
def test_the_engine_creates_the_table(name: str, clickhouse: ClickHouse) -> None:
    for statement in statements((GOLDEN / f"{name}.sql").read_text()):
        clickhouse.execute(statement)


def test_a_row_older_than_a_column_has_the_values_of_an_upgraded_message(
    clickhouse: ClickHouse,
) -> None:
    (statement,) = _tables(chosen)
    clickhouse.execute(statement)
    clickhouse.execute("INSERT INTO chosen (id, at) VALUES ('a', now())")
    columns = [c.name for c in ClickHouseSchemaMapper.of(chosen).columns if c.name not in ("at",)]
    row = clickhouse.rows(f"SELECT {', '.join(columns)}, hex(blob) AS blob FROM chosen")[0]
    assert row == {
        "id": "a",
        "count": 0,
        "kind": "none",
        "text": "it's \\ new",
        "plain": "",
        "number": -1,
        "share": 0.5,
        "flag": True,
        "day": dt.date(2020, 2, 29),
        "moment": dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC),
        "amount": Decimal("1.5"),
        "ident": UUID(int=1),
        "colour": "red",
        "blob": "00FF",
        "tags": ["a", "b"],
        "maybe": None,
        "point_x": 0,
        "point_label": "origin",
    }
