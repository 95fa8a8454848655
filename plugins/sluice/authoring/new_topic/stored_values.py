"""Comparing a message with the row that ClickHouse returns for it."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.columns import columns_of

_MICROSECOND = timedelta(microseconds=1)


def changed_columns(contract: Contract, message: Struct, row: Mapping[str, Any]) -> dict[str, str]:
    """The columns whose value is not the one of the message: column → both values as text.

    Values that the client returns in a form of its own (bytes, objects of several classes) are
    not compared.
    """
    changed: dict[str, str] = {}
    for column in columns_of(contract.message):
        sent, stored = _value_at(message, column.path), row[column.name]
        if isinstance(sent, Struct):
            same = stored == 1  # whether the object was given
        elif sent is None and isinstance(stored, bool | list | dict):
            same = not stored  # the object that contains the field is null, or absent
        else:
            same = is_same(sent, stored)
        if not same:
            changed[column.name] = f"{sent!r} became {stored!r}"[:300]
    return changed


def _value_at(message: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of encoded names; None below an object that is null."""
    value = message
    for name in path:
        if value is None:
            return None
        fields = {f.encode_name: f.name for f in msgspec.structs.fields(value)}
        value = getattr(value, fields[name])
    return value


def is_same(sent: Any, stored: Any) -> bool:
    """Whether a stored value is the one that was sent."""
    match sent:
        case None:
            return stored is None
        case str() if isinstance(stored, bytes):
            return sent.encode() == stored.rstrip(b"\0")  # a FixedString
        case Enum():
            return is_same(sent.value, stored)
        case float():
            return bool(sent == stored or (math.isnan(sent) and math.isnan(stored)))
        case datetime():
            return _utc(sent) == _utc(stored) if isinstance(stored, datetime) else True
        case timedelta():
            return bool(sent // _MICROSECOND == stored)
        case time() if isinstance(stored, timedelta):
            at = datetime.combine(datetime.min, sent.replace(tzinfo=None))
            return at - datetime.min == stored
        case list() | tuple():
            pairs = zip(sent, stored, strict=False)
            return len(sent) == len(stored) and all(is_same(a, b) for a, b in pairs)
        case dict():
            return len(sent) == len(stored) and all(
                key in stored and is_same(value, stored[key]) for key, value in sent.items()
            )
        case Struct() if isinstance(stored, dict):
            return all(
                is_same(getattr(sent, field.name), stored[field.encode_name])
                for field in msgspec.structs.fields(sent)
            )
        case bytes() | bytearray() | memoryview() | Struct() | set() | frozenset() | time():
            return True
    return bool(sent == stored)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
