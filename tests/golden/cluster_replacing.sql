CREATE TABLE IF NOT EXISTS `orders_newest_local` ON CLUSTER `events`
(
    `order_id` String COMMENT 'id of the order, assigned by the shop.',
    `created_at` DateTime64(6, 'UTC') COMMENT 'when the customer placed the order.',
    `customer_name` String COMMENT 'name as entered by the customer.',
    `customer_email` String COMMENT 'email address for the confirmation; empty in version 1.0.',
    `shipping_address_street` String COMMENT 'street and house number.',
    `shipping_address_city` String COMMENT 'city or town.',
    `shipping_address_postal_code` String COMMENT 'postal code in the format of the country.',
    `shipping_address_country` LowCardinality(String) DEFAULT 'unknown' COMMENT 'country name or ISO 3166 code, as entered by the customer.',
    `line_items` Array(Tuple(`line_item_id` String, `product_id` String, `product_title` String, `quantity` Int64, `price` Float64, `discount` Float64)) COMMENT 'the products ordered, at least one.',
    `total_price` Float64 COMMENT 'sum of quantity times price, less the discounts.',
    `notes` String COMMENT 'free-text note from the customer.',
    `_topic` LowCardinality(String) COMMENT 'Kafka topic',
    `_partition` Int32 COMMENT 'Kafka partition',
    `_offset` Int64 COMMENT 'Kafka offset; with topic and partition, unique over all loads',
    `_timestamp` DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the message',
    `_schema_version` LowCardinality(String) COMMENT 'schema version of the message as sent',
    `_correlation_id` String COMMENT 'correlation id of the message; empty if it has none',
    `_trace_id` String COMMENT 'W3C trace id of the message; empty if it has none',
    `_span_id` String COMMENT 'W3C id of the producer\'s span; empty if the message has none',
    `_load_id` LowCardinality(String) COMMENT 'load that published the row',
    `_loaded_at` DateTime64(3, 'UTC') COMMENT 'when the row became visible',
    INDEX `_by_offset` (_partition, _offset) TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree(_timestamp)
ORDER BY (order_id)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `orders_newest` ON CLUSTER `events`
AS `orders_newest_local`
ENGINE = Distributed('events', currentDatabase(), 'orders_newest_local', sipHash64(order_id));
