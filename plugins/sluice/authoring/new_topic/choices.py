"""The key of a topic and the order of its table: as chosen, or by default."""

import re
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec
from msgspec import Struct

from sluice.authoring.new_topic.column_naming import column_of, name_columns
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
from sluice.authoring.new_topic.naming import attributes, module_name, name_problem, singular, snake
from sluice.errors import ContractError
from sluice.sql import quote_identifier

_NOT_NAMES = frozenset({"false", "true", "null", "not"})
"""Words that ClickHouse parses as a value or an operator in place of a column (measured on 26.9,
over all of its keywords)."""


class Choices(Struct, frozen=True, kw_only=True):
    """Explicit choices; empty where the default applies."""

    key: str = ""
    order_by: tuple[str, ...] = ()
    owner: str = ""
    table: str = ""


def describe(topic: str, draft: Draft, choices: Choices, released: date) -> Description:
    """The whole description of a contract.

    Raises:
        ContractError: no field can be the key or the order, a chosen field does not exist, or
            a contract cannot have the name of ``field``.
    """
    _check_names(draft.message, "")
    message = name_columns(draft.message)
    draft = msgspec.structs.replace(draft, message=message)
    reviews: dict[str, str] = {}
    if choices.key:
        key = _find_field(message, choices.key)
    else:
        key = default_key(topic, message)
        reviews["key"] = f"{key.key} is the key by default"
    order_by = tuple(sql for text in choices.order_by for sql in _columns(message, text))
    if not order_by:
        order_by = default_order(message, key)
        reviews["table"] = "the default order; put the columns that queries filter by most first"
    if not choices.owner:
        reviews["owner"] = "enter the responsible team"
    return Description(
        topic=topic,
        table=choices.table or module_name(topic),
        draft=draft,
        key=key.key,
        order_by=order_by,
        owner=choices.owner or "unknown",
        released=released,
        reviews=reviews,
    )


def default_key(topic: str, message: Object) -> Field:
    """The field that most likely identifies a message.

    Raises:
        ContractError: no required field can be the key.
    """
    fields = [field for field in message.fields if _is_sortable(field)]
    by_name: Mapping[str, Field] = {snake(field.key): field for field in reversed(fields)}
    for name in ("id", *(f"{one}_id" for one in _singulars(topic))):
        if name in by_name:
            return by_name[name]
    ids = [f for f in fields if re.search(r"(^|_)id$", snake(f.key))]
    texts = [f for f in fields if isinstance(f.type, Scalar) and f.type.python in ("str", "UUID")]
    distinct = [f for f in texts if isinstance(f.type, Scalar) and not f.type.low_cardinality]
    for candidates in (ids, distinct, texts):
        if candidates:
            return candidates[0]
    nullable = [field.key for field in message.fields if field.nullable]
    raise ContractError(
        "no field can be the key: no required field is an id or a string"
        + (f" ({_listed(nullable)} may be null or missing)" if nullable else "")
        + "; choose the key with --key, and the order with --order-by, such as --order-by _offset"
    )


def default_order(message: Object, key: Field) -> tuple[str, ...]:
    """The first timestamp and the key, as SQL; without nullable fields.

    Raises:
        ContractError: both are nullable.
    """
    times = [
        field
        for field in message.fields
        if isinstance(field.type, Scalar) and field.type.python == "datetime"
    ]
    order = [field for field in times if not field.nullable][:1]
    if key not in order and _is_sortable(key):
        order.append(key)
    if not order:
        raise ContractError(
            f"the table has no default order: {_listed([key.key, *(f.key for f in times)])} may be"
            " null or missing; name a required field with --order-by, or use --order-by _offset"
        )
    return tuple(column_sql(column_of(field)) for field in order)


def column_sql(name: str) -> str:
    """A column's name in SQL, quoted if necessary."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in _NOT_NAMES
    return name if plain else quote_identifier(name)


def _is_sortable(field: Field) -> bool:
    return not field.nullable and isinstance(field.type, Scalar | Choice)


def _find_field(message: Object, name: str) -> Field:
    names = attributes([field.key for field in message.fields])
    for field in message.fields:
        if name in (field.key, names[field.key]):
            return field
    known = _listed([field.key for field in message.fields])
    raise ContractError(f"--key names it, but the message does not have it ({known})", field=name)


def _columns(message: Object, text: str) -> list[str]:
    """The columns of one --order-by: names of fields become columns, other text is SQL."""
    names = attributes([field.key for field in message.fields])
    by_key = {field.key: column_sql(column_of(field)) for field in message.fields}
    columns = {name: by_key[key] for key, name in names.items()} | by_key
    if text in columns:
        return [columns[text]]
    # A comma between a function's arguments does not separate columns.
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text)]
    return [columns.get(part, part) for part in parts if part]


def _check_names(type_: Type, path: str) -> None:
    """Refuse names that msgspec or ClickHouse do not accept."""
    match type_:
        case ListOf(item=inner) | DictOf(value=inner):
            _check_names(inner, path)
        case Object(fields=fields):
            for field in fields:
                inner_path = f"{path}.{field.key}" if path else field.key
                if problem := name_problem(field.key):
                    raise ContractError(
                        f"{problem}; leave it out with --skip-field {inner_path!r}",
                        field=inner_path,
                    )
                _check_names(field.type, inner_path)


def _singulars(topic: str) -> list[str]:
    """Possible names of one message of the topic: an ``order`` for ``shop.orders.v1``."""
    parts = [p for p in module_name(topic).strip("_").split("_") if not re.fullmatch(r"v?\d+", p)]
    whole = "_".join(parts)
    return [*dict.fromkeys(singular(name) for name in (whole, *reversed(parts)))]


def _listed(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in dict.fromkeys(names)]
    more = f" and {len(quoted) - 10} more" if len(quoted) > 10 else ""
    return ", ".join(quoted[:10]) + more
