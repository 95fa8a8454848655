-- Table of topic payments, made from its contract by 'sluice ddl --write'.
-- Do not edit: change the contract, and write it again.

CREATE TABLE IF NOT EXISTS `payments`
(
    `payment_id` String COMMENT 'id of the payment, chosen by the payment provider.',
    `order_id` Nullable(String) COMMENT 'the order that was paid; null for a gift card.',
    `paid_at` DateTime64(3, 'UTC') COMMENT 'when the provider confirmed it.',
    `value_date` Date32 COMMENT 'the day on which the amount counts.',
    `amount` Decimal(18, 4) COMMENT 'what was paid, in the currency\'s main unit, to four places.',
    `currency` LowCardinality(String) COMMENT 'ISO 4217 code.',
    `method` LowCardinality(String) COMMENT 'how it was paid.',
    `labels` Map(String, String) COMMENT 'what the provider adds, by name.',
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
ENGINE = MergeTree
ORDER BY (paid_at, payment_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;
