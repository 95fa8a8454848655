"""Everything that can go wrong, each error carrying what a person needs to act on it."""

from enum import StrEnum

import msgspec


class SluiceError(Exception):
    """Base of the errors that a person is meant to read; shown without a traceback."""


class ContractError(SluiceError):
    """A contract that cannot be honoured, found when it is built."""


class SettingsError(SluiceError):
    """A missing or malformed setting or connection."""


class PlanError(SluiceError):
    """A request for offsets that cannot be planned; says what to change."""


class TopicRecreated(PlanError):
    """The topic is not the one that was loaded before: its id or its end has changed."""


class OffsetsExpired(SluiceError):
    """Retention removed offsets before they were loaded."""


class BrokerError(SluiceError):
    """The broker refused, lost or never sent what was asked for."""


class EngineError(SluiceError):
    """ClickHouse refused a statement. ``code`` is ClickHouse's own error number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"ClickHouse error {code}: {message}")
        self.code = code


class AttemptFailed(SluiceError):
    """What an attempt at a chunk staged is not what it sent; the attempt does not count."""


class AccountingError(SluiceError):
    """The law does not hold for a load: nothing of it is published."""


class BreakerTripped(SluiceError):
    """Too large a share of the messages was refused; the load stops before publishing."""


class QualityHeld(SluiceError):
    """A critical quality rule failed; the load is held before publishing."""


class QualityError(SluiceError):
    """The quality suite could not be run at all; trying again may help."""


class RegistryError(SluiceError):
    """A schema registry does not know, or refuses, what it is asked for."""


class ConversionError(SluiceError):
    """An object of one kind does not fit the other; names the field."""


class LoadLost(SluiceError):
    """The load was settled by another (abandoned or withdrawn); this task must stop."""


class ShapeChanged(SluiceError):
    """A load was staged under another version of its contract than the one that goes on."""


class MigrationError(SluiceError):
    """A table differs from its contract in a way that must not be changed by itself."""


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
        message: the validator's or the engine's own words.
        field: path of the offending field (``line_items[0].price``); empty for the whole message.
        version: the version the message is nearest to; empty when there is no telling.
        code: ClickHouse's error number, 0 when the refusal is ours.
    """

    reason: Reason
    message: str
    field: str = ""
    version: str = ""
    code: int = 0


class MessageRefused(SluiceError):
    """A message that does not validate, for those who validate one by one."""

    def __init__(self, refusal: Refusal) -> None:
        where = f" at {refusal.field}" if refusal.field else ""
        nearest = f" (nearest version {refusal.version})" if refusal.version else ""
        super().__init__(f"{refusal.reason}{where}: {refusal.message}{nearest}")
        self.refusal = refusal
