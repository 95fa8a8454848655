"""Data in ClickHouse: the ledger, the target tables, the quarantine. Owns clickhouse-connect."""
