"""The description of a topic's messages, independent of its source and of Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from sluice.errors import ContractError

TO_BE_WRITTEN = "To be written by the owner."
"""Placeholder for documentation that is not known."""

SCALARS = (
    "str",
    "int",
    "float",
    "bool",
    "datetime",
    "date",
    "time",
    "timedelta",
    "UUID",
    "Decimal",
    "bytes",
)
"""Scalar types, by their Python names."""

Bounds = tuple[tuple[str, Any], ...]
"""Keywords of ``msgspec.Meta`` and their values, such as ``("ge", 0)``."""


class Scalar(Struct, frozen=True):
    """A scalar value.

    Attributes:
        python: one of :data:`SCALARS`.
        bounds: its limits.
        column: the ClickHouse type; empty for the default one.
        low_cardinality: whether few distinct strings occur often.
    """

    python: str
    bounds: Bounds = ()
    column: str = ""
    low_cardinality: bool = False


class Choice(Struct, frozen=True):
    """One of a fixed set of strings or integers."""

    values: tuple[str | int, ...]


class ListOf(Struct, frozen=True):
    """A list; its items may be null when ``item_nullable``."""

    item: Type
    item_nullable: bool = False
    bounds: Bounds = ()


class DictOf(Struct, frozen=True):
    """An object whose keys are data; its values may be null when ``value_nullable``."""

    value: Type
    value_nullable: bool = False
    bounds: Bounds = ()


class Object(Struct, frozen=True):
    """An object with known fields.

    Attributes:
        name: the name of its class; the writer makes names distinct.
        fields: in the order of the source.
        doc: its meaning, as a sentence; empty when unknown.
        reviews: guesses about it, one sentence each.
    """

    name: str
    fields: tuple[Field, ...]
    doc: str = ""
    reviews: tuple[str, ...] = ()


Type = Scalar | Choice | ListOf | DictOf | Object


class Field(Struct, frozen=True, kw_only=True):
    """One field of an object.

    Attributes:
        key: its name in the JSON.
        type: its type when it is not null.
        nullable: whether it may be null.
        default: the value of a message without it, as JSON; UNSET when the field is required.
        doc: its meaning.
        reviews: guesses about it, one sentence each.
        column: the name of its column; empty for the name that follows from its path.
    """

    key: str
    type: Type
    nullable: bool = False
    default: Any = UNSET
    doc: str = TO_BE_WRITTEN
    reviews: tuple[str, ...] = ()
    column: str = ""


class ProtobufClass(Struct, frozen=True):
    """Where a contract has the class of its Protobuf messages from.

    Attributes:
        module, name: the generated class; empty if it is made of descriptors.
        descriptors: a serialized FileDescriptorSet: the message's file, and those it imports.
        path: names of the message and of those that it is nested in, the outermost first and with
            its package.
    """

    module: str = ""
    name: str = ""
    descriptors: bytes = b""
    path: tuple[str, ...] = ()


class Draft(Struct, frozen=True, kw_only=True):
    """A topic's messages according to one source: answers, a JSON Schema or sampled messages.

    Attributes:
        message: the message itself.
        sections: known sections of its documentation, by heading.
        history: the first entry of the version history, as a sentence.
        version: name of the version.
        notes: what the command prints about it, one sentence each.
        protobuf: the class of Protobuf messages; None if there are none.
    """

    message: Object
    sections: Mapping[str, str] = {}
    history: str = "First version."
    version: str = "1.0"
    notes: tuple[str, ...] = ()
    protobuf: ProtobufClass | None = None


class Description(Struct, frozen=True, kw_only=True):
    """The content of a contract file.

    Attributes:
        topic: the Kafka topic.
        table: the name of its table.
        draft: the message and its documentation.
        key: the field that identifies a message, by its name in the JSON.
        order_by: SQL over the columns of the table.
        owner: the responsible team.
        released: release date of the version.
        reviews: guesses about ``key``, ``table`` and ``owner``, by that name.
    """

    topic: str
    table: str
    draft: Draft
    key: str
    order_by: tuple[str, ...]
    owner: str
    released: date
    reviews: Mapping[str, str] = {}


def optional(field: Field, *, missing: bool, null: bool) -> Field:
    """A field that may be missing or null, as far as a table can store that.

    A column of lists or dicts cannot be null: messages with null are refused, and the field gets
    a review that says so.

    Args:
        field: a required field that is not nullable.
        missing: messages may leave it out.
        null: messages may carry null.
    """
    if not isinstance(field.type, ListOf | DictOf):
        default = None if missing else field.default
        return msgspec.structs.replace(field, nullable=True, default=default)
    is_list, reviews = isinstance(field.type, ListOf), field.reviews
    if null:
        kind = "list" if is_list else "dict"
        reviews += (f"messages with null here are refused, because a {kind} cannot be null",)
    default = ([] if is_list else {}) if missing else field.default
    return msgspec.structs.replace(field, reviews=reviews, default=default)


class SkippedFields:
    """The fields to leave out, by their path without brackets: ``items.price``."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = {name.replace("[]", "").strip(".") for name in names}
        self._matched: set[str] = set()

    def matches(self, path: str) -> bool:
        """Whether to leave out the field at a path."""
        plain = path.replace("[]", "").replace("{}", "")
        if plain not in self._names:
            return False
        self._matched.add(plain)
        return True

    def check(self) -> None:
        """Refuse names that matched no field.

        Raises:
            ContractError: ``field`` is the first such name.
        """
        if unknown := sorted(self._names - self._matched):
            raise ContractError("--skip-field names it, but it does not exist", field=unknown[0])


def skipped_review(path: str) -> str:
    """The review of a class from which a field was left out."""
    return f"field {path!r} is left out because of --skip-field; messages may still carry it"


def default_doc(path: str) -> str:
    """The documentation of an object that only its path describes."""
    return f"The value of ``{path}`` in a message" if path else ""


def objects(message: Object) -> Iterator[Object]:
    """An object and the objects within it, each once, the innermost first."""
    visited: list[Object] = []

    def visit(type_: Type) -> None:
        match type_:
            case ListOf(item=inner) | DictOf(value=inner):
                visit(inner)
            case Object(fields=fields) if type_ not in visited:
                for field in fields:
                    visit(field.type)
                visited.append(type_)

    visit(message)
    yield from visited
