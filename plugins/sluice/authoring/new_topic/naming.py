"""Names of the definitions in a contract file: module, classes, attributes."""

import hashlib
import keyword
import re
import unicodedata
from collections.abc import Sequence

from sluice.authoring.new_topic.description import SCALARS
from sluice.errors import ContractError

HIDING = frozenset((*SCALARS, "list", "dict", "Annotated", "Literal", "Meta", "field", "column"))
"""Names that the classes of a contract file use. An attribute with such a name would hide the type
from the attributes below it."""

_AMBIGUOUS = frozenset({"l", "O", "I"})
_LONGEST_ATTRIBUTE, _LONGEST_STEM = 44, 26
"""Keep ``attribute: Class | None = None`` within the width of a line."""

LONGEST_NAME = 100
"""Of a module or a table: file systems and ClickHouse allow about 200 characters, with suffixes."""


def snake(name: str) -> str:
    """A name in lower case with underscores: ``orderId`` and ``order-id`` are ``order_id``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def singular(word: str) -> str:
    """The singular of a word: ``companies`` is ``company``, ``addresses`` is ``address``."""
    for ending, one in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + one
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def module_name(topic: str) -> str:
    """The default name of a topic's module and table, which other topics may have, too.

    A name that would be too long ends with a digest of the topic.

    Raises:
        ContractError: Kafka does not allow the topic's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or not re.search(r"[A-Za-z0-9]", topic):
        raise ContractError(
            "a topic's name consists of 1 to 249 letters, digits, dots, dashes and underscores",
            topic=topic,
        )
    name = snake(topic)
    if len(name) > LONGEST_NAME - len("topic_"):
        digest = hashlib.sha256(topic.encode()).hexdigest()[:8]
        name = f"{name[: LONGEST_NAME - len(f'topic__{digest}')]}_{digest}"
    if name[0].isdigit():
        name = f"topic_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def check_module_name(name: str) -> None:
    """Refuse a name that a module of the contracts' package cannot have.

    Raises:
        ContractError: with the reason.
    """
    plain = re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and not keyword.iskeyword(name)
    if not plain or len(name) > LONGEST_NAME:
        raise ContractError(
            f"--module {name!r} is not a module's name: it consists of up to {LONGEST_NAME}"
            " letters, digits and underscores"
        )


def check_table_name(name: str) -> None:
    """Refuse a name that a target table should not have.

    Raises:
        ContractError: with the reason.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or len(name) > LONGEST_NAME:
        raise ContractError(
            f"--table {name!r} is not a table's name: it consists of up to {LONGEST_NAME} letters,"
            " digits and underscores"
        )


def class_name(name: str) -> str:
    """The class of a topic, a field or a definition: ``line_items`` is ``LineItemsMessage``."""
    stem = "".join(part.capitalize() for part in snake(name).split("_"))
    stem = stem.removesuffix("Message")[:_LONGEST_STEM] or "Part"
    return f"{'Part' if stem[0].isdigit() else ''}{stem}Message"


def attributes(keys: Sequence[str]) -> dict[str, str]:
    """The attribute of each JSON key; a key that is a valid name stays as it is."""
    names = {key: key for key in keys if _attribute(key) == key}
    taken = set(names.values())
    for key in keys:
        if key in names:
            continue
        name = _attribute(key)
        number = 2
        while name in taken:
            name = f"{_attribute(key).rstrip('_')}_{number}"
            number += 1
        names[key] = name
        taken.add(name)
    return {key: names[key] for key in keys}


def _attribute(key: str) -> str:
    """The attribute of one key. A leading underscore would make it private in Python."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", key) if not unicodedata.combining(c))
    name = re.sub(r"[^A-Za-z0-9_]+", "_", plain).lstrip("_")[:_LONGEST_ATTRIBUTE]
    if not name:
        name = "field_"
    if name[0].isdigit():
        name = f"n{name}"
    reserved = keyword.iskeyword(name) or name in HIDING or name in _AMBIGUOUS
    return f"{name}_" if reserved or re.fullmatch(r"[A-Z]\w*Message", name) else name


def name_problem(key: str) -> str:
    """Why a JSON key cannot be the name of a field; empty when it can."""
    if not key:
        return "a field has an empty name"
    if re.search(r'[\\"\x00-\x1f]', key):
        return "msgspec allows no quotes, backslashes or control characters in names"
    return "ClickHouse parses its name as a query parameter" if re.search(r"\{\w+:", key) else ""
