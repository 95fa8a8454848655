"""Refusals made from the exceptions that reading a message raises."""

import re

import msgspec
from msgspec import Struct

from sluice.contract.lossless import FINER_THAN_MICROSECONDS
from sluice.refusals import Reason, Refusal

FAILURES = (Exception,)
"""The exceptions that reading a message may raise. A class of the contract may run code of its own,
such as ``__post_init__`` or ``Enum._missing_``, which may raise any.
"""

_READING = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""Those that msgspec itself raises for bytes that are not a message."""

_AT = re.compile(r" - at `\$?\.?(.*)`$", re.S)
_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?=[^\\])")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_MISSING_AT_TOP = "Object missing required field `"
_UNKNOWN_AT_TOP = "Object contains unknown field `"


class Failure(Struct, frozen=True):
    """The relevant parts of an exception that reading a message raised.

    The exception itself is not kept: its traceback references the frame that would reference it,
    and such a cycle is never freed while the garbage collector is off.

    Attributes:
        validation: whether the message is JSON but not valid, or code of its class failed on it.
        recursion: whether it is nested too deeply.
        bad_byte: the first byte that is not UTF-8; None if that is not the problem.
        text: the text of the exception.
    """

    validation: bool
    recursion: bool
    bad_byte: int | None
    text: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """The failure that an exception reports.

        Raises:
            MemoryError: the exception is no fault of the message.
        """
        if isinstance(error, MemoryError):
            raise error
        if not isinstance(error, _READING):
            return cls(True, False, None, f"{type(error).__name__}: {error}")
        byte = error.object[error.start] if isinstance(error, UnicodeDecodeError) else None
        recursion = isinstance(error, RecursionError)
        return cls(isinstance(error, msgspec.ValidationError), recursion, byte, str(error))

    @property
    def missing_at_top(self) -> str | None:
        """The missing field, if a top-level field is missing; otherwise None."""
        return self._field_at_top(_MISSING_AT_TOP)

    @property
    def unknown_at_top(self) -> str | None:
        """The unknown field, if the class forbids it at the top level; otherwise None."""
        return self._field_at_top(_UNKNOWN_AT_TOP)

    def _field_at_top(self, start: str) -> str | None:
        text = self.text
        if text.startswith(start) and text.endswith("`") and " - at `" not in text:
            return text[len(start) : -1]
        return None


NOT_TRIED = Failure(False, False, None, "no message")
"""Stands for the failure of a message that has not been read yet."""


def explain(failure: Failure, version: str, data: bytes) -> Refusal:
    """The refusal of a message that could not be read.

    The reason depends on msgspec's error texts (0.22); a test covers each of them.

    Args:
        failure: what reading it raised.
        version: the version that the message is closest to.
        data: the message's bytes; empty if it was read from an object.
    """
    text = failure.text
    if failure.validation:
        location = _AT.search(text)
        path = location[1] if location else ""
        problem = text[: location.start()] if location else text
        if missing := _MISSING.search(problem):
            path = f"{path}.{missing[1]}" if path else missing[1]
            return Refusal(Reason.MISSING_FIELD, f"required field {path} is missing", path, version)
        return Refusal(_reason_of(problem), problem, path, version)
    if failure.recursion:
        return Refusal(Reason.TOO_DEEP, "the JSON is nested too deeply", "", version)
    if failure.bad_byte is not None:
        text = f"invalid UTF-8: byte 0x{failure.bad_byte:02x} ({text.rpartition(': ')[2]})"
        return Refusal(Reason.BAD_ENCODING, text, "", version)
    # Near the end of the data, msgspec reports a lone surrogate as truncated data.
    if "surrogate" in text or ("truncated" in text and _LONE_SURROGATE.search(data)):
        text = f"one half of a UTF-16 surrogate pair is not a character ({text})"
        return Refusal(Reason.BAD_ENCODING, text, "", version)
    if "trailing characters" in text:
        return Refusal(Reason.TRAILING_BYTES, text, "", version)
    if "truncated" in text:
        return Refusal(Reason.NOT_JSON, "the JSON ends too early (truncated)", "", version)
    return Refusal(Reason.NOT_JSON, text, "", version)


_RANGE_WORDS = (" >= ", " <= ", " > ", " < ", "of length", "matching regex", "multiple of")


def _reason_of(problem: str) -> Reason:
    if problem.startswith("Number out of range") or "enum value" in problem:
        return Reason.OUT_OF_RANGE
    if any(word in problem for word in _RANGE_WORDS) or FINER_THAN_MICROSECONDS in problem:
        return Reason.OUT_OF_RANGE
    return Reason.WRONG_TYPE
