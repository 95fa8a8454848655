"""A contract: everything the system knows about one topic, refused when it would lose data."""

import hashlib
import inspect
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any, Generic, Literal, NoReturn

import msgspec
from msgspec import Struct
from typing_extensions import TypeVar

from sluice.contract.parts import Breaker, Rule, Table, Version
from sluice.errors import ContractError

M = TypeVar("M", bound=Struct, default=Struct, covariant=True)  # noqa: PLC0105
"""The class of a contract's messages."""


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
        from sluice.authoring.examples import random_message

        return random_message(self.message, random)

    def __post_init__(self) -> None:
        check(self)


def check(contract: Contract) -> None:
    """Refuse a contract that would lose data or fail later.

    Raises:
        ContractError: naming the topic and what to change.
    """
    message = contract.message
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", contract.topic):
        _refuse(contract, "the topic's name has characters that Kafka does not allow")
    if not message.__struct_config__.frozen:
        name = message.__name__
        _refuse(contract, f"{name} must be frozen: class {name}(Struct, frozen=True)")
    fields = {f.name for f in msgspec.structs.fields(message)}
    if contract.key not in fields:
        _refuse(contract, f"key {contract.key!r} is not a field of {message.__name__}")
    if unknown := contract.sensitive - fields:
        names = ", ".join(sorted(unknown))
        _refuse(contract, f"sensitive names no field of {message.__name__}: {names}")
    _check_versions(contract)
    _check_engine(contract)


def _check_versions(contract: Contract) -> None:
    versions = contract.versions
    if not versions:
        _refuse(contract, "versions is empty; the current version is its last entry")
    for version in versions:
        if not re.fullmatch(r"\d+\.\d+", version.name):
            _refuse(contract, f"version {version.name!r} is not of the form major.minor")
    numbers = [version.number for version in versions]
    if numbers != sorted(set(numbers)):
        _refuse(contract, "versions must be listed oldest first, each once")
    first = versions[0]
    if first.added or first.renamed or first.removed or first.lift:
        _refuse(contract, "the first version changes nothing: there is no older message to lift")
    fields = {f.name: f for f in msgspec.structs.fields(contract.message)}
    known = set(fields)  # names at the version that the loop has come back to
    for before, version in reversed(list(pairwise(versions))):
        _check_step(contract, before, version, known, fields)
        for old, new in version.renamed.items():
            known.discard(new)
            known.add(old)
        known.update(version.removed)
        known.difference_update(version.added)


def _check_step(
    contract: Contract,
    before: Version,
    version: Version,
    known: set[str],
    fields: dict[str, msgspec.structs.FieldInfo],
) -> None:
    name, message = version.name, contract.message.__name__
    breaking = version.renamed or version.removed or version.lift
    if breaking and version.number[0] == before.number[0]:
        _refuse(
            contract,
            f"version {name} renames, removes or lifts, which older readers do not survive:"
            f" make it {version.number[0] + 1}.0",
        )
    for field, value in version.added.items():
        if field not in known:
            _refuse(contract, f"version {name} adds {field!r}, no field of {message}")
        if field in fields and not fields[field].required:
            _refuse(
                contract,
                f"{field!r} has a default in {message}, so messages of every version may leave it"
                f" out; take it out of version {name}'s `added`",
            )
        try:
            hash(value)
        except TypeError:
            _refuse(contract, f"version {name}: the value for {field!r} must be immutable")
    for old, new in version.renamed.items():
        if new not in known:
            _refuse(contract, f"version {name} renames {old!r} to {new!r}, no field of {message}")
        if old in known:
            _refuse(contract, f"version {name} renames {old!r}, which is there all the same")
    for field in version.removed:
        if field in known:
            _refuse(contract, f"version {name} removes {field!r}, which is there all the same")


def _check_engine(contract: Contract) -> None:
    engine = contract.table.engine
    if not re.fullmatch(r"MergeTree(\(\))?|ReplacingMergeTree\(\w+\)", engine):
        _refuse(
            contract,
            f"table engine {engine!r}: it must be MergeTree, or ReplacingMergeTree with its version"
            " column; their Replicated forms come from the setting SLUICE_CLUSTER",
        )
    if contract.table.replaces and not all(
        re.fullmatch(r"\w+", k) for k in contract.table.order_by
    ):
        _refuse(
            contract,
            "the order key of a ReplacingMergeTree, by which rows replace each other, must be"
            " made of plain columns",
        )


def _refuse(contract: Any, why: str) -> NoReturn:
    raise ContractError(f"contract of topic {contract.topic!r}: {why}")
