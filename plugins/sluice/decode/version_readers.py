"""Readers of the versions of a contract: from bytes or objects to current messages."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from sluice.contract import Contract, Version
from sluice.contract.versions import Origin, build_lift, origin_of, parse_number, reader_class
from sluice.decode.failures import Failure


class VersionReader(Struct, frozen=True):
    """Reads messages of one version as the current class.

    Attributes:
        version: the version's name.
        origin: where the values of the current fields come from in this version's messages.
        decode: converts JSON bytes to a message.
        convert: converts an object, as parsed from an Avro or Protobuf payload, to a message;
            takes ``strict`` as :func:`msgspec.convert` does.
    """

    version: str
    origin: Origin
    decode: Callable[[bytes], Any]
    convert: Callable[..., Any]

    @property
    def filled(self) -> Mapping[str, Any]:
        """Field that was added later → the value that messages of this version get."""
        return self.origin.filled

    def explains(self, failure: Failure) -> bool:
        """Whether a message that the current reader refused this way may be of this version."""
        if self.origin.lifted:
            return failure.validation
        return failure.missing_at_top in self.origin.absent_fields

    def later_field(self, message: Struct) -> str | None:
        """A later version's field that a message read as this version contained; else None."""
        if self.origin.lifted:
            return None
        for name, value in self.filled.items():
            if getattr(message, name) is not value:
                return name
        return None


def build_reader(contract: Contract, version: Version) -> VersionReader:
    """The reader of one version's messages."""
    origin, current = origin_of(contract, version), contract.message
    if origin.lifted:
        lift = build_lift(contract, version)
        read = msgspec.json.Decoder(dict[str, Any], float_hook=parse_number).decode
        return VersionReader(version.name, origin, lambda data: lift(read(data)), lift)
    struct = reader_class(contract, origin)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct).decode
    convert = partial(msgspec.convert, type=struct)
    if not origin.renamed:
        return VersionReader(version.name, origin, decode, convert)
    rename = partial(msgspec.convert, type=current, from_attributes=True)
    return VersionReader(
        version.name,
        origin,
        lambda data: rename(decode(data)),
        lambda value, **options: rename(convert(value, **options)),
    )


Read = Callable[[VersionReader], Any]
"""Reads one given message with a version's reader."""


def decode_with(reader: VersionReader, data: bytes) -> Any:
    """Read JSON bytes with a version's reader."""
    return reader.decode(data)


def convert_with(reader: VersionReader, value: Any, strict: bool) -> Any:
    """Read an object with a version's reader."""
    return reader.convert(value, strict=strict)
