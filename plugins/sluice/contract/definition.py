"""The contract of one topic, and the checks that refuse a contract that would lose data."""

import hashlib
import inspect
import re
import sys
import zlib
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, Generic, Literal, NoReturn

import msgspec
from croniter import croniter  # type: ignore[import-untyped]
from msgspec import Struct
from typing_extensions import TypeVar

from sluice.contract.columns import columns_of
from sluice.contract.default_values import check_supplied_values
from sluice.contract.parts import Breaker, Rule, Table, Version
from sluice.contract.version_column import check_version_column
from sluice.contract.version_history import check_history
from sluice.errors import ContractError

LONGEST_OWNER = 100
"""Characters of a tag in Airflow."""

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
        protobuf: the generated class that reads Protobuf payloads, if the topic has them. Payloads
            of another message type are refused.
        record: full name of the Avro record that is read; payloads of another record are refused.
            By default any record; of a union of records, the one named like the message class.
        schedule: cron expression of the load DAG, in UTC; None for manual runs only. ``@hourly``
            and ``@daily`` leave the minute to Sluice: see :attr:`cron`.
        on_expired: what to do when retention removed offsets before they were loaded:
            ``fail``, or ``record`` them as absent and continue.
        max_offsets: most offsets that one load of everything new reads. A larger backlog is loaded
            in several loads, one after the other; the rows of each are visible when it ends.
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
    record: str = ""
    schedule: str | None = "@hourly"
    on_expired: Literal["fail", "record"] = "fail"
    max_offsets: int = 50_000_000

    @property
    def version(self) -> Version:
        """The current version."""
        return self.versions[-1]

    @property
    def cron(self) -> str | None:
        """The schedule with its minute.

        Where the contract names none, it follows from the topic's name, so that the loads of many
        topics spread over the hour.
        """
        minute = zlib.crc32(self.topic.encode()) % 60
        spread = {"@hourly": f"{minute} * * * *", "@daily": f"{minute} 0 * * *"}
        return spread.get(self.schedule, self.schedule) if self.schedule else None

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
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", contract.topic):
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
    _check_values(contract)
    _check_protobuf(contract)
    _check_engine(contract)
    _check_operation(contract)


def _check_protobuf(contract: Contract) -> None:
    """Refuse a field whose name in messages is written otherwise in the Protobuf class.

    It would have its default in every message.
    """
    descriptor: Any = getattr(contract.protobuf, "DESCRIPTOR", None)
    if descriptor is None:
        return
    theirs = {name.replace("_", "").lower(): name for name in descriptor.fields_by_name}
    for field in msgspec.structs.fields(contract.message):
        name = theirs.get(field.encode_name.replace("_", "").lower(), field.encode_name)
        if name != field.encode_name:
            _refuse(
                contract,
                f"the field is {field.encode_name!r} in messages, and {name!r} in the Protobuf"
                f" class; give it that name: msgspec.field(name={name!r})",
                field.encode_name,
            )


def _check_values(contract: Contract) -> None:
    try:
        columns_of(contract.message)
        check_supplied_values(contract.message, contract.versions)
    except ContractError as error:
        _refuse(contract, error.detail, error.field)


def _check_versions(contract: Contract) -> None:
    try:
        check_history(contract.message, contract.versions)
    except ContractError as error:
        _refuse(contract, error.detail, error.field)


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
    if contract.table.replaces:
        try:
            check_version_column(contract.table, columns_of(contract.message))
        except ContractError as error:
            _refuse(contract, error.detail, error.field)


def _check_operation(contract: Contract) -> None:
    """What Airflow and the report take from a contract."""
    if contract.schedule is not None and not croniter.is_valid(contract.schedule):
        _refuse(contract, f"the schedule {contract.schedule!r} is not a cron expression")
    if not 1 <= len(contract.owner) <= LONGEST_OWNER:
        _refuse(
            contract,
            f"`owner` has {len(contract.owner)} characters; it is a tag of the DAGs in Airflow,"
            f" which has 1 to {LONGEST_OWNER}",
        )
    if contract.fresh_within is not None and contract.fresh_within <= timedelta():
        _refuse(contract, "`fresh_within` must be longer than zero")
    if contract.on_expired not in ("fail", "record"):
        _refuse(contract, f"`on_expired` is fail or record, not {contract.on_expired!r}")
    if contract.max_offsets < 1:
        _refuse(contract, f"`max_offsets` must be 1 or more, not {contract.max_offsets!r}")


def _refuse(contract: Any, detail: str, field: str = "") -> NoReturn:
    raise ContractError(detail, topic=contract.topic, field=field)
