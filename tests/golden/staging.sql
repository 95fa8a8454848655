CREATE TABLE IF NOT EXISTS `sluice`.`staging_1`
(
    `_load` UInt64,
    `_attempt` LowCardinality(String),
    `_partition` Int32,
    `_offset` Int64,
    `_timestamp` Int64,
    `_schema_version` LowCardinality(String),
    `_correlation_id` String,
    `_trace_id` String,
    `_span_id` String,
    `message` Tuple(`order_id` String, `created_at` DateTime64(6, 'UTC'), `customer_name` String, `customer_email` String, `shipping_address` Tuple(`street` String, `city` String, `postal_code` String, `country` String), `line_items` Array(Tuple(`line_item_id` String, `product_id` String, `product_title` String, `quantity` Int64, `price` Float64, `discount` Float64)), `total_price` Float64, `notes` String)
)
ENGINE = MergeTree
PARTITION BY _load
ORDER BY (_attempt, _partition, _offset)
SETTINGS non_replicated_deduplication_window = 10000, max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1, max_parts_in_total = 1000000, parts_to_delay_insert = 1000000, parts_to_throw_insert = 1000000
COMMENT 'Sluice staging table of topic orders';
