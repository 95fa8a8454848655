"""Readers of the versions of a contract: from bytes or objects to current messages."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from sluice.contract import Contract, Version
from sluice.contract.numbers import parse_number
from sluice.contract.versions import (
    ABSENT,
    Origin,
    build_lift,
    origin_of,
    reader_class,
)
from sluice.decode.failures import Failure

Read = tuple[Any, str]
"""A message, and a field of a later version that it contained; empty if it contained none."""


BYTES = (bytes, bytearray, memoryview)
"""Avro and Protobuf have types of their own for these: a text in their place is not Base64."""


class VersionReader(Struct, frozen=True):
    """Reads messages of one version as the current class.

    Attributes:
        version: the version's name.
        origin: where the values of the current fields come from in this version's messages.
        absent_names: names in current messages of the fields that this version does not have.
        decode: converts JSON bytes to a message.
        convert: converts an object, as parsed from an Avro or Protobuf payload, to a message. The
            keys of its maps may be texts, as in JSON.
    """

    version: str
    origin: Origin
    absent_names: frozenset[str]
    decode: Callable[[bytes], Read]
    convert: Callable[[Any], Read]

    @property
    def filled(self) -> Mapping[str, Any]:
        """Field that was added later → the value that messages of this version get."""
        return self.origin.filled

    def explains(self, failure: Failure) -> bool:
        """Whether a message that the current reader refused this way may be of this version."""
        if self.origin.lifted:
            return failure.validation
        if failure.missing_at_top in self.absent_names:
            return True
        return failure.unknown_at_top in self.origin.removed | set(self.origin.renamed.values())


def build_reader(contract: Contract, version: Version) -> VersionReader:
    """The reader of one version's messages."""
    origin, current = origin_of(contract, version), contract.message
    names = {f.name: f.encode_name for f in msgspec.structs.fields(current)}
    absent = frozenset(names[name] for name in origin.absent_fields)
    if origin.lifted:
        lift = build_lift(contract, version)
        read = msgspec.json.Decoder(dict[str, Any], float_hook=parse_number).decode
        return VersionReader(
            version.name,
            origin,
            absent,
            lambda data: (lift(read(data)), ""),
            lambda value: (lift(value), ""),
        )
    struct = reader_class(contract, origin)
    decode = msgspec.json.Decoder(struct).decode
    convert = partial(msgspec.convert, type=struct, str_keys=True, builtin_types=BYTES)
    finish = _finisher(current, origin)
    return VersionReader(
        version.name,
        origin,
        absent,
        lambda data: finish(decode(data)),
        lambda value: finish(convert(value)),
    )


def _finisher(current: type[Struct], origin: Origin) -> Callable[[Any], Read]:
    """A function that fills what a message of an older version does not have."""
    filled = list(origin.filled.items())
    complete: Callable[[Any], Any] | None = None
    if origin.renamed:
        complete = partial(msgspec.convert, type=current, from_attributes=True)
    elif origin.filled and hasattr(current, "__post_init__"):
        complete = partial(_post_init, current)

    def finish(message: Any) -> Read:
        later = ""
        for name, value in filled:
            if getattr(message, name) is ABSENT:
                force_setattr(message, name, value)
            else:
                later = later or name
        return (complete(message) if complete else message), later

    return finish


def _post_init(current: Any, message: Any) -> Any:
    """Call the message's own ``__post_init__``, as msgspec does."""
    try:
        current.__post_init__(message)
    except (ValueError, TypeError) as error:
        raise msgspec.ValidationError(str(error)) from None
    return message


ReadWith = Callable[[VersionReader], Read]
"""Reads one given message with a version's reader."""


def decode_with(reader: VersionReader, data: bytes) -> Read:
    """Read JSON bytes with a version's reader."""
    return reader.decode(data)


def convert_with(reader: VersionReader, value: Any) -> Read:
    """Read an object with a version's reader."""
    return reader.convert(value)
