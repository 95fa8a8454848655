CREATE TABLE IF NOT EXISTS `chosen`
(
    `id` String COMMENT 'what it\'s called.' CODEC(ZSTD(3)),
    `at` DateTime COMMENT 'when.' CODEC(Delta, ZSTD),
    `count` UInt8 COMMENT 'how many',
    `kind` LowCardinality(String) DEFAULT 'none',
    `text` String DEFAULT 'it\'s \\ new',
    `plain` String TTL at + INTERVAL 1 YEAR,
    `number` Int64 DEFAULT -1,
    `share` Float64 DEFAULT 0.5,
    `flag` Bool DEFAULT true,
    `day` Date32 DEFAULT '2020-02-29',
    `moment` DateTime64(6, 'UTC') DEFAULT '2020-01-01 12:00:00.000000+00:00',
    `amount` Decimal(38, 9) DEFAULT '1.50',
    `ident` UUID DEFAULT '00000000-0000-0000-0000-000000000001',
    `colour` LowCardinality(String) DEFAULT 'red',
    `blob` String DEFAULT unhex('00ff'),
    `tags` Array(String) DEFAULT ['a', 'b'],
    `maybe` Nullable(String),
    `point_x` Int64 COMMENT 'how far east.',
    `point_label` String DEFAULT 'origin',
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
    INDEX `_by_offset` (_partition, _offset) TYPE minmax GRANULARITY 1,
    INDEX `by_text` text TYPE bloom_filter GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (toDate(at), id)
TTL at + INTERVAL 2 YEAR
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000, storage_policy = 'default';
