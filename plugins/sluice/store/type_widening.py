"""Which ClickHouse type can take the place of another without changing a stored value."""

import re
from typing import NamedTuple


class Type(NamedTuple):
    """A type taken apart: ``Tuple(a Int8, b String)`` has two arguments with names."""

    name: str
    arguments: tuple[str, ...]


_INTEGER = re.compile(r"(U?)Int(8|16|32|64|128|256)")
_EXACT_IN_FLOAT64 = ("Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32", "Float32")


def parse(type_: str) -> Type:
    """Take a type apart at its outermost commas."""
    match = re.fullmatch(r"(\w+)\((.*)\)", type_.strip(), re.S)
    if not match:
        return Type(type_.strip(), ())
    parts, depth, quote, start, inside = [], 0, False, 0, match[2]
    for at, character in enumerate(inside):
        quote ^= character == "'"
        depth += (character == "(") - (character == ")")
        if character == "," and not depth and not quote:
            parts.append(inside[start:at].strip())
            start = at + 1
    return Type(match[1], (*parts, inside[start:].strip()))


def widens(old: str, new: str) -> bool:
    """Whether every value of ``old`` is one of ``new``, and stays the same value."""
    if old == new:
        return True
    before, after = parse(old), parse(new)
    if before.name == "LowCardinality":
        return widens(before.arguments[0], new)
    if after.name == "LowCardinality":
        return widens(old, after.arguments[0])
    if after.name == "Nullable":
        inner = before.arguments[0] if before.name == "Nullable" else old
        return widens(inner, after.arguments[0])
    if before.name == after.name:
        return _same_family(before, after)
    if (low := _INTEGER.fullmatch(old)) and (high := _INTEGER.fullmatch(new)):
        bits, wider = int(low[2]), int(high[2])
        return bits < wider and bool(low[1] or not high[1])
    if new == "Float64":
        return old in _EXACT_IN_FLOAT64
    return (before.name, after.name) in (("Date", "Date32"), ("DateTime", "DateTime64"))


def _same_family(before: Type, after: Type) -> bool:
    if before.name in ("Array", "Map"):
        return all(map(widens, before.arguments, after.arguments))
    if before.name == "Decimal":
        (digits, places), (more, finer) = _numbers(before), _numbers(after)
        return finer >= places and more - finer >= digits - places
    if before.name == "DateTime64":
        zones = before.arguments[1:] == after.arguments[1:]
        # Nanoseconds reach only from 1900 to 2262.
        return zones and int(before.arguments[0]) <= int(after.arguments[0]) < 9
    if before.name == "Tuple":
        old, new = map(_elements, (before, after))
        if old is None or new is None:
            return False
        return all(name in new and widens(type_, new[name]) for name, type_ in old.items())
    return False


def _numbers(type_: Type) -> tuple[int, int]:
    digits, places = (int(argument) for argument in type_.arguments)
    return digits, places


def _elements(type_: Type) -> dict[str, str] | None:
    """Named elements of a tuple, which the engine carries over by name; None without names."""
    found = {}
    for argument in type_.arguments:
        match = re.fullmatch(r"(`(?:[^`\\]|\\.)+`|[A-Za-z_]\w*) (\S.*)", argument, re.S)
        if not match:
            return None
        found[match[1].strip("`")] = match[2]
    return found
