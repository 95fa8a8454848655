"""ClickHouse's own streaming path: its statements, and the query of its view on ClickHouse."""

from random import Random

import msgspec
import pytest

from include.schemas.orders import OrderEventMessage
from include.schemas.orders import contract as orders
from include.schemas.payments import contract as payments
from sluice.authoring.examples import example_message
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


def test_clickhouse_parses_every_statement(clickhouse: ClickHouse) -> None:
    for statement in schema.statements():
        parsed = clickhouse.rows("SELECT formatQuery({sql:String}) AS sql", {"sql": statement})
        assert parsed[0]["sql"].startswith("CREATE ")


def test_the_view_returns_one_row_per_line_item(clickhouse: ClickHouse) -> None:
    """A plain table with the same columns takes the place of the Kafka engine table."""
    source = schema.create_source()
    plain = source[: source.index("ENGINE = Kafka")] + "ENGINE = MergeTree ORDER BY order_id"
    clickhouse.execute(plain)
    clickhouse.execute(schema.create_final())
    clickhouse.execute(schema.create_view())
    random = Random(4)
    sent = [example_message(orders, random) for _ in range(50)]
    body = b"".join(msgspec.json.encode(message) + b"\n" for message in sent)
    clickhouse.insert_lines("orders_kafka", None, body, "JSONEachRow", "t")
    rows = clickhouse.rows(
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
    assert rows == sorted(expected, key=lambda row: [row[k] for k in key])


def test_a_message_without_a_list_of_structs_is_refused() -> None:
    with pytest.raises(ContractError) as raised:
        KafkaTableSchema(payments, "broker:9092")
    assert raised.value.topic == "payments"
    with pytest.raises(ContractError) as raised:
        KafkaTableSchema(orders, "broker:9092", items="notes").statements()
    assert (raised.value.topic, raised.value.field) == ("orders", "notes")
