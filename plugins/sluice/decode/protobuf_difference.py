"""Whether a Protobuf class reads what a writer's schema has written: bytes carry no types."""

from typing import Any

from sluice.decode.protobuf_schema import (
    SCALARS,
    WrittenEnum,
    WrittenField,
    WrittenMessage,
    WrittenTypes,
)
from sluice.kafka.payload_formats import is_repeated

_WIDER = {
    "int32": {"int64"},
    "sint32": {"sint64"},
    "uint32": {"uint64", "int64"},
    "bool": {"int32", "int64", "uint32", "uint64"},
    "string": {"bytes"},
}
"""Type of the writer → other types that read the same value from the same bytes."""

_UNKNOWN = "message or enum"
"""A type that is declared in a file which is not among the schema's references."""

_LIBRARY = "google.protobuf."
"""Types that come with Protobuf; a schema need not register the files that declare them."""


def difference(written: WrittenTypes, class_: Any) -> str:
    """Why a class cannot read what a writer writes, with the field's path; empty if it can.

    Messages are compared by the numbers of their fields, whatever they are called, and enums by
    the names of the numbers that both have.

    Args:
        class_: the class's descriptor.
    """
    message = written.get(class_.full_name)
    if not isinstance(message, WrittenMessage):
        return ""
    return _Comparison(written).of_messages(message, class_, "")


class _Comparison:
    """Compares messages and what they refer to, each pair once."""

    def __init__(self, written: WrittenTypes) -> None:
        self._written, self._seen = written, set[tuple[str, str]]()

    def of_messages(self, theirs: WrittenMessage, mine: Any, path: str) -> str:
        pair = (theirs.name, mine.full_name)
        if pair in self._seen:
            return ""
        self._seen.add(pair)
        for field in mine.fields:
            if (written := theirs.fields.get(field.number)) and (
                found := self._of_fields(written, field, mine, f"{path}{field.name}")
            ):
                return found
        return ""

    def _of_fields(self, theirs: WrittenField, mine: Any, within: Any, path: str) -> str:
        declared = next((self._written[n] for n in theirs.names if n in self._written), None)
        their_type, my_type = _type_name(theirs, declared), _class_type_name(mine)
        same = their_type == my_type or my_type in _WIDER.get(their_type, ())
        if their_type == _UNKNOWN:
            same = my_type in ("message", "enum") and not _is_other_library_type(theirs, mine)
        if not same or theirs.repeated != is_repeated(mine):
            their_text = theirs.names[-1] if their_type == _UNKNOWN else their_type
            return (
                f"field {path!r} (number {mine.number}) is"
                f" {_described(their_text, theirs.repeated)} in the writer's schema, and"
                f" {_described(my_type, is_repeated(mine))} in class {within.full_name}"
            )
        if isinstance(declared, WrittenMessage):
            return self.of_messages(declared, mine.message_type, f"{path}.")
        if isinstance(declared, WrittenEnum):
            return _of_enums(declared, mine.enum_type, path)
        return ""


def _of_enums(theirs: WrittenEnum, mine: Any, path: str) -> str:
    names: dict[int, set[str]] = {}
    for value in mine.values:
        names.setdefault(value.number, set()).add(value.name)
    for number, written in theirs.members.items():
        known = names.get(number)
        if known and not known & written:
            return (
                f"number {number} of enum field {path!r} is {min(written)} in the writer's schema,"
                f" and {min(known)} in enum {mine.full_name}"
            )
    return ""


def _described(type_: str, repeated: bool) -> str:
    return f"repeated {type_}" if repeated else type_


def _type_name(field: WrittenField, declared: WrittenMessage | WrittenEnum | None) -> str:
    if field.type:
        return field.type
    if declared is None:
        return _UNKNOWN
    return "message" if isinstance(declared, WrittenMessage) else "enum"


def _class_type_name(field: Any) -> str:
    return SCALARS.get(field.type) or ("message" if field.message_type else "enum")


def _is_other_library_type(theirs: WrittenField, mine: Any) -> bool:
    """Whether one of two types is a type of Protobuf's library, and the other is another type."""
    name = (mine.message_type or mine.enum_type).full_name
    is_library = name.startswith(_LIBRARY) or theirs.names[-1].startswith(_LIBRARY)
    return is_library and name not in theirs.names
