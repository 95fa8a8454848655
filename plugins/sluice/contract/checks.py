"""Checks of decoded values, and how checks of parts become checks of the whole."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Violation(NamedTuple):
    """A value that its column cannot hold.

    Attributes:
        path: its path within the checked value, ``[2].price``; empty for the checked value itself.
        text: what is wrong with it.
    """

    path: str
    text: str

    def below(self, parent: str) -> "Violation":
        """The same violation, with its path starting one level higher."""
        dot = "" if self.path.startswith("[") or not self.path else "."
        return Violation(f"{parent}{dot}{self.path}", self.text)


ValueCheck = Callable[[Any], Violation | None]
"""Returns the first violation in a value, or None."""


def each_item(
    check: ValueCheck | None, pairs: Callable[[Any], Iterable[tuple[Any, Any]]]
) -> ValueCheck | None:
    """A check of every item of a collection.

    Args:
        pairs: returns the items of a value, each with its place in the path.
    """
    if check is None:
        return None

    def check_each(values: Any) -> Violation | None:
        for index, value in pairs(values):
            if violation := check(value):
                return violation.below(f"[{index}]")
        return None

    return check_each


def each_element(checks: list[ValueCheck | None]) -> ValueCheck | None:
    """A check of the elements of a fixed tuple."""
    if not any(checks):
        return None

    def check_tuple(values: Any) -> Violation | None:
        for index, (check, value) in enumerate(zip(checks, values, strict=True)):
            if check and (violation := check(value)):
                return violation.below(f"[{index}]")
        return None

    return check_tuple


def each_entry(key: ValueCheck | None, value: ValueCheck | None) -> ValueCheck | None:
    """A check of the keys and values of a dict."""
    by_value = each_item(value, dict.items)
    by_key = each_item(key, lambda values: ((k, k) for k in values))
    if by_key is None or by_value is None:
        return by_key or by_value
    return lambda values: by_key(values) or by_value(values)


def each_field(checks: list[tuple[str, str, ValueCheck | None]]) -> ValueCheck | None:
    """A check of the fields of a Struct, given as attribute, name in messages and check."""
    fields = [(attribute, name, check) for attribute, name, check in checks if check]
    if not fields:
        return None

    def check_struct(value: Any) -> Violation | None:
        for attribute, name, check in fields:
            if violation := check(getattr(value, attribute)):
                return violation.below(name)
        return None

    return check_struct


def unless_null(check: ValueCheck | None) -> ValueCheck | None:
    """A check that accepts null."""
    return check and (lambda value: None if value is None else check(value))
