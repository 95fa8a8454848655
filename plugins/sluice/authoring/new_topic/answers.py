"""Types as a person writes them in answer to a question."""

import re

from sluice.authoring.new_topic.description import SCALARS, Choice, DictOf, ListOf, Scalar, Type
from sluice.authoring.new_topic.naming import snake
from sluice.errors import ContractError

FORMS = (*SCALARS, "list[…]", "dict[str, …]", "one | of | these")
"""What can be answered."""

_BY_NAME = (
    (r"(^|_)id$", "str"),
    (r"(_at|_time|timestamp)$", "datetime"),
    (r"(^|_)(date|day)$", "date"),
    (r"^(is|has|can)_", "bool"),
    (r"(^|_)(count|quantity|number)$", "int"),
    (r"(^|_)(price|amount|total|share|rate)$", "float"),
    (r"(^|_)(tags|labels|names|ids)$", "list[str]"),
)
"""The type that a name suggests."""


def suggested_type(name: str) -> str:
    """The type that a field of this name most likely has."""
    plain = snake(name)
    return next((type_ for pattern, type_ in _BY_NAME if re.search(pattern, plain)), "str")


def type_of(answer: str) -> Type:
    """The type that an answer means.

    Raises:
        ContractError: it means none; says what can be answered.
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
    raise ContractError(f"{text!r} is no type; there are {', '.join(FORMS)}")
