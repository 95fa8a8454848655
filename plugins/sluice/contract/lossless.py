"""Checks for what msgspec changes when it reads a message, and for what JSON cannot carry.

Measured with msgspec 0.22: times and durations are rounded to microseconds; floats that are not
finite, which Avro, Protobuf and lift functions can produce, are written as null; and the offset of
a time zone is rounded to minutes.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract.checks import (
    ValueCheck,
    Violation,
    each_element,
    each_entry,
    each_field,
    each_item,
    unless_null,
)
from sluice.contract.inspection import struct_class, unwrap

FINER_THAN_MICROSECONDS = "is finer than microseconds"
"""Part of the text of such a violation."""


def build_object_check(struct: type[msgspec.Struct]) -> ValueCheck | None:
    """A check of a message that was not parsed from JSON; None if no field needs one."""
    return build_value_check(mi.type_info(struct))


def build_value_check(type_: mi.Type) -> ValueCheck | None:
    """The same for a value of any type."""
    return _object_check(type_, {})


Known = dict[type, ValueCheck | None]
"""The checks of Structs so far; one that is being built is looked up when it is called."""


def _object_check(type_: mi.Type, known: Known) -> ValueCheck | None:
    inner, _, nullable = unwrap(type_)
    check = _object_value_check(inner, known)
    return unless_null(check) if nullable else check


def _object_value_check(info: mi.Type, known: Known) -> ValueCheck | None:
    match info:
        case mi.FloatType():
            return _check_finite
        case mi.DateTimeType():
            return _check_offset
        case mi.StructType(fields=fields):
            return _once(
                info,
                known,
                lambda: each_field(
                    [(f.name, f.encode_name, _object_check(f.type, known)) for f in fields]
                ),
            )
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            return each_item(_object_check(item, known), enumerate)
        case mi.TupleType(item_types=items):
            return each_element([_object_check(item, known) for item in items])
        case mi.DictType(key_type=key, value_type=value):
            return each_entry(_object_check(key, known), _object_check(value, known))
        case mi.UnionType(types=types):
            structs = [t for t in types if isinstance(t, mi.StructType)]
            return _by_class({struct_class(t): _object_check(t, known) for t in structs})
    return None


def _once(
    info: mi.StructType, known: Known, build: Callable[[], ValueCheck | None]
) -> ValueCheck | None:
    """The check of a Struct, which may contain itself."""
    cls: type = info.cls
    if cls not in known:
        known[cls] = None
        known[cls] = build()
        return known[cls]

    def check_known(value: Any) -> Violation | None:
        check = known[cls]
        return check(value) if check else None

    return check_known


def _by_class(checks: Mapping[type, ValueCheck | None]) -> ValueCheck | None:
    if not any(checks.values()):
        return None

    def check_one(value: Any) -> Violation | None:
        check = checks.get(type(value))
        return check(value) if check else None

    return check_one


def _check_finite(value: float) -> Violation | None:
    return None if math.isfinite(value) else Violation("", f"{value} is not a finite number")


def _check_offset(value: datetime) -> Violation | None:
    offset = value.utcoffset()
    if offset is None or not offset.seconds % 60:
        return None
    text = f"{value.isoformat()} has an offset that is not in whole minutes; convert it to UTC"
    return Violation("", text)


class FineTimes:
    """Finds times and durations with more digits than microseconds, which msgspec rounds.

    Fields with ``column(truncate=True)`` are left out.

    Args:
        struct: the message class.
        older_names: field of the message → its names in older versions.

    Attributes:
        suspect: searches a message's JSON for what may be such a text; None if no field needs it.
    """

    def __init__(
        self, struct: type[msgspec.Struct], older_names: Mapping[str, Sequence[str]] = {}
    ) -> None:
        info = mi.type_info(struct)
        assert isinstance(info, mi.StructType)
        self._check = _fields_check(info, {}, older_names)
        kinds = set(_time_kinds(info, ()))
        self.suspect: Callable[[bytes], object] | None = None
        if mi.TimeDeltaType in kinds:
            self.suspect = _finds(rb"\.(?:\d{6}\d*[1-9]|\d+[DdHhMm])")
        elif kinds:
            self.suspect = _finds(rb"\.(?<=:\d\d\.)\d{6}\d*[1-9]")

    def find(self, data: bytes) -> Violation | None:
        """The first such text in a message's JSON."""
        return self.find_in(msgspec.json.decode(data))

    def find_in(self, value: Any) -> Violation | None:
        """The first such text in a parsed message."""
        return self._check(value) if self._check else None


def _finds(pattern: bytes) -> Callable[[bytes], object]:
    search = re.compile(pattern).search
    # JSON may write a digit or a point as an escape sequence, such as \u002e.
    return lambda data: search(data) or b"\\u00" in data


def _time_kinds(type_: mi.Type, stack: tuple[type, ...]) -> Iterator[type[mi.Type]]:
    """Which of the kinds of time occur in a type."""
    inner, options, _ = unwrap(type_)
    match inner:
        case mi.DateTimeType() | mi.TimeType() | mi.TimeDeltaType() if not options.truncate:
            yield type(inner)
        case mi.StructType(cls=cls, fields=fields) if cls not in stack:
            for field in fields:
                yield from _time_kinds(field.type, (*stack, cls))
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            yield from _time_kinds(item, stack)
        case mi.DictType(key_type=key, value_type=value):
            yield from _time_kinds(key, stack)
            yield from _time_kinds(value, stack)
        case mi.UnionType(types=types) | mi.TupleType(item_types=types):
            for item in types:
                yield from _time_kinds(item, stack)


def _text_check(type_: mi.Type, known: Known) -> ValueCheck | None:
    """A check of a parsed value, before msgspec reads its texts as times."""
    inner, options, _ = unwrap(type_)
    match inner:
        case mi.DateTimeType() | mi.TimeType() if not options.truncate:
            return _check_time_text
        case mi.TimeDeltaType():
            return _check_duration_text
        case mi.StructType():
            return _fields_check(inner, known)
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            return _if_of(list, each_item(_text_check(item, known), enumerate))
        case mi.TupleType(item_types=items):
            return _if_of(list, _elements_check([_text_check(item, known) for item in items]))
        case mi.DictType(key_type=key, value_type=value):
            return _if_of(dict, each_entry(_text_check(key, known), _text_check(value, known)))
        case mi.UnionType(types=types):
            return _by_tag([t for t in types if isinstance(t, mi.StructType)], known)
    return None


def _if_of(kind: type, check: ValueCheck | None) -> ValueCheck | None:
    if check is None:
        return None
    return lambda value: check(value) if isinstance(value, kind) else None


def _elements_check(checks: list[ValueCheck | None]) -> ValueCheck | None:
    check = each_element(checks)
    if check is None:
        return None
    return lambda values: check(values) if len(values) == len(checks) else None


def _fields_check(
    info: mi.StructType, known: Known, older: Mapping[str, Sequence[str]] = {}
) -> ValueCheck | None:
    def build() -> ValueCheck | None:
        fields = [
            (name, check)
            for field in info.fields
            if (check := _text_check(field.type, known))
            for name in (field.encode_name, *older.get(field.name, ()))
        ]
        return _if_of(dict, _entries_check(fields)) if fields else None

    return _once(info, known, build)


def _entries_check(fields: list[tuple[str, ValueCheck]]) -> ValueCheck:
    def check_object(value: Any) -> Violation | None:
        for name, check in fields:
            if name in value and (violation := check(value[name])):
                return violation.below(name)
        return None

    return check_object


def _by_tag(structs: list[mi.StructType], known: Known) -> ValueCheck | None:
    checks = {(t.tag_field, t.tag): check for t in structs if (check := _fields_check(t, known))}
    if not checks:
        return None

    def check_one(value: Any) -> Violation | None:
        for (tag_field, tag), check in checks.items():
            if isinstance(value, dict) and value.get(tag_field) == tag:
                return check(value)
        return None

    return check_one


_FINE = re.compile(r"\.\d{6}\d*[1-9]")
_PART = re.compile(r"(\d*\.\d+)([DHMS])", re.I)
_MICROSECONDS = {"D": 86_400_000_000, "H": 3_600_000_000, "M": 60_000_000, "S": 1_000_000}


def _check_time_text(value: Any) -> Violation | None:
    if not isinstance(value, str) or not _FINE.search(value):
        return None
    return Violation(
        "",
        f"{value[:40]} {FINER_THAN_MICROSECONDS}; declare the field str, or let the contract state"
        " the loss with column(truncate=True)",
    )


def _check_duration_text(value: Any) -> Violation | None:
    if not isinstance(value, str):
        return None
    for number, unit in _PART.findall(value):
        if Decimal(number) * _MICROSECONDS[unit.upper()] % 1:
            return Violation("", f"{value[:40]} {FINER_THAN_MICROSECONDS}; declare the field str")
    return None
