"""ClickHouse's own streaming path: its statements, and its view's query on the real engine."""

import json
from random import Random

import msgspec
import pytest

from include.schemas.orders import OrderEventMessage
from include.schemas.orders import contract as orders
from include.schemas.payments import contract as payments
from sluice.contract.kafka_engine_ddl import KafkaTableSchema
from sluice.errors import ContractError
from sluice.store.clickhouse import ClickHouse

schema = KafkaTableSchema(orders, "broker:9092")


def test_the_kafka_table_reads_the_topic() -> None:
    text = schema.create_source()
    assert text.startswith("CREATE TABLE IF NOT EXISTS `orders_kafka`\n(\n    `order_id` String,\n")
    assert "ENGINE = Kafka\n" in text
    for setting in (
        "kafka_broker_list = 'broker:9092'",
        "kafka_topic_list = 'orders'",
        "kafka_group_name = 'clickhouse-orders'",
        "kafka_format = 'JSONEachRow'",
    ):
        assert setting in text


def test_every_statement_is_parsed_by_the_engine(clickhouse: ClickHouse) -> None:
    for statement in schema.statements():
        parsed = clickhouse.rows("SELECT formatQuery({sql:String}) AS sql", {"sql": statement})
        assert parsed[0]["sql"].startswith("CREATE ")


def test_the_view_makes_one_row_a_line_item(clickhouse: ClickHouse) -> None:
    """The Kafka table is replaced by a plain one of the same columns."""
    source = schema.create_source()
    plain = source[: source.index("ENGINE = Kafka")] + "ENGINE = MergeTree ORDER BY order_id"
    clickhouse.execute(plain)
    clickhouse.execute(schema.create_final())
    clickhouse.execute(schema.create_view())
    random = Random(4)
    sent = [orders.example(random) for _ in range(50)]
    body = b"".join(msgspec.json.encode(message) + b"\n" for message in sent)
    clickhouse.insert_lines("orders_kafka", None, body, "JSONEachRow", "t")
    found = clickhouse.rows(
        "SELECT order_id, line_item_id, product_id, product_title, quantity, price, total_price,"
        " shipping_address_city FROM orders_final ORDER BY order_id, line_item_id"
    )
    expected = [
        {
            "order_id": order.order_id,
            "line_item_id": item.line_item_id,
            "product_id": item.product_id,
            "product_title": item.product_title,
            "quantity": item.quantity,
            "price": item.price,
            "total_price": order.total_price,
            "shipping_address_city": order.shipping_address.city,
        }
        for order in sent
        if isinstance(order, OrderEventMessage)
        for item in order.line_items
    ]
    key = "order_id", "line_item_id"
    assert found == sorted(expected, key=lambda row: [row[k] for k in key])
    assert json.dumps(found)


def test_a_message_without_a_list_of_structs_is_refused() -> None:
    with pytest.raises(ContractError, match="has 0 of them"):
        KafkaTableSchema(payments, "broker:9092")
