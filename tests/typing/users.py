"""Code as users write it: ``make check`` fails if mypy --strict no longer infers a type.

Nothing here is run.
"""

from datetime import date, datetime
from decimal import Decimal
from random import Random
from typing import Annotated, Any, assert_type

import pydantic
from msgspec import Meta, Struct

from sluice.authoring.examples import example_message
from sluice.contract import Breaker, Contract, Rule, Table, Version, column, find
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.kafka_engine_ddl import KafkaTableSchema
from sluice.decode.decoder import Decoder
from sluice.errors import MessageRefused
from sluice.kafka.schema_registry import Registered, SchemaRegistry, SchemaRegistryConfig
from sluice.ranges import OffsetRange
from sluice.refusals import Reason, Refusal
from sluice.services.local_registry import LocalSchemaRegistry
from sluice.services.pydantic_bridge import PydanticToMsgspec
from sluice.services.validator_metrics import MetricsCollector, SchemaMetrics
from sluice.services.validators import (
    BatchValidator,
    FlexibleValidator,
    MonitoredValidator,
    Validator,
    ValidatorPool,
)


class Ping(Struct, frozen=True, kw_only=True):
    id: Annotated[str, Meta(min_length=1)]
    at: datetime
    cost: Annotated[Decimal, column("Decimal(18, 4)", codec="ZSTD(3)")]
    hops: Annotated[int, Meta(ge=0, le=255), column(smallest=True, comment="routers passed")]
    host: Annotated[str, column(low_cardinality=True)] = ""


def lift(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"hops": len(message.pop("route"))}


def sample(random: Random) -> Ping:
    return Ping(id=str(random.random()), at=datetime.now(), cost=Decimal(1), hops=3)


contract = Contract(
    topic="pings",
    subject="pings-value",
    message=Ping,
    versions=(
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="1.1", released=date(2026, 2, 1), added={"cost": Decimal(0)}),
        Version(name="2.0", released=date(2026, 3, 1), removed=("route",), lift=lift),
    ),
    key="id",
    table=Table(
        name="pings",
        order_by=("at", "id"),
        partition_by="toYYYYMM(at)",
        engine="ReplacingMergeTree(_timestamp)",
        indexes={"by_host": "host TYPE bloom_filter GRANULARITY 4"},
        settings={"index_granularity": 1024},
    ),
    owner="network",
    sample=sample,
    rules=(Rule(name="few hops", fails_when="hops > 64", severity="warning"),),
    breaker=Breaker(max_refused_share=0.05),
    sensitive=frozenset({"host"}),
    schedule=None,
    on_expired="record",
)

assert_type(contract, Contract[Ping])
assert_type(example_message(contract, Random(1)), Ping)
assert_type(find("pings"), Contract)


def topic_of(any_contract: Contract) -> str:
    """Accept a contract of any message class."""
    return any_contract.topic


topic_of(contract)


def validate(data: bytes, batch: list[bytes]) -> None:
    assert_type(Validator(contract).validate(data), Ping)
    pool = ValidatorPool(contract, pool_size=8)
    assert_type(pool.validate(data), Ping)
    assert_type(pool.get_validator(), Validator[Ping])
    for message, error in BatchValidator(contract).validate_batch(batch):
        if error is not None:
            assert_type(error, MessageRefused)
            assert_type(error.refusal.reason, Reason)
        elif message is not None:
            assert_type(message, Ping)
    pings = [example_message(contract, Random(1))]
    assert_type(BatchValidator(contract).serialize_batch(pings), list[bytes])
    assert_type(FlexibleValidator(contract).validate_with_defaults(data, {"host": "x"}), Ping)
    metrics = MetricsCollector()
    assert_type(MonitoredValidator(contract, metrics).validate(data), Ping)
    assert_type(metrics.get_metrics(), SchemaMetrics)
    assert_type(metrics.get_metrics().schema_versions_seen, dict[str, int])
    result = Decoder(contract).decode(data)
    if isinstance(result, Refusal):
        assert_type(result.field, str)


class PingModel(pydantic.BaseModel):
    id: str


def convert(model: PingModel, ping: Ping) -> None:
    assert_type(PydanticToMsgspec.pydantic_to_msgspec(model, Ping), Ping)
    assert_type(PydanticToMsgspec.msgspec_to_pydantic(ping, PingModel), PingModel)


def tables() -> None:
    assert_type(ClickHouseSchemaMapper(Ping, contract.table).create_table(), str)
    assert_type(ClickHouseSchemaMapper.of(contract, cluster="events").create_tables(), list[str])
    assert_type(KafkaTableSchema(contract, "broker:9092").statements(), list[str])


def registries() -> None:
    local = LocalSchemaRegistry(".schemas")
    assert_type(local.register_schema("pings-value", "1.0", {"type": "object"}), int)
    assert_type(local.get_latest_schema("pings-value"), tuple[str, dict[str, Any]])
    config = SchemaRegistryConfig(registry_url="https://registry", schema_subject="pings-value")
    assert_type(SchemaRegistry(config).by_id(1), Registered)


assert_type(OffsetRange(0, 10, 20).count, int)
