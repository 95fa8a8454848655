"""A reader for each version of a contract, from bytes or objects to messages of today."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from sluice.contract import Contract, Version
from sluice.contract.versions import Origin, build_lift, origin_of, parse_number, reader_class
from sluice.decode.failures import Failure


class VersionReader(Struct, frozen=True):
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

    def explains(self, failure: Failure) -> bool:
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


def build_reader(contract: Contract, version: Version) -> VersionReader:
    """The reader of one version's messages."""
    found, current = origin_of(contract, version), contract.message
    if found.lifted:
        lift = build_lift(contract, version)
        read = msgspec.json.Decoder(dict[str, Any], float_hook=parse_number).decode
        return VersionReader(version.name, found, lambda data: lift(read(data)), lift)
    struct = reader_class(contract, found)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct).decode
    convert = partial(msgspec.convert, type=struct)
    if not found.renamed:
        return VersionReader(version.name, found, decode, convert)
    rename = partial(msgspec.convert, type=current, from_attributes=True)
    return VersionReader(
        version.name,
        found,
        lambda data: rename(decode(data)),
        lambda value, **how: rename(convert(value, **how)),
    )


Read = Callable[[VersionReader], Any]
"""Has a version's reader read a message that is at hand."""


def decode_with(reader: VersionReader, data: bytes) -> Any:
    """Read JSON."""
    return reader.decode(data)


def convert_with(reader: VersionReader, value: Any, strict: bool) -> Any:
    """Read an object."""
    return reader.convert(value, strict=strict)
