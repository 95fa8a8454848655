-- The ledger of loads, and what loads leave behind. Created in the database that the setting
-- SLUICE_DATABASE names. Tables are only ever appended to; state is read through the views.
-- Every insert carries a deduplication token, so a repeated one leaves no second row.

CREATE DATABASE IF NOT EXISTS sluice;

-- Digest of this file, written when all of it was applied; the last one counts.
CREATE TABLE IF NOT EXISTS sluice.bookkeeping
(
    digest String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY at
SETTINGS non_replicated_deduplication_window = 10000;

-- What happened to a load, in order. States: planned, reserved, audited, held, failed, publishing,
-- replacing, published; or withdrawn, abandoned. detail is JSON. The event 'adopted' names a new
-- owner and is no state.
CREATE TABLE IF NOT EXISTS sluice.load_events
(
    load_id String,
    topic LowCardinality(String),
    state LowCardinality(String),
    owner String COMMENT 'who runs the load: a DAG run, or a process',
    detail String DEFAULT '{}',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- The offsets that a load reserved, half-open, in the chunks that its tasks read.
CREATE TABLE IF NOT EXISTS sluice.load_ranges
(
    load_id String,
    topic LowCardinality(String),
    chunk UInt32,
    partition Int32,
    low Int64,
    high Int64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, chunk, partition, low)
SETTINGS non_replicated_deduplication_window = 10000;

-- Of two published loads that hold an offset the one with the higher revision answers for it.
ALTER TABLE sluice.load_ranges ADD COLUMN IF NOT EXISTS revision UInt32 DEFAULT 0;
ALTER TABLE sluice.load_ranges ADD COLUMN IF NOT EXISTS kind LowCardinality(String) DEFAULT 'load';

-- An attempt that read a chunk to its end. The first one of a chunk is the one that counts.
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
SETTINGS non_replicated_deduplication_window = 10000;

-- Offsets that carry no message to load: tombstones, and offsets that the broker does not hand
-- out (absent: transaction markers, aborted, compacted; expired: removed before they were read).
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
SETTINGS non_replicated_deduplication_window = 10000;

-- The account of a load by partition, counted in ClickHouse by the audit.
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
SETTINGS non_replicated_deduplication_window = 10000;

-- Refused messages, whole. Read them through the view `quarantine`, which leaves out what an
-- attempt that does not count had written.
CREATE TABLE IF NOT EXISTS sluice.quarantine_rows
(
    load_id String,
    attempt String,
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    timestamp DateTime64(3, 'UTC'),
    key String COMMENT 'base64 of the key; empty when null',
    value String COMMENT 'base64 of the value',
    headers Array(Tuple(name String, value String)) COMMENT 'values as base64',
    reason LowCardinality(String),
    field String,
    message String,
    version LowCardinality(String) COMMENT 'the version that the message is nearest to',
    code Int32 COMMENT 'error number of ClickHouse; 0 when it was refused before',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, attempt, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- What became of refused messages that a later load has read again: that load is by_load, and
-- outcome is 'loaded', 'refused' (again) or 'gone'. Counts once by_load is published.
CREATE TABLE IF NOT EXISTS sluice.quarantine_resolutions
(
    load_id String COMMENT 'load that had refused the message',
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    by_load String,
    outcome LowCardinality(String),
    repaired Bool COMMENT 'by the repair function of the contract',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- Messages that were loaded only after the contract's repair function had changed them.
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

-- Rows of older loads that a replacing load has removed, counted before it removed them.
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

-- One row an expectation of a load's audit.
CREATE TABLE IF NOT EXISTS sluice.quality_results
(
    load_id String,
    topic LowCardinality(String),
    audit String COMMENT 'which audit of the load; the last one counts',
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
ENGINE = MergeTree ORDER BY (topic, load_id, audit, expectation, column)
SETTINGS non_replicated_deduplication_window = 10000;

-- Great Expectations' document of a load's audit; the last one counts.
CREATE TABLE IF NOT EXISTS sluice.data_docs
(
    load_id String,
    topic LowCardinality(String),
    audit String,
    document String COMMENT 'HTML without outside parts' CODEC(ZSTD(3)),
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- One report a load, as JSON; the last one counts.
CREATE TABLE IF NOT EXISTS sluice.reports
(
    load_id String,
    topic LowCardinality(String),
    owner String,
    report String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (topic, load_id, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- The numbers of a load, as they are emitted: see plugins/sluice/run_metrics.py. Of each load,
-- name and labels the last value counts.
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

-- A load's state: an end state once there is one, else the latest. Its owner: who planned it, or
-- who has adopted it since.
CREATE OR REPLACE VIEW sluice.loads AS
SELECT
    load_id,
    any(e.topic) AS topic,
    argMaxIf(e.owner, e.at, e.state IN ('planned', 'adopted')) AS owner,
    multiIf(
        countIf(e.state = 'published') > 0, 'published',
        countIf(e.state = 'abandoned') > 0, 'abandoned',
        countIf(e.state = 'withdrawn') > 0, 'withdrawn',
        argMaxIf(e.state, e.at, e.state != 'adopted')) AS state,
    argMinIf(e.detail, e.at, e.state = 'planned') AS plan,
    min(e.at) AS planned_at,
    max(e.at) AS last_at
FROM sluice.load_events AS e
GROUP BY load_id;

-- The attempt of each chunk that counts: the first that reached the chunk's end.
CREATE OR REPLACE VIEW sluice.accepted_attempts AS
SELECT load_id, chunk, argMin(c.attempt, (c.at, c.attempt)) AS attempt
FROM sluice.load_chunks AS c
GROUP BY load_id, chunk;

-- Refused messages. Their status: 'quarantined' when their load is published and no later one has
-- read them again; then 'loaded', when that one has loaded them, or 'superseded'; 'pending' while
-- their load is not published, and 'dropped' when it never will be (another load has read the
-- offset since, or will).
CREATE OR REPLACE VIEW sluice.quarantine AS
SELECT
    q.load_id AS load_id, q.topic AS topic, q.partition AS partition, q.offset AS offset,
    q.timestamp AS timestamp, q.reason AS reason, q.field AS field, q.message AS message,
    q.version AS version, q.code AS code, base64Decode(q.key) AS key,
    base64Decode(q.value) AS value,
    arrayMap(h -> (h.name, base64Decode(h.value)), q.headers) AS headers,
    multiIf(l.state IN ('abandoned', 'withdrawn'), 'dropped',
            l.state != 'published', 'pending',
            r.by_load = '', 'quarantined',
            r.outcome = 'loaded', 'loaded', 'superseded') AS status,
    r.by_load AS resolved_by, r.repaired AS repaired, q.at AS at
FROM sluice.quarantine_rows AS q
INNER JOIN sluice.accepted_attempts AS w ON w.load_id = q.load_id AND w.attempt = q.attempt
INNER JOIN sluice.loads AS l ON l.load_id = q.load_id
LEFT JOIN (
    SELECT s.load_id AS load_id, s.partition AS partition, s.offset AS offset,
           any(s.by_load) AS by_load, any(s.outcome) AS outcome, any(s.repaired) AS repaired
    FROM sluice.quarantine_resolutions AS s
    INNER JOIN sluice.loads AS b ON b.load_id = s.by_load
    WHERE b.state = 'published'
    GROUP BY load_id, partition, offset
) AS r ON r.load_id = q.load_id AND r.partition = q.partition AND r.offset = q.offset
SETTINGS join_use_nulls = 0;

-- The name that the view accepted_attempts had before.
DROP VIEW IF EXISTS sluice.winning_attempts;
