"""What a contract is made of besides its message: columns, versions, table, rules, breaker."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal

import msgspec
from msgspec import Meta, Struct

Severity = Literal["critical", "warning"]


class ColumnOptions(Struct, frozen=True, kw_only=True):
    """ClickHouse choices for one field; see :func:`column`."""

    type: str | None = None
    codec: str | None = None
    default: str | None = None
    ttl: str | None = None
    low_cardinality: bool = False
    smallest: bool = False
    comment: str | None = None


def column(
    type: str | None = None,
    *,
    codec: str | None = None,
    default: str | None = None,
    ttl: str | None = None,
    low_cardinality: bool = False,
    smallest: bool = False,
    comment: str | None = None,
) -> Meta:
    """ClickHouse choices for a field: ``amount: Annotated[Decimal, column("Decimal(18, 4)")]``.

    Args:
        type: the column's type, written as ClickHouse writes it; replaces the default.
        codec: for example ``"Delta, ZSTD"``.
        default: an SQL expression for DEFAULT.
        ttl: an SQL expression for the column's TTL.
        low_cardinality: store a string field as LowCardinality.
        smallest: store an integer in the smallest type that holds its bounds
            (``Meta(ge=0, le=200)`` gives UInt8). Wider bounds later mean a wider column.
        comment: the column's comment; by default what the class says of the attribute.
    """
    options = ColumnOptions(
        type=type,
        codec=codec,
        default=default,
        ttl=ttl,
        low_cardinality=low_cardinality,
        smallest=smallest,
        comment=comment,
    )
    return Meta(extra={"column": options})


class Version(Struct, frozen=True, kw_only=True):
    """One version of a message, told as what it changed since the version before.

    Attributes:
        name: ``major.minor``. A minor version only adds fields.
        released: the day the first producer sent it.
        added: each field that came with this version, and the value that messages of
            older versions get for it. The value must be immutable.
        renamed: older name → name since this version.
        removed: names of fields that are gone since this version; their columns stay.
        lift: for what cannot be said otherwise. Gets a message of the version before as a
            JSON object, after the renaming (numbers with a fraction are ``Decimal``), and
            returns it in the form of this version. Messages older than that pass through
            each version's steps in turn; they cost several times as much to read.
    """

    name: str
    released: date
    added: Mapping[str, Any] = {}
    renamed: Mapping[str, str] = {}
    removed: tuple[str, ...] = ()
    lift: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def number(self) -> tuple[int, int]:
        """For comparing: 1.10 comes after 1.9."""
        major, minor = self.name.split(".")
        return int(major), int(minor)


class Table(Struct, frozen=True, kw_only=True):
    """The ClickHouse table that a topic is loaded into. Expressions are SQL over its columns.

    Attributes:
        engine: ``MergeTree``, or ``ReplacingMergeTree(<version column>)``, of which the newest
            row of an order key stays; their Replicated forms come from the cluster setting.
        indexes: name → expression, type and granularity, such as
            ``{"by_email": "customer_email TYPE bloom_filter GRANULARITY 4"}``.
    """

    name: str
    order_by: tuple[str, ...]
    partition_by: str = ""
    engine: str = "MergeTree"
    ttl: str = ""
    indexes: Mapping[str, str] = {}
    settings: Mapping[str, int | str] = msgspec.field(
        default_factory=lambda: {"index_granularity": 8192}
    )

    @property
    def replaces(self) -> str:
        """The column by which the newest row of a key replaces the older; empty when all stay."""
        match = re.fullmatch(r"ReplacingMergeTree\((\w+)\)", self.engine)
        return match[1] if match else ""


class Rule(Struct, frozen=True, kw_only=True):
    """A quality rule of the contract's own.

    Attributes:
        name: what holds for a good row, as a sentence.
        fails_when: SQL over the table's columns that is true for a bad row.
        severity: a critical rule holds the load back, a warning is reported.
    """

    name: str
    fails_when: str
    severity: Severity = "critical"


class Breaker(Struct, frozen=True, kw_only=True):
    """When too much was refused.

    Attributes:
        max_refused_share: share of the messages above which nothing is published.
        min_refused: fewer refused messages never stop a load.
        max_consecutive: so many refused in a row, with no good one between, stop a drain at
            once: the topic has become something else.
    """

    max_refused_share: float = 0.01
    min_refused: int = 100
    max_consecutive: int = 10_000

    def trips(self, refused: int, read: int) -> bool:
        """Whether so many refused of so many read are too many."""
        return refused >= self.min_refused and refused > self.max_refused_share * read
