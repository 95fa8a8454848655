"""The errors of the library.

An error carries the topic, load, partition, offset and field that it concerns as attributes.
:meth:`SluiceError.__str__` is the only place that turns them into a sentence. Code and tests check
the class and the attributes, not the text.
"""

from typing import ClassVar

from sluice.refusals import Refusal


class SluiceError(Exception):
    """Base class of the errors written for people; displayed without a traceback.

    Attributes:
        retryable: whether the same attempt may succeed when it is repeated.
        detail: what is wrong and how to fix it, without the place.
        topic: the Kafka topic; empty if the error concerns no topic.
        load_id: the load; empty if the error concerns no load.
        partition: the Kafka partition; None if the error concerns no partition.
        offset: the first offset concerned; None if the error concerns no offset.
        field: path of the field, such as ``line_items[0].price``; empty if the error concerns none.
        code: ClickHouse's error code; 0 if the error did not come from ClickHouse.
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
        """What the error concerns, as the start of its sentence; empty if no attribute is set."""
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
    """A contract is invalid (it is refused when it is built) or does not exist."""


class SettingsError(SluiceError):
    """A setting or connection is missing or malformed."""


class PlanError(SluiceError):
    """A request cannot be planned; the detail states what to change."""


class UnknownPartition(PlanError):
    """The request names a partition that the topic does not have."""


class NothingToReplace(PlanError):
    """The request replaces offsets that have not been loaded."""


class ReplaceUnsupported(PlanError):
    """The target table's engine or cluster does not allow replacing the rows of a load."""


class TopicRecreated(PlanError):
    """The topic was recreated or truncated since it was last loaded: its id or end has changed."""


class OffsetsExpired(SluiceError):
    """Retention removed offsets before they were loaded."""


class BrokerError(SluiceError):
    """The broker refused a request, did not respond, or did not send a message that must exist."""

    retryable = True


class EngineError(SluiceError):
    """ClickHouse refused a statement or could not be reached (``code`` 0).

    Attributes:
        name: ClickHouse's name for the error, such as ``UNKNOWN_TABLE``; empty if it gave none.
        transient: whether the same statement may succeed when it is repeated.
    """

    retryable = True

    def __init__(
        self, code: int, detail: str, name: str = "", field: str = "", transient: bool = False
    ) -> None:
        super().__init__(detail, code=code, field=field)
        self.name, self.transient = name, transient

    def __reduce__(self) -> tuple[type["EngineError"], tuple[int, str, str, str, bool]]:
        return type(self), (self.code, self.detail, self.name, self.field, self.transient)

    @property
    def place(self) -> str:
        """ClickHouse's error code, and the field if there is one."""
        field = f", field {self.field!r}" if self.field else ""
        return f"ClickHouse error {self.code}{field}"


class ShortRead(EngineError):
    """The server that a statement reached lacks rows that it needs; nothing was done."""


class AttemptFailed(SluiceError):
    """An attempt at a chunk could not be completed or verified; the attempt is not accepted."""

    retryable = True


class AccountingError(SluiceError):
    """The accounting identity does not hold for a load; nothing of it is published."""


class BreakerTripped(SluiceError):
    """Too many messages were refused; the load stops before publishing."""


class QualityHeld(SluiceError):
    """Critical quality rules failed; the load is held before publishing."""


class QualityError(SluiceError):
    """The quality rules could not be run."""

    retryable = True


class RegistryError(SluiceError):
    """The schema registry refused a request, did not respond, or lacks the requested schema."""

    retryable = True


class ConversionError(SluiceError):
    """A value cannot be converted to the other class; ``field`` names the field."""


class LoadLost(SluiceError):
    """The load has ended, or is in a state that does not allow the step; this task must stop."""


class ShapeChanged(SluiceError):
    """A load was planned or staged under a different version of its contract."""


class MigrationError(SluiceError):
    """A table differs from its contract in a way that must not be fixed automatically."""


class TableMissing(MigrationError):
    """The target table does not exist, although the ledger has published rows of it."""


class MessageRefused(SluiceError):
    """A message is not valid; raised for callers that validate one message at a time."""

    def __init__(self, refusal: Refusal) -> None:
        nearest = f" (nearest version {refusal.version})" if refusal.version else ""
        super().__init__(f"{refusal.message}{nearest}", field=refusal.field, code=refusal.code)
        self.refusal = refusal

    def __reduce__(self) -> tuple[type["MessageRefused"], tuple[Refusal]]:
        return type(self), (self.refusal,)

    def __str__(self) -> str:
        where = f" at {self.field}" if self.field else ""
        return f"{self.refusal.reason}{where}: {self.detail}"
