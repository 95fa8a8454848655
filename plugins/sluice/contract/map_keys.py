"""Finds maps of which entries were lost because two texts are one key.

JSON writes every key as a text. In ``dict[float, int]``, ``"1"`` and ``"1.0"`` are one key, and so
are two notations of a moment or of a UUID: msgspec keeps the last entry of such keys.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract.checks import Violation
from sluice.contract.inspection import struct_class, unwrap

Check = Callable[[Any, Any], Violation | None]
"""Compares a value as parsed from JSON with what msgspec has read."""

Known = dict[type, Check | None]
"""The checks of Structs so far; one that is being built is looked up when it is called."""


def build_key_check(
    struct: type[msgspec.Struct], older_names: Mapping[str, Sequence[str]] = {}
) -> Check | None:
    """A check of a message against its parsed JSON; None if no map of it can lose an entry.

    Args:
        older_names: field of the message → its names in older versions.
    """
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _fields_check(info, {}, older_names)


def _check_of(type_: mi.Type, known: Known) -> Check | None:
    inner, _, _ = unwrap(type_)
    match inner:
        case mi.StructType():
            return _fields_check(inner, known, {})
        case mi.DictType(key_type=key, value_type=value):
            return _map_check(not _is_text(unwrap(key)[0]), _check_of(value, known))
        case mi.ListType(item_type=item) | mi.VarTupleType(item_type=item):
            return _items_check(_check_of(item, known))
        case mi.TupleType(item_types=items):
            return _elements_check([_check_of(item, known) for item in items])
        case mi.UnionType(types=types):
            structs = [t for t in types if isinstance(t, mi.StructType)]
            return _union_check({struct_class(t): _fields_check(t, known, {}) for t in structs})
    return None


def _is_text(key: mi.Type) -> bool:
    """Whether different texts are different keys."""
    match key:
        case mi.StrType():
            return True
        case mi.LiteralType(values=values):
            return all(isinstance(value, str) for value in values)
        case mi.EnumType(cls=cls):
            return all(isinstance(member.value, str) for member in cls)
    return False


def _map_check(may_lose: bool, inner: Check | None) -> Check | None:
    if not may_lose and inner is None:
        return None

    def check(raw: Any, read: Any) -> Violation | None:
        if not isinstance(raw, dict) or not isinstance(read, dict):
            return None
        if len(raw) != len(read):
            text = f"its {len(raw)} keys are only {len(read)} different ones"
            return Violation("", f"{text}; an entry would be lost")
        if inner is None:
            return None
        # Nothing was lost, so both are in one order.
        pairs = zip(raw.items(), read.values(), strict=True)
        return _first((f"[{key}]", inner(value, mine)) for (key, value), mine in pairs)

    return check


def _items_check(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(raw: Any, read: Any) -> Violation | None:
        if not isinstance(raw, list) or read is None:
            return None
        pairs = enumerate(zip(raw, read, strict=True))
        return _first((f"[{number}]", inner(*pair)) for number, pair in pairs)

    return check


def _elements_check(checks: list[Check | None]) -> Check | None:
    if not any(checks):
        return None

    def check(raw: Any, read: Any) -> Violation | None:
        if not isinstance(raw, list) or read is None:
            return None
        parts = enumerate(zip(checks, raw, read, strict=True))
        return _first((f"[{n}]", inner(r, mine)) for n, (inner, r, mine) in parts if inner)

    return check


def _union_check(checks: Mapping[type, Check | None]) -> Check | None:
    if not any(checks.values()):
        return None

    def check(raw: Any, read: Any) -> Violation | None:
        inner = checks.get(type(read))
        return inner(raw, read) if inner else None

    return check


def _fields_check(
    info: mi.StructType, known: Known, older: Mapping[str, Sequence[str]]
) -> Check | None:
    cls: type = info.cls
    if cls in known:

        def check_known(raw: Any, read: Any) -> Violation | None:
            inner = known[cls]
            return inner(raw, read) if inner else None

        return check_known
    known[cls] = None
    checks = [
        (field.name, (field.encode_name, *older.get(field.name, ())), inner)
        for field in info.fields
        if (inner := _check_of(field.type, known))
    ]

    def check_fields(raw: Any, read: Any) -> Violation | None:
        if not isinstance(raw, dict) or read is None:
            return None
        for attribute, names, inner in checks:
            for name in names:
                if name in raw and (found := inner(raw[name], getattr(read, attribute))):
                    return found.below(name)
        return None

    known[cls] = check_fields if checks else None
    return known[cls]


def _first(found: Iterable[tuple[str, Violation | None]]) -> Violation | None:
    """The first violation, with its place."""
    return next((violation.below(place) for place, violation in found if violation), None)
