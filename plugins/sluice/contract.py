"""A contract: everything the system knows about one topic, in one file under ``include/schemas``.

Light to import: the DAG processor reads every contract each time it parses the DAG files.
"""

import hashlib
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from random import Random
from typing import Any, Generic, Literal

import msgspec
from msgspec import Meta, Struct
from typing_extensions import TypeVar

from sluice.contract_check import check
from sluice.errors import ContractError

M = TypeVar("M", bound=Struct, default=Struct, covariant=True)  # noqa: PLC0105
"""The class of a contract's messages."""

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


class Contract(Struct, Generic[M], frozen=True, kw_only=True):
    """What a topic carries and what is made of it.

    Attributes:
        topic: the Kafka topic; also the name in DAG ids and commands.
        subject: the subject in the schema registry.
        message: the current version's Struct (frozen, documented).
        versions: every version still in the log, oldest first; the last one is current.
        key: field that identifies a message to a person; used in logs and searches.
        table: the ClickHouse table.
        owner: team to call.
        sample: makes one realistic message of the current version, for demos and tests; by
            default one of random values that fit the types.
        rules: quality rules beyond those that follow from the types.
        breaker: the highest share of refused messages that a load may publish with.
        fresh_within: how old the newest message of a load of everything new may be; older is a
            warning. None does not ask.
        sensitive: fields whose values are kept out of reports, logs, and pages of those who may
            not see payloads.
        repair: gets the value of a refused message and returns one that may pass; asked only when
            messages in quarantine are replayed. The original stays in quarantine.
        protobuf: the generated class that reads Protobuf payloads, when the topic has them.
        schedule: cron expression of the load DAG, in UTC; None for manual runs only.
        on_expired: what to do when retention removed offsets before they were loaded:
            ``fail``, or ``record`` them as absent and go on.
    """

    topic: str
    subject: str
    message: type[M]
    versions: tuple[Version, ...]
    key: str
    table: Table
    owner: str
    sample: Callable[[Random], M] | None = None
    rules: tuple[Rule, ...] = ()
    breaker: Breaker = Breaker()
    fresh_within: timedelta | None = None
    sensitive: frozenset[str] = frozenset()
    repair: Callable[[bytes], bytes] | None = None
    protobuf: type | None = None
    schedule: str | None = "0 * * * *"
    on_expired: Literal["fail", "record"] = "fail"

    @property
    def version(self) -> Version:
        """The current version."""
        return self.versions[-1]

    @property
    def digest(self) -> str:
        """Changes when the file that defines its messages does; the same in every process."""
        try:
            source = inspect.getsource(sys.modules[self.message.__module__])
        except (KeyError, OSError, TypeError):
            return ""  # defined without a file
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    def example(self, random: Random) -> M:
        """A message of the current version: what ``sample`` makes, or random values.

        Raises:
            ContractError: a field whose values cannot be made up; give the contract a sample.
        """
        if self.sample:
            return self.sample(random)
        from sluice.examples import example_of

        return example_of(self.message, random)

    def __post_init__(self) -> None:
        check(self)


def discover(package: str = "include.schemas") -> dict[str, Contract]:
    """All contracts by topic: every module of ``package`` that has a ``contract``.

    Raises:
        ContractError: two modules claim one topic or table, or a module cannot be imported.
    """
    found: dict[str, Contract] = {}
    tables: dict[str, str] = {}
    for info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__)):
        contract = getattr(importlib.import_module(f"{package}.{info.name}"), "contract", None)
        if not isinstance(contract, Contract):
            continue
        if contract.topic in found:
            raise ContractError(f"topic {contract.topic!r} has two contracts under {package}")
        if other := tables.get(contract.table.name):
            raise ContractError(
                f"topics {other!r} and {contract.topic!r} both load into {contract.table.name!r}"
            )
        found[contract.topic] = contract
        tables[contract.table.name] = contract.topic
    return dict(sorted(found.items()))


def find(topic: str, package: str = "include.schemas") -> Contract:
    """The contract of ``topic``.

    Raises:
        ContractError: there is none; the message lists those that there are.
    """
    contracts = discover(package)
    if topic not in contracts:
        known = ", ".join(contracts) or "none"
        raise ContractError(f"no contract for topic {topic!r} under {package} (known: {known})")
    return contracts[topic]
