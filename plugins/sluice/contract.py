"""A contract: everything the system knows about one topic, in one file under ``include/schemas``.

Light to import: the DAG processor reads every contract each time it parses the DAG files.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from datetime import date
from random import Random
from typing import Any, Literal

import msgspec
from msgspec import Meta, Struct

from sluice.errors import ContractError

Severity = Literal["critical", "warning"]


class ColumnOptions(Struct, frozen=True, kw_only=True):
    """ClickHouse choices for one field; see :func:`column`."""

    type: str | None = None
    codec: str | None = None
    default: str | None = None
    ttl: str | None = None
    low_cardinality: bool = False


def column(
    type: str | None = None,
    *,
    codec: str | None = None,
    default: str | None = None,
    ttl: str | None = None,
    low_cardinality: bool = False,
) -> Meta:
    """ClickHouse choices for a field: ``amount: Annotated[Decimal, column("Decimal(18, 4)")]``.

    Args:
        type: the column's type, written as ClickHouse writes it; replaces the default.
        codec: for example ``"Delta, ZSTD"``.
        default: an SQL expression for DEFAULT.
        ttl: an SQL expression for the column's TTL.
        low_cardinality: store a string field as LowCardinality.
    """
    options = ColumnOptions(
        type=type, codec=codec, default=default, ttl=ttl, low_cardinality=low_cardinality
    )
    return Meta(extra={"column": options})


class Version(Struct, frozen=True, kw_only=True):
    """One version of a message, told as what it added to the version before.

    Attributes:
        name: ``major.minor``. A minor version only adds fields.
        released: the day the first producer sent it.
        added: each field that came with this version, and the value that messages of
            older versions get for it. The value must be immutable.
    """

    name: str
    released: date
    added: Mapping[str, Any] = {}

    @property
    def number(self) -> tuple[int, int]:
        """For comparing: 1.10 comes after 1.9."""
        major, minor = self.name.split(".")
        return int(major), int(minor)


class Table(Struct, frozen=True, kw_only=True):
    """The ClickHouse table that a topic is loaded into. Expressions are SQL over its columns."""

    name: str
    order_by: tuple[str, ...]
    partition_by: str = ""
    engine: str = "MergeTree"
    ttl: str = ""
    settings: Mapping[str, int | str] = msgspec.field(
        default_factory=lambda: {"index_granularity": 8192}
    )


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
    """When to stop before publishing: over ``max_refused_share`` and at least ``min_refused``."""

    max_refused_share: float = 0.01
    min_refused: int = 100

    def trips(self, refused: int, read: int) -> bool:
        """Whether so many refused of so many read are too many."""
        return refused >= self.min_refused and refused > self.max_refused_share * read


class Contract(Struct, frozen=True, kw_only=True):
    """What a topic carries and what is made of it.

    Attributes:
        topic: the Kafka topic; also the name in DAG ids and commands.
        subject: the subject in the schema registry.
        message: the current version's Struct (frozen, documented).
        versions: every version still in the log, oldest first; the last one is current.
        key: field that identifies a message to a person; used in logs and searches.
        table: the ClickHouse table.
        owner: team to call.
        sample: makes one realistic message of the current version, for demos and tests.
        rules: quality rules beyond those that follow from the types.
        breaker: the highest share of refused messages that a load may publish with.
        sensitive: fields masked in reports.
        schedule: cron expression of the load DAG, in UTC; None for manual runs only.
        on_expired: what to do when retention removed offsets before they were loaded:
            ``fail``, or ``record`` them as absent and go on.
    """

    topic: str
    subject: str
    message: type[Struct]
    versions: tuple[Version, ...]
    key: str
    table: Table
    owner: str
    sample: Callable[[Random], Struct]
    rules: tuple[Rule, ...] = ()
    breaker: Breaker = Breaker()
    sensitive: frozenset[str] = frozenset()
    schedule: str | None = "0 * * * *"
    on_expired: Literal["fail", "record"] = "fail"

    @property
    def version(self) -> Version:
        """The current version."""
        return self.versions[-1]

    def __post_init__(self) -> None:
        check(self)


def check(contract: Contract) -> None:
    """Refuse a contract that would lose data or fail later.

    Raises:
        ContractError: naming the topic and what to change.
    """

    def refuse(why: str) -> None:
        raise ContractError(f"contract of topic {contract.topic!r}: {why}")

    message = contract.message
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", contract.topic):
        refuse("the topic's name has characters that Kafka does not allow")
    if not message.__struct_config__.frozen:
        refuse(f"{message.__name__} must be frozen: class {message.__name__}(Struct, frozen=True)")
    fields = {f.name: f for f in msgspec.structs.fields(message)}
    if contract.key not in fields:
        refuse(f"key {contract.key!r} is not a field of {message.__name__}")
    if unknown := contract.sensitive - fields.keys():
        refuse(f"sensitive names no field of {message.__name__}: {', '.join(sorted(unknown))}")
    if not contract.versions:
        refuse("versions is empty; the current version is its last entry")
    for version in contract.versions:
        if not re.fullmatch(r"\d+\.\d+", version.name):
            refuse(f"version {version.name!r} is not of the form major.minor")
    numbers = [version.number for version in contract.versions]
    if numbers != sorted(set(numbers)):
        refuse("versions must be listed oldest first, each once")
    if contract.versions[0].added:
        refuse("the first version adds nothing: there is no older message to fill")
    for version in contract.versions[1:]:
        for name, value in version.added.items():
            if name not in fields:
                refuse(f"version {version.name} adds {name!r}, no field of {message.__name__}")
            if not fields[name].required:
                refuse(
                    f"{name!r} has a default in {message.__name__}, so messages of every version"
                    f" may leave it out; take it out of version {version.name}'s `added`"
                )
            try:
                hash(value)
            except TypeError:
                refuse(f"version {version.name}: the value for {name!r} must be immutable")


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
