"""The contract of one topic, and the checks that refuse a contract that would lose data."""

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
    """The messages of one topic, and how they are loaded.

    Attributes:
        topic: the Kafka topic; also its name in DAG ids and commands.
        subject: the subject in the schema registry.
        message: the Struct of the current version (frozen and documented).
        versions: every version that the topic may still contain, oldest first; the last is current.
        key: field that identifies a message to a person; used in logs and searches.
        table: the ClickHouse table.
        owner: team that is responsible for the topic.
        sample: returns one realistic message of the current version, for demos and tests; by
            default, random values that fit the types.
        rules: quality rules in addition to those derived from the types.
        breaker: how many refused messages stop a load from publishing.
        fresh_within: maximum age of the newest message in a load of everything new; an older one
            is a warning. None disables the check.
        sensitive: fields whose values are masked in reports and logs, and on the pages of users
            who may not see payloads.
        repair: takes the value of a refused message and returns one that may be valid; called only
            when quarantined messages are replayed. The original stays in quarantine.
        protobuf: the generated class that reads Protobuf payloads, if the topic has them.
        schedule: cron expression of the load DAG, in UTC; None for manual runs only.
        on_expired: what to do when retention removed offsets before they were loaded:
            ``fail``, or ``record`` them as absent and continue.
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
        """Digest of the file that defines the message class: it changes whenever the file does,
        and is equal in every process. Empty if the class was defined without a file.
        """
        try:
            source = inspect.getsource(sys.modules[self.message.__module__])
        except (KeyError, OSError, TypeError):
            return ""
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        check(self)


def check(contract: Contract) -> None:
    """Refuse a contract that would lose data or fail later.

    Raises:
        ContractError: with the topic, the field if there is one, and what to change.
    """
    message = contract.message
    name = message.__name__
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", contract.topic):
        _refuse(contract, "Kafka does not allow a character of the topic name, or its length")
    if not message.__struct_config__.frozen:
        _refuse(contract, f"{name} must be frozen: class {name}(Struct, frozen=True)")
    fields = {f.name for f in msgspec.structs.fields(message)}
    if contract.key not in fields:
        _refuse(contract, f"`key` names a field that {name} does not have", contract.key)
    if unknown := sorted(contract.sensitive - fields):
        names = ", ".join(unknown)
        _refuse(
            contract, f"`sensitive` names fields that {name} does not have: {names}", unknown[0]
        )
    _check_versions(contract)
    _check_engine(contract)


def _check_versions(contract: Contract) -> None:
    versions = contract.versions
    if not versions:
        _refuse(contract, "`versions` is empty; its last entry must be the current version")
    for version in versions:
        if not re.fullmatch(r"\d+\.\d+", version.name):
            _refuse(contract, f"version {version.name!r} does not have the form major.minor")
    numbers = [version.number for version in versions]
    if numbers != sorted(set(numbers)):
        _refuse(contract, "`versions` must list each version once, oldest first")
    first = versions[0]
    if first.added or first.renamed or first.removed or first.lift:
        _refuse(contract, f"the first version, {first.name}, has no older version to change")
    fields = {f.name: f for f in msgspec.structs.fields(contract.message)}
    known = set(fields)  # field names as of the version that the loop has reached
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
            f"version {name} renames, removes or lifts fields, which breaks older readers:"
            f" make it version {version.number[0] + 1}.0",
        )
    for field, value in version.added.items():
        if field not in known:
            _refuse(
                contract, f"version {name} adds this field, but {message} does not have it", field
            )
        if field in fields and not fields[field].required:
            _refuse(
                contract,
                f"the field has a default in {message}, so any version may omit it; remove it from"
                f" `added` of version {name}",
                field,
            )
        try:
            hash(value)
        except TypeError:
            _refuse(contract, f"its value in `added` of version {name} must be immutable", field)
    for old, new in version.renamed.items():
        if new not in known:
            _refuse(
                contract,
                f"version {name} renames {old!r} to this field, but {message} does not have it",
                new,
            )
        if old in known:
            _refuse(contract, f"version {name} renames this field, but it still exists", old)
    for field in version.removed:
        if field in known:
            _refuse(contract, f"version {name} removes this field, but it still exists", field)


def _check_engine(contract: Contract) -> None:
    engine = contract.table.engine
    if not re.fullmatch(r"MergeTree(\(\))?|ReplacingMergeTree\(\w+\)", engine):
        _refuse(
            contract,
            "the table engine must be MergeTree, or ReplacingMergeTree with its version column,"
            f" not {engine!r}; the setting SLUICE_CLUSTER selects the Replicated engines",
        )
    if contract.table.replaces and not all(
        re.fullmatch(r"\w+", k) for k in contract.table.order_by
    ):
        _refuse(
            contract,
            "the order key of a ReplacingMergeTree decides which rows replace each other, so it"
            " must consist of plain columns",
        )


def _refuse(contract: Any, detail: str, field: str = "") -> NoReturn:
    raise ContractError(detail, topic=contract.topic, field=field)
