"""Everything that can go wrong, each error carrying what it is about.

An error's attributes say what it is about, and :meth:`SluiceError.__str__` is the one place that
turns them into a sentence. Code and tests look at the class and the attributes, never at the words.
"""

from enum import StrEnum
from typing import ClassVar

import msgspec


class SluiceError(Exception):
    """Base of the errors that a person is meant to read; shown without a traceback.

    Attributes:
        retryable: whether another attempt, unchanged, may succeed.
        detail: what is wrong and what to do, without the place.
        topic: the Kafka topic that it is about; empty when it is about none.
        load_id: the load that it is about; empty when it is about none.
        partition: the Kafka partition, if it is about one.
        offset: the first offset that it is about, if it is about any.
        field: path of the field, such as ``line_items[0].price``; empty when it is about none.
        code: the error number of ClickHouse; 0 when the error is not ClickHouse's.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        topic: str = "",
        load_id: str = "",
        partition: int | None = None,
        offset: int | None = None,
        field: str = "",
        code: int = 0,
    ) -> None:
        super().__init__(detail)
        self.detail, self.topic, self.load_id = detail, topic, load_id
        self.partition, self.offset, self.field, self.code = partition, offset, field, code

    @property
    def place(self) -> str:
        """What the error is about, as the beginning of its sentence; empty when unknown."""
        parts = {
            "topic": repr(self.topic) if self.topic else "",
            "load": self.load_id,
            "partition": "" if self.partition is None else str(self.partition),
            "offset": "" if self.offset is None else str(self.offset),
            "field": repr(self.field) if self.field else "",
        }
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value)

    def __str__(self) -> str:
        return f"{self.place}: {self.detail}" if self.place else self.detail


class ContractError(SluiceError):
    """A contract that cannot be honoured, found when it is built."""


class SettingsError(SluiceError):
    """A missing or malformed setting or connection."""


class PlanError(SluiceError):
    """A request for offsets that cannot be planned; says what to change."""


class UnknownPartition(PlanError):
    """The topic does not have a partition that was named."""


class NothingToReplace(PlanError):
    """A request to replace what is not loaded yet."""


class ReplaceUnsupported(PlanError):
    """The rows of the target table cannot be replaced by load."""


class TopicRecreated(PlanError):
    """The topic is not the one that was loaded before: its id or its end has changed."""


class OffsetsExpired(SluiceError):
    """Retention removed offsets before they were loaded."""


class BrokerError(SluiceError):
    """The broker refused a request, did not respond, or never sent what a load must read."""

    retryable = True


class EngineError(SluiceError):
    """ClickHouse refused a statement, or could not be reached (``code`` 0)."""

    retryable = True

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail, code=code)

    def __reduce__(self) -> tuple[type["EngineError"], tuple[int, str]]:
        return type(self), (self.code, self.detail)

    @property
    def place(self) -> str:
        """ClickHouse's number."""
        return f"ClickHouse error {self.code}"


class AttemptFailed(SluiceError):
    """ClickHouse does not hold what an attempt at a chunk sent; the attempt does not count."""

    retryable = True


class AccountingError(SluiceError):
    """The counts of a load do not add up: nothing of it is published."""


class BreakerTripped(SluiceError):
    """Too large a share of the messages was refused; the load stops before publishing."""


class QualityHeld(SluiceError):
    """Critical quality rules failed; the load is held before publishing."""


class QualityError(SluiceError):
    """The quality suite could not be run at all."""

    retryable = True


class RegistryError(SluiceError):
    """A schema registry refused a request, did not respond, or does not have what was named."""

    retryable = True


class ConversionError(SluiceError):
    """An object of one kind does not fit the other; ``field`` names the field."""


class LoadLost(SluiceError):
    """The load was ended by another run (abandoned or withdrawn); this task must stop."""


class ShapeChanged(SluiceError):
    """A load was staged under another version of its contract than the one that continues it."""


class MigrationError(SluiceError):
    """A table differs from its contract in a way that must not be changed automatically."""


class Reason(StrEnum):
    """Why a message was refused. The list is short and fixed: people filter by it."""

    EMPTY_VALUE = "empty_value"
    NOT_JSON = "not_json"
    BAD_ENCODING = "bad_encoding"
    TRAILING_BYTES = "trailing_bytes"
    TOO_DEEP = "too_deep"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_WIRE_FORMAT = "unknown_wire_format"
    TOO_LARGE = "too_large"
    REFUSED_BY_CLICKHOUSE = "refused_by_clickhouse"


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why one message was not loaded.

    Attributes:
        reason: the code from the fixed list.
        message: what the validator or ClickHouse reported.
        field: path of the offending field (``line_items[0].price``); empty for the whole message.
        version: the version the message is nearest to; empty when it cannot be determined.
        code: ClickHouse's error number, 0 when ClickHouse did not refuse it.
    """

    reason: Reason
    message: str
    field: str = ""
    version: str = ""
    code: int = 0


class MessageRefused(SluiceError):
    """A message that does not validate, for callers that validate one message at a time."""

    def __init__(self, refusal: Refusal) -> None:
        nearest = f" (nearest version {refusal.version})" if refusal.version else ""
        super().__init__(f"{refusal.message}{nearest}", field=refusal.field, code=refusal.code)
        self.refusal = refusal

    def __reduce__(self) -> tuple[type["MessageRefused"], tuple[Refusal]]:
        return type(self), (self.refusal,)

    def __str__(self) -> str:
        where = f" at {self.field}" if self.field else ""
        return f"{self.refusal.reason}{where}: {self.detail}"
