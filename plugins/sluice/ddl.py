"""Statements made from a contract. Text only: nothing here talks to a server."""

import re

from msgspec import Struct

from sluice.columns import STAGED, Column, columns_of, literal, quoted, staged_type
from sluice.contract import Contract, Table
from sluice.errors import ContractError

LINEAGE: dict[str, tuple[str, str]] = {
    "_topic": ("LowCardinality(String)", "Kafka topic"),
    "_partition": ("Int32", "Kafka partition"),
    "_offset": ("Int64", "Kafka offset; with topic and partition, unique over all loads"),
    "_timestamp": ("DateTime64(3, 'UTC')", "Kafka timestamp of the message"),
    "_schema_version": ("LowCardinality(String)", "version that the message came in"),
    "_correlation_id": ("String", "from the message's headers; empty when there was none"),
    "_trace_id": ("String", "W3C trace id from the headers; empty when there was none"),
    "_span_id": ("String", "W3C parent span id from the headers; empty when there was none"),
    "_load_id": ("LowCardinality(String)", "load that published the row"),
    "_loaded_at": ("DateTime64(3, 'UTC')", "when the row became visible"),
}
"""Columns that every target table has besides its contract's: name → type, comment."""

STAGED_COLUMNS: dict[str, str] = {
    "_partition": "Int32",
    "_offset": "Int64",
    "_timestamp": "Int64",
    "_schema_version": "LowCardinality(String)",
    "_correlation_id": "String",
    "_trace_id": "String",
    "_span_id": "String",
}
"""What is staged beside the message, in the order of a staged row."""

DEDUPLICATION_WINDOW = 10_000
"""Inserts that a table remembers by their token."""

_STAGING_SETTINGS = {
    "non_replicated_deduplication_window": DEDUPLICATION_WINDOW,
    # The table is read twice and dropped: merging its parts would be wasted, and so would be
    # slowing inserts down because there are many.
    "max_bytes_to_merge_at_max_space_in_pool": 1,
    "max_bytes_to_merge_at_min_space_in_pool": 1,
    "parts_to_delay_insert": 1_000_000,
    "parts_to_throw_insert": 1_000_000,
}


class ClickHouseSchemaMapper:
    """The ``CREATE TABLE`` of a contract, or of a Struct with a table chosen for it.

    Example::

        ClickHouseSchemaMapper(contract.message, contract.table).create_table()
    """

    def __init__(self, struct: type[Struct], table: Table) -> None:
        self.struct, self.table = struct, table
        self.columns: list[Column] = columns_of(struct)
        self._check_keys()

    @classmethod
    def of(cls, contract: Contract) -> "ClickHouseSchemaMapper":
        """The mapper of a contract's message and table."""
        return cls(contract.message, contract.table)

    def create_table(self) -> str:
        """The statement, ending in a newline, without a semicolon."""
        lines = [_column_line(c) for c in self.columns]
        lines += [f"{quoted(n)} {t} COMMENT {literal(text)}" for n, (t, text) in LINEAGE.items()]
        lines.append("INDEX `_by_offset` (_partition, _offset) TYPE minmax GRANULARITY 1")
        table = self.table
        parts = [
            f"CREATE TABLE IF NOT EXISTS {quoted(table.name)}\n(\n    " + ",\n    ".join(lines),
            f")\nENGINE = {table.engine}",
        ]
        if table.partition_by:
            parts.append(f"PARTITION BY {table.partition_by}")
        parts.append(f"ORDER BY ({', '.join(table.order_by)})")
        if table.ttl:
            parts.append(f"TTL {table.ttl}")
        settings = {
            "non_replicated_deduplication_window": DEDUPLICATION_WINDOW,
            **table.settings,
        }
        shown = (f"{k} = {literal(v) if isinstance(v, str) else v}" for k, v in settings.items())
        parts.append(f"SETTINGS {', '.join(sorted(shown))}")
        return "\n".join(parts) + "\n"

    def create_staging(self, table: str) -> str:
        """A load's own table: rows as they were decoded, by the attempt that wrote them."""
        columns = ["`_attempt` LowCardinality(String)"]
        columns += [f"{quoted(name)} {type_}" for name, type_ in STAGED_COLUMNS.items()]
        columns.append(f"{quoted(STAGED)} {staged_type(self.struct)}")
        body = ",\n    ".join(columns)
        settings = ", ".join(f"{name} = {value}" for name, value in _STAGING_SETTINGS.items())
        return (
            f"CREATE TABLE {table}\n(\n    {body}\n)\nENGINE = MergeTree\n"
            f"ORDER BY (_attempt, _partition, _offset)\nSETTINGS {settings}\n"
        )

    def published_columns(self) -> dict[str, str]:
        """Target column → SQL over a staged row, with query parameters ``topic`` and ``load``."""
        selected = {column.name: column.source for column in self.columns}
        for name in LINEAGE:
            selected[name] = quoted(name)
        selected["_topic"] = "{topic:String}"
        selected["_load_id"] = "{load:String}"
        selected["_timestamp"] = "fromUnixTimestamp64Milli(_timestamp, 'UTC')"
        selected["_loaded_at"] = "now64(3, 'UTC')"
        return selected

    def _check_keys(self) -> None:
        by_name = {column.name: column for column in self.columns}
        if clash := by_name.keys() & LINEAGE.keys():
            raise ContractError(
                f"{self.struct.__name__}: {', '.join(sorted(clash))} is the name of a lineage"
                " column; rename the field"
            )
        for key in self.table.order_by:
            for name in re.findall(r"\b[A-Za-z_]\w*\b(?!\()", key):
                if (column := by_name.get(name)) and column.nullable:
                    raise ContractError(
                        f"table {self.table.name!r}: order key {name!r} may be null;"
                        " give the field a default, or order by another"
                    )
            if re.fullmatch(r"\w+", key) and key not in by_name and key not in LINEAGE:
                raise ContractError(f"table {self.table.name!r} has no column {key!r} to order by")


def _column_line(column: Column) -> str:
    line = f"{quoted(column.name)} {column.form.type}"
    options = column.options
    if options.default:
        line += f" DEFAULT {options.default}"
    if column.comment:
        line += f" COMMENT {literal(column.comment)}"
    if options.codec:
        line += f" CODEC({options.codec})"
    if options.ttl:
        line += f" TTL {options.ttl}"
    return line


def file_text(contract: Contract) -> str:
    """What ``sql/<topic>.sql`` holds."""
    head = (
        f"-- Table of topic {contract.topic}, made from its contract by 'sluice ddl --write'.\n"
        "-- Do not edit: change the contract, and write it again.\n\n"
    )
    return head + ClickHouseSchemaMapper.of(contract).create_table().rstrip() + ";\n"


def statements(text: str) -> list[str]:
    """The statements of an SQL file whose statements end in ``;`` at the end of a line."""
    plain = re.sub(r"^\s*--.*$", "", text, flags=re.M)
    return [s.strip() for s in re.split(r";\s*(?:\n|$)", plain) if s.strip()]
