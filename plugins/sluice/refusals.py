"""Why messages are refused: the fixed list of reasons, and what is recorded of one refusal."""

from enum import StrEnum

import msgspec
from msgspec.structs import force_setattr


class Reason(StrEnum):
    """Why a message was refused. The list is fixed because people filter by it."""

    EMPTY_VALUE = "empty_value"
    NOT_JSON = "not_json"
    BAD_ENCODING = "bad_encoding"
    TRAILING_BYTES = "trailing_bytes"
    TOO_DEEP = "too_deep"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_WIRE_FORMAT = "unknown_wire_format"
    TOO_LARGE = "too_large"
    REFUSED_BY_CLICKHOUSE = "refused_by_clickhouse"


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why one message was not loaded.

    Attributes:
        reason: one of a fixed list.
        message: what the validator or ClickHouse reported.
        field: path of the offending field (``line_items[0].price``); empty for the whole message.
        version: the version that the message is closest to; empty if it cannot be determined.
        code: ClickHouse's error code; 0 if ClickHouse did not refuse it.
    """

    reason: Reason
    message: str
    field: str = ""
    version: str = ""
    code: int = 0

    def __post_init__(self) -> None:
        # An exception of user code may repeat surrogates, which no encoder accepts.
        for name in ("message", "field"):
            if not (text := getattr(self, name)).isascii():
                force_setattr(self, name, text.encode("utf-8", "backslashreplace").decode())
