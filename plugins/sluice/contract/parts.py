"""The parts of a contract other than its message: columns, versions, table, rules, breaker."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from sluice.errors import ContractError

Severity = Literal["critical", "warning"]


class ColumnOptions(Struct, frozen=True, kw_only=True):
    """ClickHouse options of one field; see :func:`column`."""

    type: str | None = None
    name: str | None = None
    codec: str | None = None
    default: str | None = None
    ttl: str | None = None
    low_cardinality: bool = False
    smallest: bool = False
    truncate: bool = False
    comment: str | None = None


def column(
    type: str | None = None,
    *,
    name: str | None = None,
    codec: str | None = None,
    default: str | None = None,
    ttl: str | None = None,
    low_cardinality: bool = False,
    smallest: bool = False,
    truncate: bool = False,
    comment: str | None = None,
) -> Meta:
    """ClickHouse options for a field: ``amount: Annotated[Decimal, column("Decimal(18, 4)")]``.

    Args:
        type: the column's type in ClickHouse syntax; replaces the default type.
        name: takes the place of the field's name in its column's name, which is the path of the
            field joined with ``_``. Of a nested Struct, in the names of all its columns; of a
            field in a list of Structs, in the name of the tuple's element.
        codec: for example ``"Delta, ZSTD"``.
        default: SQL expression for DEFAULT.
        ttl: SQL expression for the column's TTL.
        low_cardinality: store a string field as LowCardinality.
        smallest: store an integer in the smallest type that holds its bounds
            (``Meta(ge=0, le=200)`` gives UInt8). Wider bounds later require a wider column.
        truncate: store a time that is finer than the column without its surplus digits. Otherwise
            such a message is refused.
        comment: the column's comment; by default, the attribute's text in the class docstring.
    """
    options = ColumnOptions(
        type=type,
        name=name,
        codec=codec,
        default=default,
        ttl=ttl,
        low_cardinality=low_cardinality,
        smallest=smallest,
        truncate=truncate,
        comment=comment,
    )
    return Meta(extra={"column": options})


class Version(Struct, frozen=True, kw_only=True):
    """One version of a message, described by its changes since the previous version.

    Attributes:
        name: ``major.minor``. A minor version only adds fields.
        released: the day on which the first producer sent it.
        added: field that this version added → the value that messages of older versions get
            for it. The value must be immutable.
        renamed: old name → name since this version.
        removed: fields that this version removed; their columns stay.
        lift: converts a message of the previous version to this one, where the other
            attributes cannot express the change. Takes a JSON object whose fields are already
            renamed (numbers with a fraction are ``Decimal``) and returns one in the form of this
            version. Older messages pass through the steps of each version in turn, which takes
            several times as long as reading a current message.
    """

    name: str
    released: date
    added: Mapping[str, Any] = {}
    renamed: Mapping[str, str] = {}
    removed: tuple[str, ...] = ()
    lift: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor number, for comparison: 1.10 is later than 1.9."""
        major, minor = self.name.split(".")
        return int(major), int(minor)


class Table(Struct, frozen=True, kw_only=True):
    """The ClickHouse table that a topic is loaded into. Expressions are SQL over its columns.

    Attributes:
        name: name of the table, without its database.
        order_by: columns or expressions of the order key.
        partition_by: expression of the partition key; empty for none.
        engine: ``MergeTree``, or ``ReplacingMergeTree(<version column>)``, which keeps only the
            newest row of each order key. With the cluster setting, their Replicated forms are used.
        ttl: expression after which rows expire; empty for none.
        indexes: name → expression, type and granularity of a skip index, such as
            ``{"by_email": "customer_email TYPE bloom_filter GRANULARITY 4"}``.
        settings: settings of the table.
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
        """The version column of a ReplacingMergeTree; empty if the table keeps all rows."""
        match = re.fullmatch(r"ReplacingMergeTree\((\w+)\)", self.engine)
        return match[1] if match else ""


class Rule(Struct, frozen=True, kw_only=True):
    """A quality rule that the contract defines.

    Attributes:
        name: what is true of a good row, as a sentence.
        fails_when: SQL over the table's columns that is true for a bad row.
        severity: a failed critical rule holds the load; a failed warning is only reported.
    """

    name: str
    fails_when: str
    severity: Severity = "critical"

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.fails_when.strip():
            raise ContractError("a quality rule needs a name and an expression `fails_when`")
        if self.severity not in (known := get_args(Severity)):
            raise ContractError(
                f"the severity of rule {self.name!r} is {' or '.join(known)}, not {self.severity!r}"
            )


class Breaker(Struct, frozen=True, kw_only=True):
    """The circuit breaker: how many refused messages stop a load.

    Attributes:
        max_refused_share: nothing is published if a larger share of the messages is refused.
        min_refused: fewer refused messages than this never stop a load.
        max_consecutive: this many refused messages in a row stop a drain immediately, because
            the topic then probably carries different data.
    """

    max_refused_share: float = 0.01
    min_refused: int = 100
    max_consecutive: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.max_refused_share <= 1:
            raise ContractError(
                "the breaker's `max_refused_share` is a share from 0 to 1 (0.01 is one percent),"
                f" not {self.max_refused_share}"
            )
        for name in ("min_refused", "max_consecutive"):
            if getattr(self, name) < 0:
                raise ContractError(f"the breaker's `{name}` must not be negative")

    def trips(self, refused: int, read: int) -> bool:
        """Whether too many of the messages that were read were refused."""
        return refused >= self.min_refused and refused > self.max_refused_share * read
