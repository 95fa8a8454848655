"""Why a message did not validate: a refusal from the words of what refused it."""

import re

import msgspec
from msgspec import Struct

from sluice.errors import Reason, Refusal

FAILURES = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What reading a message may raise."""

_AT = re.compile(r" - at `\$?\.?(.*)`$", re.S)
_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?=[^\\])")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_MISSING_AT_TOP = "Object missing required field `"


class Failure(Struct, frozen=True):
    """What an exception said. The exception itself is not kept: its traceback holds the frame
    that would hold it, and without the cycle collector such a ring is never freed.
    """

    validation: bool
    recursion: bool
    bad_byte: int | None
    text: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """What is worth keeping of an exception."""
        byte = error.object[error.start] if isinstance(error, UnicodeDecodeError) else None
        recursion = isinstance(error, RecursionError)
        return cls(isinstance(error, msgspec.ValidationError), recursion, byte, str(error))

    @property
    def missing_at_top(self) -> str | None:
        """The missing field, when one is missing from the message itself."""
        text = self.text
        if text.startswith(_MISSING_AT_TOP) and text.endswith("`") and " - at `" not in text:
            return text[len(_MISSING_AT_TOP) : -1]
        return None


NOT_TRIED = Failure(False, False, None, "no message")
"""Of a message that was not tried yet."""


def explain(failure: Failure, version: str, data: bytes) -> Refusal:
    """A refusal from the words of msgspec (0.22; a test pins each of them)."""
    text = failure.text
    if failure.validation:
        at = _AT.search(text)
        path = at[1] if at else ""
        said = text[: at.start()] if at else text
        if missing := _MISSING.search(said):
            path = f"{path}.{missing[1]}" if path else missing[1]
            return Refusal(Reason.MISSING_FIELD, f"required field {path} is missing", path, version)
        return Refusal(_reason_of(said), said, path, version)
    if failure.recursion:
        return Refusal(Reason.TOO_DEEP, "nested too deeply to read", "", version)
    if failure.bad_byte is not None:
        text = f"invalid UTF-8: byte 0x{failure.bad_byte:02x} ({text.rpartition(': ')[2]})"
        return Refusal(Reason.BAD_ENCODING, text, "", version)
    # Near the end of the data msgspec takes half a surrogate pair for a truncated one.
    if "surrogate" in text or ("truncated" in text and _LONE_SURROGATE.search(data)):
        text = f"half of a UTF-16 surrogate pair, which is no character ({text})"
        return Refusal(Reason.BAD_ENCODING, text, "", version)
    if "trailing characters" in text:
        return Refusal(Reason.TRAILING_BYTES, text, "", version)
    if "truncated" in text:
        return Refusal(Reason.NOT_JSON, "the JSON ends too early (truncated)", "", version)
    return Refusal(Reason.NOT_JSON, text, "", version)


_RANGE_WORDS = (" >= ", " <= ", " > ", " < ", "of length", "matching regex", "multiple of")


def _reason_of(said: str) -> Reason:
    if said.startswith("Number out of range") or "enum value" in said:
        return Reason.OUT_OF_RANGE
    if any(word in said for word in _RANGE_WORDS):
        return Reason.OUT_OF_RANGE
    return Reason.WRONG_TYPE
