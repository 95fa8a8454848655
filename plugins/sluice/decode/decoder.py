"""Decodes bytes to a validated message of the current version, or to the reason for a refusal.

Each version has a reader (:mod:`.version_readers`). The names of the fields that occur in the bytes
suggest which reader to try first. This guess only saves time: a message has the version whose
reader accepts it.
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
from sluice.refusals import Reason, Refusal

if TYPE_CHECKING:
    from sluice.decode.registry_payloads import RegistryPayloads

Decoded = tuple[Struct, str]
"""A message and the version that it was sent in. A message of an older version may be an instance
of a subclass of the current class."""


def _markers(contract: Contract, readers: list[VersionReader]) -> list[tuple[bytes, VersionReader]]:
    """For each version except the first, newest first: bytes that its messages contain and older
    ones do not, and the reader of the previous version.
    """
    names = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    markers = []
    for version, older in zip(reversed(contract.versions), readers[1:], strict=False):
        new = [name for name in (*version.added, *version.renamed.values()) if name in names]
        if older.origin.lifted:
            break
        markers += [(msgspec.json.encode(names[name]), older) for name in new[:1]]
    return markers


class Decoder:
    """Decodes the messages of one contract. The constructor compiles the readers of all versions.

    Args:
        contract: the contract of the messages.
        payloads: reads messages whose header names a schema in a registry. Without it only
            JSON payloads are read, and their version is inferred from their fields.
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
        """Decode and validate one message.

        Args:
            value: the message's bytes as read from Kafka.
            version: the version that a Kafka header names; if empty, it is inferred from the
                message's fields.

        Returns:
            The message and its version, or a refusal. Invalid bytes never raise.

        Raises:
            RegistryError: only with ``payloads``: the registry does not respond.
        """
        if value[:1] == b"\x00" and len(value) > HEADER_BYTES:
            if self._payloads is not None:
                return self._decode_registered(value, version, self._payloads)
            if not version:
                return self._strip_and_try(value, NOT_TRIED)
        if version:
            return self._decode_as(value, version)
        if self._markers and (decoded := self._decode_by_markers(value)):
            return decoded
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
        """Fields that are filled in for messages of ``version``; empty for an unknown version."""
        reader = self._by_version.get(version)
        return tuple(reader.filled) if reader else ()

    def _decode_by_markers(self, value: bytes) -> Decoded | Refusal | None:
        """Read a message that lacks the names of later fields; None if the guess was wrong."""
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
        if guess.later_field(message):  # its name was encoded with an escape sequence
            return None
        return self._within_limits(message, guess.version)

    def _within_limits(self, message: Struct, version: str) -> Decoded | Refusal:
        if self._check_limits is not None and (violation := self._check_limits(message)):
            return Refusal(Reason.OUT_OF_RANGE, violation.text, violation.path, version)
        return message, version

    def _decode_registered(
        self, value: bytes, version: str, payloads: "RegistryPayloads"
    ) -> Decoded | Refusal:
        """Read a message with the schema that its registry header names."""
        registered = payloads.schema(int.from_bytes(value[1:HEADER_BYTES], "big"))
        if isinstance(registered, Refusal):
            return registered
        if registered.type == "JSON":
            expected = version or payloads.version(registered)
            if expected:
                decoded = self._decode_as(value, expected)
                if version or not isinstance(decoded, Refusal):
                    return decoded
            return self._strip_and_try(value, NOT_TRIED)
        parsed = payloads.parse(registered, value)
        if isinstance(parsed, Refusal):
            return parsed
        read = partial(convert_with, value=parsed.value, strict=parsed.strict)
        if expected := version or parsed.version:
            reader = self._reader_of(expected)
            return reader if isinstance(reader, Refusal) else self._read_as(read, reader, expected)
        return self._read_by_fields(read)

    def _read_by_fields(self, read: Read) -> Decoded | Refusal:
        """Read an object whose version is unknown, with the current reader or an older one."""
        try:
            return self._within_limits(read(self._current), self._current.version)
        except FAILURES as error:
            return self._try_older(read, Failure.of(error), b"")

    def _read_as(self, read: Read, reader: VersionReader, version: str) -> Decoded | Refusal:
        try:
            return self._within_limits(read(reader), version)
        except FAILURES as error:
            return explain(Failure.of(error), reader.version, b"")

    def _reader_of(self, version: str) -> VersionReader | Refusal:
        """The reader of the version that a header names."""
        if reader := self._by_version.get(version):
            return reader
        # A newer minor version only adds fields, so the current reader can read it.
        newest = self.contract.version
        match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", version)
        if match and int(match[1]) == newest.number[0] and int(match[2]) >= newest.number[1]:
            return self._current
        known = ", ".join(sorted(self._by_version))
        text = f"the header names version {version[:40]!r}; known versions: {known}"
        return Refusal(Reason.UNKNOWN_VERSION, text)

    def _decode_as(self, value: bytes, version: str) -> Decoded | Refusal:
        reader = self._reader_of(version)
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
        """Read bytes that are not plain JSON, after stripping their envelope."""
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
        """Read a message that the current reader refused with the readers of older versions."""
        nearest, first = self._current, failure
        for reader in self.readers[1:]:
            if not reader.explains(failure):
                continue
            try:
                message = read(reader)
            except FAILURES as error:
                older_failure = Failure.of(error)
                # If `lift` itself failed, the message is not of that version. Only a message that
                # lacks a field is likely to be of an older version at all.
                if first.missing_at_top and not older_failure.text.startswith(CANNOT_LIFT):
                    nearest, failure = reader, older_failure
                continue
            if reader.later_field(message):
                # The message has a field of a later version, so it is an invalid one of that.
                return explain(first, self._current.version, data)
            return self._within_limits(message, reader.version)
        return explain(failure, nearest.version, data)
