"""Default values, from JSON to Python source."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from sluice.authoring.new_topic.description import (
    Choice,
    DictOf,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
)
from sluice.authoring.new_topic.naming import attributes
from sluice.errors import ContractError

ClassOf = Callable[[Object], str]


def value_of(type_: Type, nullable: bool, value: Any, path: str, class_of: ClassOf) -> str:
    """A Python expression for a value of a type.

    Args:
        type_: the type that the value must have.
        nullable: whether it may be null.
        value: as JSON has it.
        path: the path of the field, for errors.
        class_of: returns the name of an object's class.

    Raises:
        ContractError: the value does not have the type; ``field`` is the path.
    """
    match type_, value:
        case _, None if nullable:
            return "None"
        case Scalar(python=python), _:
            return _scalar(python, value, path)
        case Choice(values=values), str() | int() if value in values:
            return repr(value)
        case ListOf(item=item, item_nullable=null), list():
            items = [value_of(item, null, one, path, class_of) for one in value]
            return f"[{', '.join(items)}]"
        case DictOf(value=inner, value_nullable=null), dict():
            pairs = [
                f"{key!r}: {value_of(inner, null, one, path, class_of)}"
                for key, one in value.items()
            ]
            return f"{{{', '.join(pairs)}}}"
        case Object(fields=fields), dict():
            return f"{class_of(type_)}({', '.join(_arguments(fields, value, path, class_of))})"
    raise _wrong_type(path, value)


def _arguments(
    fields: tuple[Field, ...], value: dict[str, Any], path: str, class_of: ClassOf
) -> list[str]:
    names = attributes([field.key for field in fields])
    arguments: list[str] = []
    for field in fields:
        inner_path = f"{path}.{field.key}"
        if field.key in value:
            inner = value_of(field.type, field.nullable, value[field.key], inner_path, class_of)
            arguments.append(f"{names[field.key]}={inner}")
        elif field.default is UNSET:
            raise ContractError(
                f"it is required, but the default of field {path!r} does not have it",
                field=inner_path,
            )
    return arguments


_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}
"""Types with JSON values of their own: the Python types of those values."""

_PARSED: dict[str, tuple[Any, Callable[[Any], str]]] = {
    "datetime": (datetime, lambda v: f"datetime.fromisoformat({v.isoformat()!r})"),
    "date": (date, lambda v: f"date.fromisoformat({v.isoformat()!r})"),
    "time": (time, lambda v: f"time.fromisoformat({v.isoformat()!r})"),
    "timedelta": (timedelta, lambda v: f"timedelta({_timedelta_arguments(v)})"),
    "UUID": (UUID, lambda v: f"UUID({str(v)!r})"),
    "Decimal": (Decimal, lambda v: f"Decimal({str(v)!r})"),
    "bytes": (bytes, lambda v: f"bytes.fromhex({v.hex()!r})"),
}
"""Types that JSON writes as strings: the class that parses them, and the source of a value."""


def _timedelta_arguments(span: timedelta) -> str:
    parts = (("days", span.days), ("seconds", span.seconds), ("microseconds", span.microseconds))
    return ", ".join(f"{name}={number}" for name, number in parts if number)


def _scalar(python: str, value: Any, path: str) -> str:
    if kinds := _PLAIN.get(python):
        if type(value) not in kinds:  # isinstance would accept a bool as an int
            raise _wrong_type(path, value)
        return repr(float(value) if python == "float" else value)
    kind, source_of = _PARSED[python]
    try:
        return source_of(msgspec.convert(value, kind))
    except msgspec.ValidationError as error:
        raise _wrong_type(path, value) from error


def _wrong_type(path: str, value: Any) -> ContractError:
    text = msgspec.json.encode(value).decode()
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return ContractError(f"its default {text} does not have its type", field=path)
