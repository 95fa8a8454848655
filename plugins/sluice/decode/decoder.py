"""Bytes to a validated message of the current version, or the reason why not.

Each version has a reader (:mod:`.version_readers`). Which one to try first is guessed from the
names of the fields that occur in the bytes. The guess only saves time: what decides is whether a
version's reader accepts the message.
"""

import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.versions import CANNOT_LIFT
from sluice.decode import wire
from sluice.decode.column_limits import build_limit_check
from sluice.decode.failures import FAILURES, NOT_TRIED, Failure, explain
from sluice.decode.version_readers import (
    Read,
    VersionReader,
    build_reader,
    convert_with,
    decode_with,
)
from sluice.decode.wire import HEADER_BYTES
from sluice.errors import Reason, Refusal

if TYPE_CHECKING:
    from sluice.decode.registry_payloads import RegistryPayloads

Decoded = tuple[Struct, str]
"""A message and the version it came in; of an older version it is of a subclass of the current."""


def _markers(contract: Contract, readers: list[VersionReader]) -> list[tuple[bytes, VersionReader]]:
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
    """Decodes the messages of one contract. Decoders are compiled here, once.

    Args:
        contract: what the messages are.
        payloads: reads messages whose header names a schema in a registry; without it, only
            JSON payloads are read, and their version is told from their shape.
    """

    def __init__(self, contract: Contract, payloads: "RegistryPayloads | None" = None) -> None:
        self.contract, self._payloads = contract, payloads
        self.readers: list[VersionReader] = []
        for version in reversed(contract.versions):
            self.readers.append(build_reader(contract, version))
        self._markers = _markers(contract, self.readers)
        self._by_version = {reader.version: reader for reader in self.readers}
        self._current = self.readers[0]
        self._decode_current = self._current.decode
        self._check_limits = build_limit_check(contract.message)

    def decode(self, value: bytes, version: str = "") -> Decoded | Refusal:
        """Validate one message.

        Args:
            value: the message's bytes as they came from Kafka.
            version: the version that a header names; empty to tell it from the shape.

        Returns:
            The message and its version, or a refusal. No bytes raise.

        Raises:
            RegistryError: only with ``payloads``: the registry does not answer.
        """
        if value[:1] == b"\x00" and len(value) > HEADER_BYTES:
            if self._payloads is not None:
                return self._decode_registered(value, version, self._payloads)
            if not version:
                return self._strip_and_try(value, NOT_TRIED)
        if version:
            return self._decode_as(value, version)
        if self._markers and (found := self._decode_by_markers(value)):
            return found
        try:
            message = self._decode_current(value)
        except msgspec.ValidationError as error:
            return self._try_older(partial(decode_with, data=value), Failure.of(error), value)
        except FAILURES as error:
            return self._strip_and_try(value, Failure.of(error))
        if self._check_limits is not None and (violation := self._check_limits(message)):
            return Refusal(
                Reason.OUT_OF_RANGE, violation.text, violation.path, self._current.version
            )
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
        except FAILURES:
            return None
        if guess.later_field(message):  # its name was written with an escape
            return None
        return self._within_limits(message, guess.version)

    def _within_limits(self, message: Struct, version: str) -> Decoded | Refusal:
        if self._check_limits is not None and (violation := self._check_limits(message)):
            return Refusal(Reason.OUT_OF_RANGE, violation.text, violation.path, version)
        return message, version

    def _decode_registered(
        self, value: bytes, version: str, payloads: "RegistryPayloads"
    ) -> Decoded | Refusal:
        """Read a message by the schema that its registry header names."""
        registered = payloads.schema(int.from_bytes(value[1:HEADER_BYTES], "big"))
        if isinstance(registered, Refusal):
            return registered
        if registered.type == "JSON":
            named = version or payloads.version(registered)
            if named:
                found = self._decode_as(value, named)
                if version or not isinstance(found, Refusal):
                    return found
            return self._strip_and_try(value, NOT_TRIED)
        parsed = payloads.parse(registered, value)
        if isinstance(parsed, Refusal):
            return parsed
        read = partial(convert_with, value=parsed.value, strict=parsed.strict)
        if named := version or parsed.version:
            reader = self._reader_named(named)
            return reader if isinstance(reader, Refusal) else self._read_as(read, reader, named)
        return self._read_by_shape(read)

    def _read_by_shape(self, read: Read) -> Decoded | Refusal:
        try:
            return self._within_limits(read(self._current), self._current.version)
        except FAILURES as error:
            return self._try_older(read, Failure.of(error), b"")

    def _read_as(self, read: Read, reader: VersionReader, version: str) -> Decoded | Refusal:
        try:
            return self._within_limits(read(reader), version)
        except FAILURES as error:
            return explain(Failure.of(error), reader.version, b"")

    def _reader_named(self, version: str) -> VersionReader | Refusal:
        if reader := self._by_version.get(version):
            return reader
        # A newer minor version only adds fields, so today's reader can read it.
        newest = self.contract.version
        match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", version)
        if match and int(match[1]) == newest.number[0] and int(match[2]) >= newest.number[1]:
            return self._current
        known = ", ".join(sorted(self._by_version))
        text = f"header names version {version[:40]!r}; known are {known}"
        return Refusal(Reason.UNKNOWN_VERSION, text)

    def _decode_as(self, value: bytes, version: str) -> Decoded | Refusal:
        reader = self._reader_named(version)
        if isinstance(reader, Refusal):
            return reader
        payload = wire.strip_envelope(value)
        if isinstance(payload, Refusal):
            return payload
        try:
            message = reader.decode(payload.data)
        except FAILURES as error:
            return explain(Failure.of(error), reader.version, payload.data)
        return self._within_limits(message, version)

    def _strip_and_try(self, value: bytes, failure: Failure) -> Decoded | Refusal:
        """The bytes are no JSON as they are: strip what the wire added, and try again."""
        payload = wire.strip_envelope(value)
        if isinstance(payload, Refusal):
            return payload
        if len(payload.data) == len(value):
            return explain(failure, self._current.version, value)
        try:
            return self._within_limits(self._current.decode(payload.data), self._current.version)
        except FAILURES as error:
            data = payload.data
            return self._try_older(partial(decode_with, data=data), Failure.of(error), data)

    def _try_older(self, read: Read, failure: Failure, data: bytes) -> Decoded | Refusal:
        """The current version did not read it: an older one may explain what is missing."""
        nearest, first = self._current, failure
        for reader in self.readers[1:]:
            if not reader.explains(failure):
                continue
            try:
                message = read(reader)
            except FAILURES as error:
                found = Failure.of(error)
                # A function that fails had no message of that version before it, and only a
                # message that lacks a field is likely to be an older one.
                if first.missing_at_top and not found.text.startswith(CANNOT_LIFT):
                    nearest, failure = reader, found
                continue
            if reader.later_field(message):
                # Carries a field of a later version: it is a broken message of that one.
                return explain(first, self._current.version, data)
            return self._within_limits(message, reader.version)
        return explain(failure, nearest.version, data)
