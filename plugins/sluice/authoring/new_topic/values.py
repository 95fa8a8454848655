"""Default values, which come as JSON, as Python writes them."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from sluice.authoring.new_topic import layout
from sluice.authoring.new_topic.description import (
    Choice,
    DictOf,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
)
from sluice.authoring.new_topic.layout import Expression, Group, Leaf, call, keyword
from sluice.authoring.new_topic.naming import attributes
from sluice.errors import ContractError

ClassOf = Callable[[Object], str]


def value_of(type_: Type, nullable: bool, value: Any, path: str, class_of: ClassOf) -> Expression:
    """A value of a type, as an expression of the same value.

    Args:
        type_: what it must be.
        nullable: whether it may be null.
        value: as JSON has it.
        path: names the field in errors.
        class_of: the class of an object.

    Raises:
        ContractError: the type does not hold the value.
    """
    match type_, value:
        case _, None if nullable:
            return Leaf("None")
        case Scalar(python=python), _:
            return _scalar(python, value, path)
        case Choice(values=values), str() | int() if value in values:
            return leaf(value)
        case ListOf(item=item, item_nullable=maybe), list():
            items = [value_of(item, maybe, one, path, class_of) for one in value]
            return Group("", "[]", tuple(items))
        case DictOf(value=inner, value_nullable=maybe), dict():
            pairs = [
                keyword(layout.string(key), value_of(inner, maybe, one, path, class_of), ": ")
                for key, one in value.items()
            ]
            return Group("", "{}", tuple(pairs))
        case Object(fields=fields), dict():
            return call(class_of(type_), *_arguments(fields, value, path, class_of))
    raise _unfit(path, value)


def _arguments(
    fields: tuple[Field, ...], value: dict[str, Any], path: str, class_of: ClassOf
) -> list[Expression]:
    named = attributes([field.key for field in fields])
    given: list[Expression] = []
    for field in fields:
        here = f"{path}.{field.key}"
        if field.key in value:
            inner = value_of(field.type, field.nullable, value[field.key], here, class_of)
            given.append(keyword(named[field.key], inner))
        elif field.default is UNSET:
            raise ContractError(f"field {here!r} must be there, and the default lacks it")
    return given


def leaf(value: object) -> Leaf:
    """A string or a number as Python writes it."""
    # The formatter writes 1e22 where Python says 1e+22.
    return Leaf(layout.string(value) if isinstance(value, str) else repr(value).replace("e+", "e"))


_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}
"""What JSON has a kind of value for."""

_READ: dict[str, tuple[Any, Callable[[Any], Expression]]] = {
    "datetime": (datetime, lambda v: call("datetime.fromisoformat", leaf(v.isoformat()))),
    "date": (date, lambda v: call("date.fromisoformat", leaf(v.isoformat()))),
    "time": (time, lambda v: call("time.fromisoformat", leaf(v.isoformat()))),
    "timedelta": (timedelta, lambda v: call("timedelta", *_parts(v))),
    "UUID": (UUID, lambda v: call("UUID", leaf(str(v)))),
    "Decimal": (Decimal, lambda v: call("Decimal", leaf(str(v)))),
    "bytes": (bytes, lambda v: call("bytes.fromhex", leaf(v.hex()))),
}
"""What JSON has as a string: the type that reads it, and how its values are written."""


def _parts(span: timedelta) -> list[Leaf]:
    parts = (("days", span.days), ("seconds", span.seconds), ("microseconds", span.microseconds))
    return [Leaf(f"{name}={number}") for name, number in parts if number]


def _scalar(python: str, value: Any, path: str) -> Expression:
    if kinds := _PLAIN.get(python):
        if type(value) not in kinds:  # isinstance would take a bool for an int
            raise _unfit(path, value)
        return leaf(float(value) if python == "float" else value)
    kind, write = _READ[python]
    try:
        return write(msgspec.convert(value, kind))
    except msgspec.ValidationError as error:
        raise _unfit(path, value) from error


def _unfit(path: str, value: Any) -> ContractError:
    shown = msgspec.json.encode(value).decode()
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return ContractError(f"field {path!r} does not hold its default {shown}")
