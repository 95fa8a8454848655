CREATE TABLE IF NOT EXISTS `orders_newest_local` ON CLUSTER `events`
(
    `order_id` String COMMENT 'id of the order, chosen by the shop.',
    `created_at` DateTime64(3, 'UTC') COMMENT 'when the customer placed the order.',
    `customer_name` String COMMENT 'name as the customer wrote it.',
    `customer_email` String COMMENT 'address for the confirmation; empty in version 1.0.',
    `shipping_address_street` String COMMENT 'street and house number.',
    `shipping_address_city` String COMMENT 'city or town.',
    `shipping_address_postal_code` String COMMENT 'postal code as the country writes it.',
    `shipping_address_country` LowCardinality(String) DEFAULT 'unknown' COMMENT 'country name or ISO 3166 code, as the customer gave it.',
    `line_items` Array(Tuple(`line_item_id` String, `product_id` String, `product_title` String, `quantity` Int64, `price` Float64, `discount` Float64)) COMMENT 'what was ordered, at least one line.',
    `total_price` Float64 COMMENT 'sum of quantity times price, less the discounts.',
    `notes` String COMMENT 'what the customer added in words.',
    `_topic` LowCardinality(String) COMMENT 'Kafka topic',
    `_partition` Int32 COMMENT 'Kafka partition',
    `_offset` Int64 COMMENT 'Kafka offset; with topic and partition, unique over all loads',
    `_timestamp` DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the message',
    `_schema_version` LowCardinality(String) COMMENT 'version that the message came in',
    `_correlation_id` String COMMENT 'from the message\'s headers; empty when there was none',
    `_trace_id` String COMMENT 'W3C trace id from the headers; empty when there was none',
    `_span_id` String COMMENT 'W3C parent span id from the headers; empty when there was none',
    `_load_id` LowCardinality(String) COMMENT 'load that published the row',
    `_loaded_at` DateTime64(3, 'UTC') COMMENT 'when the row became visible',
    INDEX `_by_offset` (_partition, _offset) TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree(_offset)
ORDER BY (order_id)
SETTINGS index_granularity = 8192, replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS `orders_newest` ON CLUSTER `events`
AS `orders_newest_local`
ENGINE = Distributed('events', currentDatabase(), 'orders_newest_local', sipHash64(order_id));
