"""What is kept in ClickHouse: the ledger, tables, the quarantine. Owns clickhouse-connect."""
