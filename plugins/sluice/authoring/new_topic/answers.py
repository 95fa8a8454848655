"""Field types as a person enters them at a prompt."""

import re

from sluice.authoring.new_topic.description import SCALARS, Choice, DictOf, ListOf, Scalar, Type
from sluice.authoring.new_topic.naming import snake
from sluice.errors import ContractError

TYPE_NAMES = (*SCALARS, "list[…]", "dict[str, …]", "one | of | these")
"""Accepted answers."""

_SUGGESTIONS = (
    (r"(^|_)id$", "str"),
    (r"(_at|_time|timestamp)$", "datetime"),
    (r"(^|_)(date|day)$", "date"),
    (r"^(is|has|can)_", "bool"),
    (r"(^|_)(count|quantity|number)$", "int"),
    (r"(^|_)(price|amount|total|share|rate)$", "float"),
    (r"(^|_)(tags|labels|names|ids)$", "list[str]"),
)
"""Patterns of field names, and the type that each suggests."""


def suggested_type(name: str) -> str:
    """The most likely type of a field with this name."""
    plain = snake(name)
    return next((type_ for pattern, type_ in _SUGGESTIONS if re.search(pattern, plain)), "str")


def type_of(answer: str) -> Type:
    """The type that an answer stands for.

    Raises:
        ContractError: the answer is not a type; the error lists the accepted answers.
    """
    text = answer.strip()
    if text in SCALARS:
        return Scalar(text)
    if match := re.fullmatch(r"list\[(.+)\]", text):
        return ListOf(type_of(match[1]))
    if match := re.fullmatch(r"dict\[str,\s*(.+)\]", text):
        return DictOf(type_of(match[1]))
    if "|" in text and all(values := [part.strip() for part in text.split("|")]):
        return Choice(tuple(dict.fromkeys(values)))
    raise ContractError(f"{text!r} is not a type; the types are {', '.join(TYPE_NAMES)}")
