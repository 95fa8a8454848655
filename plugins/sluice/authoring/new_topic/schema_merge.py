"""Joins the schemas that all apply to one value: ``allOf``, and ``$ref`` beside other keywords."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from sluice.errors import ContractError

Refs = tuple[str, ...]
"""References that are being resolved, to detect a cycle."""


class Part(Struct, frozen=True):
    """A schema within the document, and the references that lead to it."""

    schema: Any
    refs: Refs = ()


class Node(Struct, kw_only=True):
    """What the schemas of one value say together.

    Attributes:
        words: the keywords with plain values. ``type`` is a tuple of names without ``null``,
            ``const`` is an ``enum`` of one value, and an ``enum`` does not list null.
        properties: the schemas of each property.
        items, additional: the schemas of a list's items, and of further properties.
        closed: whether further properties are excluded; ``open``: whether they are allowed
            expressly.
        nullable: whether the value may be null.
        descriptions: the outermost first.
        reviews: what is not expressed, one sentence each.
    """

    words: dict[str, Any] = {}
    properties: dict[str, tuple[Part, ...]] = {}
    items: tuple[Part, ...] = ()
    additional: tuple[Part, ...] = ()
    closed: bool = False
    open: bool = False
    nullable: bool = False
    descriptions: tuple[str, ...] = ()
    reviews: list[str] = []

    @property
    def required(self) -> tuple[str, ...]:
        """The names that an object must have."""
        return tuple(self.words.get("required", ()))


_MOST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_LEAST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FIRST = ("title", "default", "$schema", "$id", "id", "examples", "example", "$comment")
"""Keywords of which the outermost schema decides."""


def merge(nodes: Iterable[Node], path: str) -> Node:
    """One node for a value to which all of them apply.

    Raises:
        ContractError: no value satisfies them all, or a contract cannot express their conjunction;
            ``field`` is the path.
    """
    result = Node()
    for node in nodes:
        result = _both(result, node, path)
    return result


def _both(one: Node, other: Node, path: str) -> Node:
    reviews = [*one.reviews, *other.reviews]
    words = _merge_words(one.words, other.words, path, reviews)
    properties = {
        name: (
            *one.properties.get(name, one.additional),
            *other.properties.get(name, other.additional),
        )
        for name in (*one.properties, *other.properties)
    }
    for closed, open_ in ((one, other), (other, one)):
        if closed.closed and (excluded := set(open_.properties) - set(closed.properties)):
            listed = ", ".join(map(repr, sorted(excluded)))
            if excluded & set(words.get("required", ())):
                raise _conflict(path, "additionalProperties", f"false excludes {listed}")
            if closed.properties:
                reviews.append(f"'additionalProperties': false excludes {listed}; they are kept")
    return Node(
        words=words,
        properties=properties,
        items=(*one.items, *other.items),
        additional=(*one.additional, *other.additional),
        closed=one.closed or other.closed,
        open=one.open or other.open,
        descriptions=(*one.descriptions, *other.descriptions),
        reviews=list(dict.fromkeys(reviews)),
    )


def _merge_words(
    one: Mapping[str, Any], other: Mapping[str, Any], path: str, reviews: list[str]
) -> dict[str, Any]:
    words = {**other, **one}
    for word in one.keys() & other.keys():
        a, b = one[word], other[word]
        if a == b and type(a) is type(b):
            continue
        words[word] = _merge_values(word, a, b, path, reviews)
    return words


def _merge_values(word: str, a: Any, b: Any, path: str, reviews: list[str]) -> Any:
    match word:
        case "type":
            if kinds := _common_types(a, b):
                return kinds
            raise _conflict(path, word, f"{' or '.join(a)} and {' or '.join(b)}")
        case "required":
            return list(dict.fromkeys([*a, *b]))
        case "enum":
            if values := [value for value in a if is_in(value, b)]:
                return values
            raise _conflict(path, word, "no value is in both")
        case "multipleOf" if type(a) is int and type(b) is int:
            return math.lcm(a, b)
        case "pattern":
            reviews.append(f"a second pattern {b!r} is not checked")
            return a
    if word in _MOST or word in _LEAST:
        if all(type(limit) in (int, float) for limit in (a, b)):
            return max(a, b) if word in _MOST else min(a, b)
    elif word in _FIRST or word.startswith("x-") or type(a) is bool:
        return a or b if type(a) is bool else a
    raise _conflict(path, word, f"{a!r} and {b!r}")


def _common_types(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    """The types in both; an integer is a number, too."""
    return tuple(
        kind
        for kind in dict.fromkeys((*a, *b))
        if all(kind in kinds or (kind == "integer" and "number" in kinds) for kinds in (a, b))
    )


def is_in(value: Any, values: Iterable[Any]) -> bool:
    """Whether a JSON value is among others; true is not 1."""
    return any(
        value == other and isinstance(value, bool) is isinstance(other, bool) for other in values
    )


def _conflict(path: str, word: str, why: str) -> ContractError:
    return refused(path, f"its schemas contradict each other in {word!r}: {why}")


def refused(path: str, why: str) -> ContractError:
    """The error for a field, or the message itself, that a contract cannot express."""
    if not path:
        return ContractError(f"the message: {why}")
    plain = path.replace("[]", "").replace("{}", "")
    return ContractError(f"{why}; --skip-field {plain} leaves it out", field=path)
