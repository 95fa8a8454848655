"""Decodes bytes to a validated message of the current version, or to the reason for a refusal.

Each version has a reader (:mod:`.version_readers`). The names of the fields that occur in the bytes
suggest which reader to try first. This guess only saves time: a message has the version whose
reader accepts it.
"""

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.checks import Violation
from sluice.contract.lossless import FineTimes, build_object_check
from sluice.contract.map_keys import build_key_check
from sluice.contract.time_cut import TimeCut
from sluice.contract.type_map import message_type
from sluice.contract.versions import CANNOT_LIFT, origin_of
from sluice.decode import wire
from sluice.decode.failures import FAILURES, NOT_TRIED, Failure, explain
from sluice.decode.version_markers import VersionMarkers
from sluice.decode.version_readers import (
    ReadWith,
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


def _older_names(contract: Contract) -> dict[str, list[str]]:
    """Field of the message → its names in older versions."""
    names: dict[str, list[str]] = {}
    for version in contract.versions:
        for field, older in origin_of(contract, version).renamed.items():
            names.setdefault(field, []).append(older)
    return names


def _out_of_range(violation: Violation, version: str) -> Refusal:
    return Refusal(Reason.OUT_OF_RANGE, violation.text, violation.path, version)


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
        self._markers = VersionMarkers(contract, self.readers)
        self._by_version = {reader.version: reader for reader in self.readers}
        self._current = self.readers[0]
        self._decode_current = msgspec.json.Decoder(contract.message).decode
        self._check_limits = message_type(contract.message).check
        self._check_object = build_object_check(contract.message)
        older_names = _older_names(contract)
        self._times = FineTimes(contract.message, older_names)
        self._suspect_time = self._times.suspect
        self._check_keys = build_key_check(contract.message, older_names)
        self._time_cut = TimeCut(contract.message, older_names)
        self._cuts = self._time_cut.is_needed

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
        if self._cuts:
            value = self._time_cut.cut(value)
        if decoded := self._decode_by_markers(value):
            return decoded
        try:
            message = self._decode_current(value)
        except msgspec.ValidationError as error:
            return self._try_older(partial(decode_with, data=value), Failure.of(error), value)
        except FAILURES as error:
            return self._strip_and_try(value, Failure.of(error))
        if decoded := self._decode_as_older(message, value):
            return decoded
        if self._check_keys is not None:
            return self._within_limits(message, self._current.version, value)
        if self._check_limits is not None and (violation := self._check_limits(message)):
            return _out_of_range(violation, self._current.version)
        if self._suspect_time is not None and self._suspect_time(value):
            return self._within_times(message, self._current.version, value)
        return message, self._current.version

    def filled(self, version: str) -> tuple[str, ...]:
        """Fields that are filled in for messages of ``version``; empty for an unknown version."""
        reader = self._by_version.get(version)
        return tuple(reader.filled) if reader else ()

    def _decode_by_markers(self, value: bytes) -> Decoded | Refusal | None:
        """Read a message that lacks the names of later fields; None if the guess was wrong."""
        guess = self._markers.guess(value)
        return self._decode_by_guess(guess, value) if guess else None

    def _decode_as_older(self, message: Struct, value: bytes) -> Decoded | Refusal | None:
        """Read a message in which the names of later fields are values only; None otherwise."""
        older = self._markers.reader_by_keys(message, value)
        return self._decode_by_guess(older, value) if older else None

    def _decode_by_guess(self, guess: VersionReader, value: bytes) -> Decoded | Refusal | None:
        try:
            message, later_field = guess.decode(value)
            if guess is not self.readers[-1]:
                older = self._markers.reader_by_keys(message, value)
                if older and older is not guess:
                    guess = older
                    message, later_field = guess.decode(value)
        except FAILURES:
            return None
        if later_field:  # its name was encoded with an escape sequence
            return None
        return self._within_limits(message, guess.version, value)

    def _within_limits(
        self, message: Struct, version: str, data: bytes, object_: Any = None
    ) -> Decoded | Refusal:
        """The message, or a refusal because a value would be changed.

        Args:
            data: the JSON that it was read from; empty if it was read from an object.
            object_: that object; otherwise None.
        """
        if self._check_limits is not None and (violation := self._check_limits(message)):
            return _out_of_range(violation, version)
        if self._check_keys is not None and (data or object_ is not None):
            try:
                raw = msgspec.json.decode(data) if data else object_
            except FAILURES as error:  # what msgspec passes over, such as a name that is not UTF-8
                return explain(Failure.of(error), version, data)
            if violation := self._check_keys(raw, message):
                return _out_of_range(violation, version)
        if data:
            if self._suspect_time is not None and self._suspect_time(data):
                return self._within_times(message, version, data)
            return message, version
        check = self._check_object
        violation = (check(message) if check else None) or self._times.find_in(object_)
        return _out_of_range(violation, version) if violation else (message, version)

    def _within_times(self, message: Struct, version: str, data: bytes) -> Decoded | Refusal:
        try:
            violation = self._times.find(data)
        except FAILURES as error:  # what msgspec passes over, such as a name that is not UTF-8
            return explain(Failure.of(error), version, data)
        return _out_of_range(violation, version) if violation else (message, version)

    def _decode_registered(
        self, value: bytes, version: str, payloads: "RegistryPayloads"
    ) -> Decoded | Refusal:
        """Read a message with the schema that its registry header names."""
        if refusal := wire.long_header(value):
            return refusal
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
        object_ = self._time_cut.cut_in(parsed.value)
        read = partial(convert_with, value=object_)
        if expected := version or parsed.version:
            reader = self._reader_of(expected)
            if isinstance(reader, Refusal):
                return reader
            try:
                message, _ = read(reader)
            except FAILURES as error:
                return explain(Failure.of(error), reader.version, b"")
            return self._within_limits(message, expected, b"", object_)
        try:
            message, _ = read(self._current)
        except FAILURES as error:
            return self._try_older(read, Failure.of(error), b"", object_)
        return self._within_limits(message, self._current.version, b"", object_)

    def _reader_of(self, version: str) -> VersionReader | Refusal:
        """The reader of the version that a header names."""
        if reader := self._by_version.get(version):
            return reader
        # A newer minor version only adds fields, so the current reader can read it.
        newest = self.contract.version
        match = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})", version)
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
        data = self._time_cut.cut(payload.data) if self._cuts else payload.data
        try:
            message, _ = reader.decode(data)
        except FAILURES as error:
            return explain(Failure.of(error), reader.version, data)
        # What a lift function returns is an object, not JSON.
        return self._within_limits(message, version, b"" if reader.origin.lifted else data)

    def _strip_and_try(self, value: bytes, failure: Failure) -> Decoded | Refusal:
        """Read bytes that are not plain JSON, after stripping their envelope."""
        payload = wire.strip_envelope(value)
        if isinstance(payload, Refusal):
            return payload
        if len(payload.data) == len(value):
            return explain(failure, self._current.version, value)
        data = self._time_cut.cut(payload.data) if self._cuts else payload.data
        if decoded := self._decode_by_markers(data):
            return decoded
        try:
            message = self._decode_current(data)
        except FAILURES as error:
            return self._try_older(partial(decode_with, data=data), Failure.of(error), data)
        if decoded := self._decode_as_older(message, data):
            return decoded
        return self._within_limits(message, self._current.version, data)

    def _try_older(
        self, read: ReadWith, failure: Failure, data: bytes, object_: Any = None
    ) -> Decoded | Refusal:
        """Read a message that the current reader refused with the readers of older versions."""
        nearest, first = self._current, failure
        for reader in self.readers[1:]:
            if not reader.explains(failure):
                continue
            try:
                message, later_field = read(reader)
            except FAILURES as error:
                older_failure = Failure.of(error)
                # If `lift` itself failed, the message is not of that version. Only a message that
                # lacks a field is likely to be of an older version at all.
                if first.missing_at_top and not older_failure.text.startswith(CANNOT_LIFT):
                    nearest, failure = reader, older_failure
                continue
            if later_field:
                # The message has a field of a later version, so it is an invalid one of that.
                return explain(first, self._current.version, data)
            text = b"" if reader.origin.lifted else data
            return self._within_limits(message, reader.version, text, object_)
        return explain(failure, nearest.version, data)
