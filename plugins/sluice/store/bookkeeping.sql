-- The ledger and the other records of loads, in the database that the setting SLUICE_DATABASE
-- names. Tables are append-only; state is read through the views. Every insert has a deduplication
-- token, so repeating it does not add rows.

CREATE DATABASE IF NOT EXISTS sluice;

-- Version and digest of this file, written after all of it was applied. The latest row is valid.
CREATE TABLE IF NOT EXISTS sluice.bookkeeping
(
    digest String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY at
SETTINGS non_replicated_deduplication_window = 10000;

ALTER TABLE sluice.bookkeeping ADD COLUMN IF NOT EXISTS version UInt32;

-- The log of each topic: entries numbered 1, 2, 3 … that say what happened to its loads. An entry is
-- inserted under a token made from its topic and number, so of several writers of one number one
-- succeeds. Of two rows with one number (one of them came after the token was forgotten) the first
-- is valid. States: reserved, audited, held, failed, publishing, replacing, taking back; end states:
-- published, abandoned. The event 'adopted' names a new owner; 'forgotten' ends all that is before.
CREATE TABLE IF NOT EXISTS sluice.topic_log
(
    topic LowCardinality(String),
    entry UInt64,
    writer String COMMENT 'a random id of each insert',
    load_id String,
    state LowCardinality(String),
    owner String COMMENT 'who wrote it: a DAG run, or a process',
    detail String DEFAULT '{}' COMMENT 'JSON; of a reservation, the plan',
    revision UInt32 COMMENT 'of a reservation; the load with the higher one accounts for an offset',
    chunks Array(Array(Tuple(Int32, Int64, Int64)))
        COMMENT 'of a reservation: partition, low and high of the ranges of each chunk',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, entry, at, writer)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 1024;

ALTER TABLE sluice.topic_log ADD INDEX IF NOT EXISTS recent at TYPE minmax GRANULARITY 1;

-- The state of a topic after some of the entries of its log, as JSON: a cache. Everything in it can
-- be computed from the log.
CREATE TABLE IF NOT EXISTS sluice.topic_checkpoints
(
    topic LowCardinality(String),
    entry UInt64,
    format UInt32,
    state String CODEC(ZSTD(3)),
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, entry)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 16;

-- The events of each load. A writer whose entry has lost against an earlier row removes its own.
CREATE OR REPLACE VIEW sluice.load_events AS
SELECT g.load_id AS load_id, g.topic AS topic, g.entry AS entry, g.state AS state,
       g.owner AS owner, g.detail AS detail, g.at AS at
FROM sluice.topic_log AS g
WHERE g.load_id != '';

-- The half-open offset ranges that each load reserved, by the chunks that its tasks read.
CREATE OR REPLACE VIEW sluice.load_ranges AS
SELECT g.load_id AS load_id, g.topic AS topic, r.1 AS chunk, r.2 AS partition, r.3 AS low,
       r.4 AS high,
       if(JSONHas(g.detail, 'kind'), JSONExtractString(g.detail, 'kind'), 'load') AS kind,
       g.revision AS revision, g.at AS at
FROM sluice.topic_log AS g
ARRAY JOIN arrayFlatten(arrayMap(
    (ranges, number) -> arrayMap(r -> (number - 1, r.1, r.2, r.3), ranges),
    g.chunks, arrayEnumerate(g.chunks))) AS r
WHERE g.state = 'reserved';

-- Attempts that read their chunk to the end. The first one of each chunk is the accepted attempt.
CREATE TABLE IF NOT EXISTS sluice.load_chunks
(
    load_id String,
    topic LowCardinality(String),
    chunk UInt32,
    attempt String,
    bytes UInt64 COMMENT 'bytes of the values read',
    seconds Float64,
    cpu_seconds Float64,
    batches UInt32,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, chunk, at)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 1024;

-- Offsets that carry no message to load: tombstones, and offsets that the broker does not return
-- (absent: transaction markers, aborted or compacted messages; expired: removed by retention before
-- they were read).
CREATE TABLE IF NOT EXISTS sluice.load_skips
(
    load_id String,
    topic LowCardinality(String),
    attempt String,
    partition Int32,
    low Int64,
    high Int64,
    kind Enum8('tombstone' = 1, 'absent' = 2, 'expired' = 3)
)
ENGINE = MergeTree ORDER BY (topic, load_id, attempt, partition, low)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 1024;

-- The accounts of each load, one per partition, counted in ClickHouse by the audit.
CREATE TABLE IF NOT EXISTS sluice.load_accounts
(
    load_id String,
    topic LowCardinality(String),
    partition Int32,
    planned UInt64,
    loaded UInt64,
    upgraded UInt64,
    quarantined UInt64,
    tombstones UInt64,
    absent UInt64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, partition, at)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 1024;

ALTER TABLE sluice.load_accounts ADD INDEX IF NOT EXISTS recent at TYPE minmax GRANULARITY 1;

-- Refused messages, with all their bytes. Read them through the view `quarantine`, which leaves out
-- the rows of attempts that were not accepted.
CREATE TABLE IF NOT EXISTS sluice.quarantine_rows
(
    load_id String,
    attempt String,
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    timestamp DateTime64(3, 'UTC'),
    key String COMMENT 'base64 of the key',
    value String COMMENT 'base64 of the value',
    headers Array(Tuple(name String, value String)) COMMENT 'values as base64',
    reason LowCardinality(String),
    field String,
    message String,
    version LowCardinality(String) COMMENT 'the version that the message is closest to',
    code Int32 COMMENT 'error code of ClickHouse; 0 if ClickHouse did not refuse it',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, attempt, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- What base64 and timestamp leave open. Of rows that are older than these columns it is not known
-- whether an empty key was null; it counts as null.
ALTER TABLE sluice.quarantine_rows ADD COLUMN IF NOT EXISTS key_null Bool DEFAULT key = ''
    COMMENT 'whether the key is null; if not, an empty key is empty';
ALTER TABLE sluice.quarantine_rows ADD COLUMN IF NOT EXISTS value_null Bool DEFAULT false
    COMMENT 'whether the value is null';
ALTER TABLE sluice.quarantine_rows ADD COLUMN IF NOT EXISTS null_headers Array(UInt32)
    COMMENT 'positions, from 1, of the headers whose value is null';
ALTER TABLE sluice.quarantine_rows ADD COLUMN IF NOT EXISTS timestamp_ms Int64
    DEFAULT toUnixTimestamp64Milli(timestamp)
    COMMENT 'the timestamp as Kafka has it; timestamp is 1970 if this is no time from 1970 to 2299';

-- Messages whose Kafka timestamp is no time from 1970 to 2299: absent, negative, or microseconds
-- taken for milliseconds, for example. In the target table and in quarantine their timestamp is
-- 1970-01-01; this is what Kafka has. Only rows of accepted attempts are valid.
CREATE TABLE IF NOT EXISTS sluice.record_timestamps
(
    load_id String,
    topic LowCardinality(String),
    attempt String,
    partition Int32,
    offset Int64,
    timestamp_ms Int64 COMMENT 'the timestamp as Kafka has it; -1 if the message has none'
)
ENGINE = MergeTree ORDER BY (topic, load_id, attempt, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- Outcomes of refused messages that a later load, by_load, has read again: 'loaded', 'refused'
-- (again) or 'gone'. A row is valid once by_load is published.
CREATE TABLE IF NOT EXISTS sluice.quarantine_resolutions
(
    load_id String COMMENT 'load that refused the message',
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    by_load String,
    outcome LowCardinality(String),
    repaired Bool COMMENT 'whether the repair function of the contract changed it',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- Messages that were loaded after the contract's repair function had changed them.
CREATE TABLE IF NOT EXISTS sluice.load_repairs
(
    load_id String,
    topic LowCardinality(String),
    attempt String,
    partition Int32,
    offset Int64,
    value String COMMENT 'base64 of the value as it was loaded; the original is in quarantine_rows'
)
ENGINE = MergeTree ORDER BY (topic, load_id, attempt, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- Numbers of rows of older loads that a replacing load removed, counted before their removal.
CREATE TABLE IF NOT EXISTS sluice.load_replaced
(
    load_id String COMMENT 'the load that replaces',
    topic LowCardinality(String),
    old_load_id String,
    partition Int32,
    rows UInt64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, old_load_id, partition)
SETTINGS non_replicated_deduplication_window = 10000;

-- Turns of inserting into a replacing table: one row when a publisher takes it, one when it ends.
CREATE TABLE IF NOT EXISTS sluice.publish_turns
(
    target String COMMENT 'qualified name of the table',
    turn UInt64,
    holder String COMMENT 'id of the publisher; the first row of a turn is valid',
    name String COMMENT 'the log_comment of the insert',
    ended Bool,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (target, turn, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- The quality results of each load's audits, one row per expectation.
CREATE TABLE IF NOT EXISTS sluice.quality_results
(
    load_id String,
    topic LowCardinality(String),
    audit String COMMENT 'id of the audit; the latest audit of a load is valid',
    expectation LowCardinality(String),
    column String,
    description String,
    severity LowCardinality(String),
    success Bool,
    element_count UInt64,
    unexpected_count UInt64,
    observed String,
    error String,
    examples String COMMENT 'JSON: up to 20 failing rows by partition and offset',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (topic, load_id, audit, expectation, column)
SETTINGS non_replicated_deduplication_window = 10000;

-- Great Expectations' data document of each load's audits. The latest one is valid.
CREATE TABLE IF NOT EXISTS sluice.data_docs
(
    load_id String,
    topic LowCardinality(String),
    audit String,
    document String COMMENT 'self-contained HTML' CODEC(ZSTD(3)),
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (topic, load_id, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- The reports of each load, as JSON. The latest one is valid.
CREATE TABLE IF NOT EXISTS sluice.reports
(
    load_id String,
    topic LowCardinality(String),
    owner String,
    report String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (topic, load_id, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- The metrics of each load, as emitted by plugins/sluice/report/metrics.py. The latest value of each
-- load, name and labels is valid.
CREATE TABLE IF NOT EXISTS sluice.metrics
(
    load_id String,
    topic LowCardinality(String),
    name LowCardinality(String),
    labels Map(LowCardinality(String), String),
    value Float64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, name, load_id, at)
SETTINGS non_replicated_deduplication_window = 10000;

ALTER TABLE sluice.metrics ADD COLUMN IF NOT EXISTS difference Float64
    COMMENT 'from the value before';
ALTER TABLE sluice.metrics ADD COLUMN IF NOT EXISTS saved UInt32
    COMMENT 'how often the metrics of the load were saved, this time included';

-- The sum of each metric over all loads of a topic, and its latest value.
CREATE TABLE IF NOT EXISTS sluice.metric_totals
(
    topic LowCardinality(String),
    name LowCardinality(String),
    labels Map(LowCardinality(String), String),
    total SimpleAggregateFunction(sum, Float64),
    last AggregateFunction(argMax, Float64, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree ORDER BY (topic, name, toString(labels))
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS sluice.metric_totals_of_loads TO sluice.metric_totals AS
SELECT m.topic AS topic, m.name AS name, m.labels AS labels, sum(m.difference) AS total,
       argMaxState(m.value, m.at) AS last
FROM sluice.metrics AS m
GROUP BY topic, name, labels;

-- Queries of these views name the topic where they can: ClickHouse then reads its records only.

-- The loads. The state is the end state if there is one, otherwise the latest state. The owner is
-- the run that planned the load, or the latest one that took it over.
CREATE OR REPLACE VIEW sluice.loads AS
SELECT
    load_id,
    topic,
    argMaxIf(e.owner, e.entry, e.state IN ('reserved', 'adopted')) AS owner,
    multiIf(
        countIf(e.state = 'published') > 0, 'published',
        countIf(e.state = 'abandoned') > 0, 'abandoned',
        argMaxIf(e.state, e.entry, e.state != 'adopted')) AS state,
    anyIf(e.detail, e.state = 'reserved') AS plan,
    min(e.at) AS planned_at,
    max(e.at) AS last_at
FROM sluice.load_events AS e
GROUP BY topic, load_id;

-- The accepted attempt of each chunk: the first that read the chunk to the end.
CREATE OR REPLACE VIEW sluice.accepted_attempts AS
SELECT topic, load_id, chunk, argMin(c.attempt, (c.at, c.attempt)) AS attempt
FROM sluice.load_chunks AS c
GROUP BY topic, load_id, chunk;

-- Refused messages, with their status: 'quarantined' if their load is published and no later load
-- has read them again; 'loaded' or 'superseded' if a later load has read them again, and has loaded
-- them or not; 'pending' while their load is not published; 'dropped' if it never will be, so that
-- another load reads the offset.
CREATE OR REPLACE VIEW sluice.quarantine AS
SELECT
    q.load_id AS load_id, q.topic AS topic, q.partition AS partition, q.offset AS offset,
    fromUnixTimestamp64Milli(
        if(q.timestamp_ms BETWEEN 0 AND 10413791999999, q.timestamp_ms, 0), 'UTC') AS timestamp,
    q.timestamp_ms AS timestamp_ms, q.reason AS reason, q.field AS field, q.message AS message,
    q.version AS version, q.code AS code,
    if(q.key_null, NULL, base64Decode(q.key)) AS key,
    if(q.value_null, NULL, base64Decode(q.value)) AS value,
    arrayMap((h, n) -> (h.name, if(has(q.null_headers, n), NULL, base64Decode(h.value))),
             q.headers, arrayEnumerate(q.headers)) AS headers,
    multiIf(l.state = 'abandoned', 'dropped',
            l.state != 'published', 'pending',
            r.by_load = '', 'quarantined',
            r.outcome = 'loaded', 'loaded', 'superseded') AS status,
    r.by_load AS resolved_by, r.repaired AS repaired, q.at AS at
FROM sluice.quarantine_rows AS q
INNER JOIN sluice.accepted_attempts AS w
    ON w.topic = q.topic AND w.load_id = q.load_id AND w.attempt = q.attempt
INNER JOIN sluice.loads AS l ON l.topic = q.topic AND l.load_id = q.load_id
LEFT JOIN (
    SELECT s.topic AS topic, s.load_id AS load_id, s.partition AS partition, s.offset AS offset,
           any(s.by_load) AS by_load, any(s.outcome) AS outcome, any(s.repaired) AS repaired
    FROM sluice.quarantine_resolutions AS s
    INNER JOIN sluice.loads AS b ON b.topic = s.topic AND b.load_id = s.by_load
    WHERE b.state = 'published'
    GROUP BY topic, load_id, partition, offset
) AS r ON r.topic = q.topic AND r.load_id = q.load_id AND r.partition = q.partition
    AND r.offset = q.offset
SETTINGS join_use_nulls = 0;

-- The former name of the view accepted_attempts.
DROP VIEW IF EXISTS sluice.winning_attempts;
