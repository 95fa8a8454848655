"""The SQL statements of a contract's tables, as text; nothing here connects to a server.

In a cluster a table consists of two: ``<table>_local``, replicated on every node, and ``<table>``,
which distributes over the shards. Rows are inserted and read through the second one.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as mi

from sluice.contract.columns import STAGED, Column, columns_of
from sluice.contract.default_sql import default_sql
from sluice.contract.definition import Contract
from sluice.contract.inspection import unwrap
from sluice.contract.parts import Table
from sluice.contract.sql_type import SqlType
from sluice.contract.type_map import staged_type
from sluice.contract.version_column import check_version_column
from sluice.contract.version_history import implied_fields
from sluice.contract.versions import origin_of
from sluice.errors import ContractError
from sluice.sql import quote_identifier, quote_string

LINEAGE: dict[str, tuple[str, str]] = {
    "_topic": ("LowCardinality(String)", "Kafka topic"),
    "_partition": ("Int32", "Kafka partition"),
    "_offset": ("Int64", "Kafka offset; with topic and partition, unique over all loads"),
    "_timestamp": ("DateTime64(3, 'UTC')", "Kafka timestamp of the message"),
    "_schema_version": ("LowCardinality(String)", "schema version of the message as sent"),
    "_correlation_id": ("String", "correlation id of the message; empty if it has none"),
    "_trace_id": ("String", "W3C trace id of the message; empty if it has none"),
    "_span_id": ("String", "W3C id of the producer's span; empty if the message has none"),
    "_load_id": ("LowCardinality(String)", "load that published the row"),
    "_loaded_at": ("DateTime64(3, 'UTC')", "when the row became visible"),
}
"""Columns that every target table has in addition to its contract's: name → type, comment."""

STAGED_COLUMNS: dict[str, str] = {
    "_partition": "Int32",
    "_offset": "Int64",
    "_timestamp": "Int64",
    "_schema_version": "LowCardinality(String)",
    "_correlation_id": "String",
    "_trace_id": "String",
    "_span_id": "String",
}
"""Staged columns other than the load, the attempt and the message, in the order of a staged row."""

DEDUPLICATION_WINDOW = 10_000
"""Number of recent insert tokens that a table keeps for deduplication."""

WORK_TABLE = "Sluice work table"
"""Comment of every table and view that Sluice creates for itself and drops again: only these are
ever swept."""

_STAGING_SETTINGS = {
    "non_replicated_deduplication_window": DEDUPLICATION_WINDOW,
    # A partition is read twice and then dropped, so merging its parts is wasted work, and inserts
    # need not slow down because of their number.
    "max_bytes_to_merge_at_max_space_in_pool": 1,
    "max_bytes_to_merge_at_min_space_in_pool": 1,
    "max_parts_in_total": 1_000_000,
    "parts_to_delay_insert": 1_000_000,
    "parts_to_throw_insert": 1_000_000,
}


def create_staging(table: str, columns: Mapping[str, str], comment: str) -> str:
    """The statement that creates a staging table.

    Args:
        table: its qualified and quoted name.
        columns: name → type, without the number of the load.
    """
    body = ",\n    ".join(
        f"{quote_identifier(name)} {type_}"
        for name, type_ in {"_load": "UInt64", **columns}.items()
    )
    settings = ", ".join(f"{name} = {value}" for name, value in _STAGING_SETTINGS.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {table}\n(\n    {body}\n)\nENGINE = MergeTree\n"
        f"PARTITION BY _load\nORDER BY (_attempt, _partition, _offset)\n"
        f"SETTINGS {settings}\nCOMMENT {quote_string(comment)}\n"
    )


def staging_comment(topic: str) -> str:
    """Comment of the staging tables of a topic."""
    return f"Sluice staging table of topic {topic}"


class ClickHouseSchemaMapper:
    """Generates the tables of a contract, or of a Struct and a ``Table``.

    Example::

        ClickHouseSchemaMapper(contract.message, contract.table).create_table()

    Args:
        struct: the message class.
        table: name, engine, order key and options of the table.
        fillings: field → value that messages without it get. They become column defaults, so that
            rows older than the column read as if they had been upgraded.
        cluster: name of the ClickHouse cluster; empty for a single server.
    """

    def __init__(
        self,
        struct: type[Struct],
        table: Table,
        fillings: Mapping[str, Any] = {},
        cluster: str = "",
    ) -> None:
        self.struct, self.table, self.cluster = struct, table, cluster
        self.columns: list[Column] = columns_of(struct)
        self._fillings = _by_path(struct, fillings)
        self._check_keys()

    @classmethod
    def of(cls, contract: Contract, cluster: str = "") -> "ClickHouseSchemaMapper":
        """The mapper of a contract's message and table."""
        implied = implied_fields(contract.message, contract.versions)
        fillings = {n: v for n, v in implied.items() if v is not msgspec.NODEFAULT}
        fillings |= origin_of(contract, contract.versions[0]).filled
        return cls(contract.message, contract.table, fillings, cluster)

    @property
    def shape(self) -> str:
        """Digest of the staged message's type; equal in two deployments that stage the same."""
        return hashlib.sha256(str(staged_type(self.struct)).encode()).hexdigest()[:16]

    @property
    def stored_in(self) -> str:
        """Name of the table that holds the rows."""
        return f"{self.table.name}_local" if self.cluster else self.table.name

    def create_tables(self) -> list[str]:
        """All statements, in the order in which they must be run."""
        return [self.create_table(), *([self.create_distributed()] if self.cluster else [])]

    def create_table(self, name: str = "") -> str:
        """The table that holds the rows; the statement ends with a newline, not a semicolon."""
        lines = [*self.column_lines().values(), *self.index_lines().values()]
        table, name = self.table, name or quote_identifier(self.stored_in)
        engine = table.engine if not self.cluster else f"Replicated{table.engine}"
        parts = [
            f"CREATE TABLE IF NOT EXISTS {name}{self._on_cluster}\n(\n    " + ",\n    ".join(lines),
            f")\nENGINE = {engine}",
        ]
        if table.partition_by:
            parts.append(f"PARTITION BY {table.partition_by}")
        parts.append(f"ORDER BY ({', '.join(table.order_by)})")
        if table.ttl:
            parts.append(f"TTL {table.ttl}")
        settings = sorted(f"{name} = {value}" for name, value in self.settings().items())
        parts.append(f"SETTINGS {', '.join(settings)}")
        return "\n".join(parts) + "\n"

    def create_distributed(self) -> str:
        """The table over all shards. In a replacing table, rows of one key stay in one shard."""
        replacing = self.table.replaces
        key = self.table.order_by if replacing else ("_topic", "_partition", "_offset")
        return (
            f"CREATE TABLE IF NOT EXISTS {quote_identifier(self.table.name)}{self._on_cluster}\n"
            f"AS {quote_identifier(self.stored_in)}\n"
            f"ENGINE = Distributed({quote_string(self.cluster)}, currentDatabase(),"
            f" {quote_string(self.stored_in)}, sipHash64({', '.join(key)}))\n"
        )

    def column_lines(self) -> dict[str, str]:
        """Column → its declaration; the message's columns first."""
        lines = {column.name: self._column_line(column) for column in self.columns}
        return lines | {
            name: f"{quote_identifier(name)} {type_} COMMENT {quote_string(text)}"
            for name, (type_, text) in LINEAGE.items()
        }

    def index_lines(self) -> dict[str, str]:
        """Skip index → its declaration."""
        indexes = {"_by_offset": "(_partition, _offset) TYPE minmax GRANULARITY 1"}
        return {
            name: f"INDEX {quote_identifier(name)} {text}"
            for name, text in (indexes | dict(self.table.indexes)).items()
        }

    def settings(self) -> dict[str, str]:
        """Setting of the table → its value as SQL."""
        window = "replicated" if self.cluster else "non_replicated"
        settings = {f"{window}_deduplication_window": DEDUPLICATION_WINDOW, **self.table.settings}
        return {k: quote_string(v) if isinstance(v, str) else str(v) for k, v in settings.items()}

    @property
    def _on_cluster(self) -> str:
        return f" ON CLUSTER {quote_identifier(self.cluster)}" if self.cluster else ""

    def create_staging(self, table: str, comment: str = WORK_TABLE) -> str:
        """A table of decoded messages, ordered by the attempt that wrote them, with a partition for
        each load.

        Args:
            table: its qualified and quoted name.
            comment: says what it is for; by default it is temporary.
        """
        columns = {"_attempt": "LowCardinality(String)", **STAGED_COLUMNS}
        return create_staging(table, columns | {STAGED: str(staged_type(self.struct))}, comment)

    def published_columns(self) -> dict[str, str]:
        """Target column → SQL over a staged row, with query parameters ``topic`` and ``load``."""
        selected = {column.name: column.source for column in self.columns}
        for name in LINEAGE:
            selected[name] = quote_identifier(name)
        selected["_topic"] = "{topic:String}"
        selected["_load_id"] = "{load:String}"
        selected["_timestamp"] = "fromUnixTimestamp64Milli(_timestamp, 'UTC')"
        selected["_loaded_at"] = "now64(3, 'UTC')"
        return selected

    def _check_keys(self) -> None:
        by_name = {column.name: column for column in self.columns}
        table = self.table.name
        if clashes := sorted(by_name.keys() & LINEAGE.keys()):
            raise ContractError(
                f"{', '.join(clashes)} is the name of a lineage column; rename the field of"
                f" {self.struct.__name__}",
                field=".".join(by_name[clashes[0]].path),
            )
        for key in self.table.order_by:
            for name in re.findall(r"\b[A-Za-z_]\w*\b(?!\()", key):
                if (column := by_name.get(name)) and column.nullable:
                    raise ContractError(
                        f"order key {name!r} of table {table!r} may be null; give the field a"
                        " default, or order by another column",
                        field=".".join(column.path),
                    )
            if re.fullmatch(r"\w+", key) and key not in by_name and key not in LINEAGE:
                raise ContractError(f"table {table!r} has no such column to order by", field=key)
        if self.table.replaces:
            check_version_column(self.table, self.columns)

    def _column_line(self, column: Column) -> str:
        line = f"{quote_identifier(column.name)} {column.type.stored}"
        options = column.options
        default = options.default or _default(column, self._fillings.get(column.path))
        if default:
            line += f" DEFAULT {default}"
        if column.comment:
            line += f" COMMENT {quote_string(column.comment)}"
        if options.codec:
            line += f" CODEC({options.codec})"
        if options.ttl:
            line += f" TTL {options.ttl}"
        return line


def _by_path(struct: type[Struct], fillings: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Filling values by column path, with the Structs taken apart that have several columns."""
    by_path: dict[tuple[str, ...], Any] = {}
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    for field in info.fields:
        if field.name not in fillings:
            continue
        value = fillings[field.name]
        inner, options, _ = unwrap(field.type)
        by_path[(field.encode_name,)] = value
        if isinstance(inner, mi.StructType) and not options.type and value is not None:
            by_path[(field.encode_name,)] = True  # of the column that says whether it is present
            parts = {f: getattr(value, f) for f in value.__struct_fields__}
            nested = _by_path(inner.cls, parts)
            by_path |= {(field.encode_name, *path): v for path, v in nested.items()}
    return by_path


def _default(column: Column, value: Any) -> str:
    """A filling value as SQL; empty if it equals the default of the column's type."""
    stored = column.type.stored
    if value is None or (not value and not column.nullable and _defaults_to(value, stored.plain)):
        return ""
    try:
        return default_sql(value, stored)
    except TypeError:
        return ""


def _defaults_to(empty: Any, stored: SqlType) -> bool:
    """Whether a column of a type is empty by default in the way that an empty or zero value is."""
    if stored.name == "String":
        return isinstance(empty, str | bytes)
    if isinstance(empty, float):
        return repr(empty) == "0.0"
    return stored.enum_names is None  # the default of an Enum is its first member


def file_text(contract: Contract) -> str:
    """The text of ``sql/<topic>.sql``."""
    head = (
        f"-- Table of topic {contract.topic}. Generated by 'sluice ddl --write'; do not edit.\n"
        "-- To change it, change the contract and run the command again.\n\n"
    )
    return head + ClickHouseSchemaMapper.of(contract).create_table().rstrip() + ";\n"


def statements(text: str) -> list[str]:
    """The statements of an SQL file in which each one ends with ``;`` at the end of a line."""
    plain = re.sub(r"^\s*--.*$", "", text, flags=re.M)
    return [s.strip() for s in re.split(r";\s*(?:\n|$)", plain) if s.strip()]
