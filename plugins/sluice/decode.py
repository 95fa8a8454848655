"""Bytes to a validated message of the current version, or the reason why not.

Each version has a reader, see :mod:`sluice.versions`. Which version to try first is guessed from
the names of the fields that occur in the bytes. The guess only saves time: what decides is
whether a version's reader accepts the message.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from sluice import wire
from sluice.contract import Contract, Version
from sluice.errors import Reason, Refusal
from sluice.guards import guard_of
from sluice.versions import Origin, lifter, origin, reading_class

Decoded = tuple[Struct, str]
"""A message and the version it came in; of an older version it is of a subclass of the current."""

_FAILURES = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
_AT = re.compile(r" - at `\$?\.?(.*)`$", re.S)
_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?=[^\\])")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_MISSING_AT_TOP = "Object missing required field `"


class Reader(Struct, frozen=True):
    """Reads one version of a message as the current class.

    Attributes:
        version: the version's name.
        origin: where the current fields are in this version's messages.
        decode: bytes to message.
        convert: an object, as Avro and Protobuf payloads give it, to message; takes
            ``strict`` as :func:`msgspec.convert` does.
    """

    version: str
    origin: Origin
    decode: Callable[[bytes], Any]
    convert: Callable[..., Any]

    @property
    def filled(self) -> Mapping[str, Any]:
        """Fields that came later, each with the value that older messages get."""
        return self.origin.filled

    def explains(self, failure: "_Failure") -> bool:
        """Whether a message that the current reader refused so may be one of this version."""
        if self.origin.lifted:
            return failure.validation
        return failure.missing_at_top in self.origin.explains

    def later_field(self, message: Struct) -> str | None:
        """A field of a later version that the message carried, though it was read as this one."""
        if self.origin.lifted:
            return None
        for name, value in self.filled.items():
            if getattr(message, name) is not value:
                return name
        return None


def reader(contract: Contract, version: Version) -> Reader:
    """The reader of one version's messages."""
    found, current = origin(contract, version), contract.message
    if found.lifted:
        lift = lifter(contract, version)
        read = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
        return Reader(version.name, found, lambda data: lift(read(data)), lift)
    struct = reading_class(contract, found)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct).decode
    convert = partial(msgspec.convert, type=struct)
    if not found.renamed:
        return Reader(version.name, found, decode, convert)
    rename = partial(msgspec.convert, type=current, from_attributes=True)
    return Reader(
        version.name,
        found,
        lambda data: rename(decode(data)),
        lambda value, **how: rename(convert(value, **how)),
    )


def _markers(contract: Contract, readers: list[Reader]) -> list[tuple[bytes, Reader]]:
    """For each version but the first, the newest first: what its messages contain and older ones
    do not, and the reader of the version before.
    """
    names = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    found = []
    for version, older in zip(reversed(contract.versions), readers[1:], strict=False):
        new = [name for name in (*version.added, *version.renamed.values()) if name in names]
        if older.origin.lifted:
            break
        found += [(msgspec.json.encode(names[name]), older) for name in new[:1]]
    return found


class Decoder:
    """Decodes the messages of one contract. Decoders are compiled here, once."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.readers: list[Reader] = []
        for version in reversed(contract.versions):
            self.readers.append(reader(contract, version))
        self._markers = _markers(contract, self.readers)
        self._by_version = {reader.version: reader for reader in self.readers}
        self._current = self.readers[0]
        self._decode_current = self._current.decode
        self._guard = guard_of(contract.message)

    def decode(self, value: bytes, version: str = "") -> Decoded | Refusal:
        """Validate one message.

        Args:
            value: the message's bytes as they came from Kafka.
            version: the version that a header names; empty to tell it from the shape.

        Returns:
            The message and its version, or a refusal. No bytes raise.
        """
        if version:
            return self._decode_as(value, version)
        if self._markers and (found := self._decode_by_markers(value)):
            return found
        try:
            message = self._decode_current(value)
        except msgspec.ValidationError as error:
            return self._try_older(value, _Failure.of(error))
        except _FAILURES as error:
            return self._strip_and_try(value, _Failure.of(error))
        if self._guard is not None and (problem := self._guard(message)):
            return Refusal(Reason.OUT_OF_RANGE, problem[1], problem[0], self._current.version)
        return message, self._current.version

    def filled(self, version: str) -> tuple[str, ...]:
        """Fields that are filled in for messages of ``version``."""
        reader = self._by_version.get(version)
        return tuple(reader.filled) if reader else ()

    def _decode_by_markers(self, value: bytes) -> Decoded | Refusal | None:
        """Read a message that lacks the names of later fields; None when that was no good guess."""
        guess = None
        for marker, reader in self._markers:
            if marker in value:
                break
            guess = reader
        if guess is None:
            return None
        try:
            message = guess.decode(value)
        except _FAILURES:
            return None
        if guess.later_field(message):  # its name was written with an escape
            return None
        return self._guarded(message, guess.version)

    def _guarded(self, message: Struct, version: str) -> Decoded | Refusal:
        if self._guard is not None and (problem := self._guard(message)):
            return Refusal(Reason.OUT_OF_RANGE, problem[1], problem[0], version)
        return message, version

    def _decode_as(self, value: bytes, version: str) -> Decoded | Refusal:
        reader = self._by_version.get(version)
        if reader is None:
            # A newer minor version only adds fields, so today's reader can read it.
            newest = self.contract.version
            match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", version)
            if not match or int(match[1]) != newest.number[0] or int(match[2]) < newest.number[1]:
                known = ", ".join(sorted(self._by_version))
                text = f"header names version {version[:40]!r}; known are {known}"
                return Refusal(Reason.UNKNOWN_VERSION, text)
            reader = self._current
        payload = wire.strip(value)
        if isinstance(payload, Refusal):
            return payload
        try:
            message = reader.decode(payload.data)
        except _FAILURES as error:
            return explain(_Failure.of(error), reader.version, payload.data)
        return self._guarded(message, version)

    def _strip_and_try(self, value: bytes, failure: "_Failure") -> Decoded | Refusal:
        """The bytes are no JSON as they are: strip what the wire added, and try again."""
        payload = wire.strip(value)
        if isinstance(payload, Refusal):
            return payload
        if len(payload.data) == len(value):
            return explain(failure, self._current.version, value)
        try:
            return self._guarded(self._current.decode(payload.data), self._current.version)
        except _FAILURES as error:
            return self._try_older(payload.data, _Failure.of(error))

    def _try_older(self, data: bytes, failure: "_Failure") -> Decoded | Refusal:
        """The current version did not read it: an older one may explain what is missing."""
        nearest, first = self._current, failure
        for reader in self.readers[1:]:
            if not reader.explains(failure):
                continue
            try:
                message = reader.decode(data)
            except _FAILURES as error:
                nearest, failure = reader, _Failure.of(error)
                continue
            if reader.later_field(message):
                # Carries a field of a later version: it is a broken message of that one.
                return explain(first, self._current.version, data)
            return self._guarded(message, reader.version)
        return explain(failure, nearest.version, data)


class _Failure(Struct, frozen=True):
    """What an exception said. The exception itself is not kept: its traceback holds the frame
    that would hold it, and without the cycle collector such a ring is never freed.
    """

    validation: bool
    recursion: bool
    bad_byte: int | None
    text: str

    @classmethod
    def of(cls, error: Exception) -> "_Failure":
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


def explain(failure: _Failure, version: str, data: bytes) -> Refusal:
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
