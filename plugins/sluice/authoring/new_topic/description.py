"""What a message is made of, in terms of neither JSON Schema, samples nor Python source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from sluice.errors import ContractError

TO_BE_WRITTEN = "To be written by the owner."
"""Stands where nothing is known."""

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
"""Types without parts, by their names in Python."""

Bounds = tuple[tuple[str, Any], ...]
"""Keywords of ``msgspec.Meta`` and their values, such as ``("ge", 0)``."""


class Scalar(Struct, frozen=True):
    """A value without parts.

    Attributes:
        python: one of :data:`SCALARS`.
        bounds: what restricts it.
        column: the ClickHouse type; empty for the usual one.
        low_cardinality: whether few strings are repeated often.
    """

    python: str
    bounds: Bounds = ()
    column: str = ""
    low_cardinality: bool = False


class Choice(Struct, frozen=True):
    """One of some strings or integers."""

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
        name: what its class should be called; the writer sees that names differ.
        fields: in the order in which they are written.
        doc: what it is, as a sentence; empty when that is not known.
        reviews: guesses about it, a sentence each.
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
        default: what a message without it gets, as JSON; UNSET when it must be there.
        doc: what it means.
        reviews: guesses about it, a sentence each.
    """

    key: str
    type: Type
    nullable: bool = False
    default: Any = UNSET
    doc: str = TO_BE_WRITTEN
    reviews: tuple[str, ...] = ()


class Draft(Struct, frozen=True, kw_only=True):
    """What one of the three ways found out about a topic's messages.

    Attributes:
        message: the message itself.
        sections: parts of its documentation that are known, by heading.
        history: what the first version is, as a sentence.
        version: name of the version.
        told: what a person should hear now, a sentence each.
    """

    message: Object
    sections: Mapping[str, str] = {}
    history: str = "First version."
    version: str = "1.0"
    told: tuple[str, ...] = ()


class Description(Struct, frozen=True, kw_only=True):
    """All that is written into a contract file.

    Attributes:
        topic: the Kafka topic.
        found: the message and what is known of it.
        key: the field that identifies a message, by its name in the JSON.
        order_by: SQL over the columns of the table.
        owner: team to call.
        released: the day of the version.
        reviews: guesses about ``key``, ``table`` and ``owner``, by that name.
    """

    topic: str
    found: Draft
    key: str
    order_by: tuple[str, ...]
    owner: str
    released: date
    reviews: Mapping[str, str] = {}


def optional(field: Field, *, missing: bool, null: bool) -> Field:
    """A field that may be missing or null, as far as a table can hold that.

    A list and a dict cannot be null there: messages with null will be refused, and the field's
    reviews say so.

    Args:
        field: so far without null and without a default.
        missing: messages may leave it out.
        null: messages may have null in its place.
    """
    if not isinstance(field.type, ListOf | DictOf):
        default = None if missing else field.default
        return msgspec.structs.replace(field, nullable=True, default=default)
    is_list, reviews = isinstance(field.type, ListOf), field.reviews
    if null:
        kind = "list" if is_list else "dict"
        reviews += (f"messages with null here are refused, since a {kind} cannot be null",)
    default = ([] if is_list else {}) if missing else field.default
    return msgspec.structs.replace(field, reviews=reviews, default=default)


class SkippedFields:
    """The fields to be left out, by their path without brackets: ``items.price``."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = {name.replace("[]", "").strip(".") for name in names}
        self._met: set[str] = set()

    def has(self, path: str) -> bool:
        """Whether the field at a path is left out."""
        plain = path.replace("[]", "").replace("{}", "")
        if plain not in self._names:
            return False
        self._met.add(plain)
        return True

    def check(self) -> None:
        """Refuse names that no field had.

        Raises:
            ContractError: names them.
        """
        if unknown := sorted(self._names - self._met):
            raise ContractError(f"--skip-field {unknown[0]}: there is no such field to leave out")


def left_out(path: str) -> str:
    """What a class says of a field that was left out of it."""
    return f"field {path!r} is left out, as --skip-field asked; messages may carry it all the same"


def place_of(path: str) -> str:
    """What is said of an object of which nothing is known but where it is."""
    return f"What a message has as ``{path}``" if path else ""


def objects(message: Object) -> Iterator[Object]:
    """An object and those within it, the innermost first, each once."""
    seen: list[Object] = []

    def visit(type_: Type) -> None:
        match type_:
            case ListOf(item=inner) | DictOf(value=inner):
                visit(inner)
            case Object(fields=fields) if type_ not in seen:
                for field in fields:
                    visit(field.type)
                seen.append(type_)

    visit(message)
    yield from seen
