"""Choosing the key of a topic and the order of its table where nobody did."""

import re
from collections.abc import Mapping, Sequence
from datetime import date

from msgspec import Struct

from sluice.authoring.new_topic.description import (
    Choice,
    Description,
    DictOf,
    Draft,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
)
from sluice.authoring.new_topic.naming import attributes, module_name, singular, snake, unusable
from sluice.contract.ddl import LINEAGE
from sluice.errors import ContractError
from sluice.sql import quote_identifier

_NOT_NAMES = frozenset({"false", "true", "null", "not"})
"""Words that ClickHouse takes for a value or an operator where a column is meant (measured on
26.9, over all of its keywords)."""


class Choices(Struct, frozen=True, kw_only=True):
    """What a person chose; empty where it is left to the defaults."""

    key: str = ""
    order_by: tuple[str, ...] = ()
    owner: str = ""


def describe(topic: str, found: Draft, choices: Choices, released: date) -> Description:
    """The whole description of a contract.

    Raises:
        ContractError: no field can be the key or be ordered by, a chosen one is not there, or
            a field has a name that a contract cannot have.
    """
    message = found.message
    _check_keys(message, "")
    if clash := [field.key for field in message.fields if field.key in LINEAGE]:
        raise ContractError(
            f"field {clash[0]!r} has the name of a lineage column, which every table has;"
            f" leave it out with --skip-field {clash[0]}"
        )
    reviews: dict[str, str] = {}
    if choices.key:
        key = _named(message, choices.key)
    else:
        key = default_key(topic, message)
        reviews["key"] = f"nobody chose {key.key} as the key"
    order_by = tuple(sql for text in choices.order_by for sql in _columns(message, text))
    if not order_by:
        order_by = default_order(message, key)
        reviews["table"] = "nobody chose this order; put first what is searched by most"
    if not choices.owner:
        reviews["owner"] = "the team to call"
    return Description(
        topic=topic,
        found=found,
        key=key.key,
        order_by=order_by,
        owner=choices.owner or "unknown",
        released=released,
        reviews=reviews,
    )


def default_key(topic: str, message: Object) -> Field:
    """The field that most likely tells one message from another.

    Raises:
        ContractError: no field that is always there is fit to be it.
    """
    fit = [field for field in message.fields if _is_fit(field)]
    by_name: Mapping[str, Field] = {snake(field.key): field for field in reversed(fit)}
    for name in ("id", *(f"{one}_id" for one in _singulars(topic))):
        if name in by_name:
            return by_name[name]
    texts = [f for f in fit if isinstance(f.type, Scalar) and f.type.python in ("str", "UUID")]
    telling = [f for f in texts if isinstance(f.type, Scalar) and not f.type.low_cardinality]
    for candidates in ([f for f in fit if re.search(r"(^|_)id$", snake(f.key))], telling, texts):
        if candidates:
            return candidates[0]
    loose = [field.key for field in message.fields if field.nullable]
    raise ContractError(
        "no field is fit to be the key: none that is always there is an id or a string"
        + (f" ({_listed(loose)} may be null or missing)" if loose else "")
        + "; name one with --key, and what to order by with --order-by, such as --order-by _offset"
    )


def default_order(message: Object, key: Field) -> tuple[str, ...]:
    """The first time and the key, as SQL; without what may be null.

    Raises:
        ContractError: both may be null, so that nothing is left.
    """
    times = [
        field
        for field in message.fields
        if isinstance(field.type, Scalar) and field.type.python == "datetime"
    ]
    order = [field for field in times if not field.nullable][:1]
    if key not in order and _is_fit(key):
        order.append(key)
    if not order:
        raise ContractError(
            f"nothing to order the table by: {_listed([key.key, *(f.key for f in times)])} may be"
            " null or missing; name a field that every message has with --order-by, or take"
            " --order-by _offset"
        )
    return tuple(column_sql(field.key) for field in order)


def column_sql(name: str) -> str:
    """A column's name in SQL, quoted where it must be."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in _NOT_NAMES
    return name if plain else quote_identifier(name)


def _is_fit(field: Field) -> bool:
    return not field.nullable and isinstance(field.type, Scalar | Choice)


def _named(message: Object, name: str) -> Field:
    names = attributes([field.key for field in message.fields])
    for field in message.fields:
        if name in (field.key, names[field.key]):
            return field
    raise ContractError(
        f"--key {name}: the message has no such field ({_listed([f.key for f in message.fields])})"
    )


def _columns(message: Object, text: str) -> list[str]:
    """A field by its name as a column, or several; anything else is SQL already."""
    names = attributes([field.key for field in message.fields])
    columns = {name: column_sql(key) for key, name in names.items()}
    columns |= {key: column_sql(key) for key in names}
    if text in columns:
        return [columns[text]]
    # A comma between a function's arguments does not part columns.
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text)]
    return [columns.get(part, part) for part in parts if part]


def _check_keys(type_: Type, path: str) -> None:
    """Refuse names that msgspec or ClickHouse do not take."""
    match type_:
        case ListOf(item=inner) | DictOf(value=inner):
            _check_keys(inner, path)
        case Object(fields=fields):
            for field in fields:
                here = f"{path}.{field.key}" if path else field.key
                if why := unusable(field.key):
                    raise ContractError(
                        f"field {here!r}: {why}; leave it out with --skip-field {here!r}"
                    )
                _check_keys(field.type, here)


def _singulars(topic: str) -> list[str]:
    """What one message of the topic may be called: ``shop.orders.v1`` may be of orders."""
    parts = [p for p in module_name(topic).strip("_").split("_") if not re.fullmatch(r"v?\d+", p)]
    whole = "_".join(parts)
    return [*dict.fromkeys(singular(name) for name in (whole, *reversed(parts)))]


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name) for name in dict.fromkeys(names)]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
