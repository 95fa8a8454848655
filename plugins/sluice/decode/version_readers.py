"""A reader for each version of a contract, from bytes or objects to messages of today."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from sluice.contract import Contract, Version
from sluice.contract.versions import Origin, exact, lifter, origin, reading_class
from sluice.decode.failures import Failure


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


def reader_of(contract: Contract, version: Version) -> Reader:
    """The reader of one version's messages."""
    found, current = origin(contract, version), contract.message
    if found.lifted:
        lift = lifter(contract, version)
        read = msgspec.json.Decoder(dict[str, Any], float_hook=exact).decode
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


Read = Callable[[Reader], Any]
"""Has a version's reader read a message that is at hand."""


def decode_with(reader: Reader, data: bytes) -> Any:
    """Read JSON."""
    return reader.decode(data)


def convert_with(reader: Reader, value: Any, strict: bool) -> Any:
    """Read an object."""
    return reader.convert(value, strict=strict)
