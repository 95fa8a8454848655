"""The types of sampled strings, times and decimals."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from sluice.authoring.new_topic.description import Scalar

_REPEATS = 10
_MOST_DISTINCT = 100
"""A string field is low-cardinality when it has at most ``_MOST_DISTINCT`` distinct strings, each
``_REPEATS`` times on average."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EARLIEST, _LATEST = (
    datetime(1900, 1, 1, tzinfo=UTC),
    datetime(2299, 12, 31, 23, 59, 59, tzinfo=UTC),
)
_DECIMAL_DIGITS, _DECIMAL_PLACES = 38, 9
"""The default column of decimals."""


def scalar_of(kind: str, values: Sequence[Any]) -> Scalar:
    """The type of values that are of one kind already."""
    return Scalar(kind, column=_decimal_column(values)) if kind == "Decimal" else Scalar(kind)


def _decimal_column(values: Sequence[Decimal]) -> str:
    """The column for decimals with more digits than the default one has; empty if it has enough."""
    finite = [value for value in values if value.is_finite()]
    places = max((-int(value.as_tuple().exponent) for value in finite), default=0)
    whole = max((value.adjusted() + 1 for value in finite), default=0)
    if places <= _DECIMAL_PLACES and whole <= _DECIMAL_DIGITS - _DECIMAL_PLACES:
        return ""
    digits = _DECIMAL_DIGITS if whole + places <= _DECIMAL_DIGITS else 2 * _DECIMAL_DIGITS
    return f"Decimal({digits}, {min(max(places, 0), digits)})"


def number_type(values: Sequence[int | float], reviews: list[str]) -> Scalar | None:
    """The type of numbers with and without a fraction; None if no column holds them all.

    An integer that a float cannot hold makes it a Decimal, which is read from JSON to the digit.
    """
    large = [v for v in values if isinstance(v, int) and abs(v) > 2**53 and int(float(v)) != v]
    if not large:
        return Scalar("float")
    exact = [Decimal(repr(value)) for value in values]
    places = max(0, *(-int(value.as_tuple().exponent) for value in exact))
    if max(value.adjusted() + 1 for value in exact) + places > 2 * _DECIMAL_DIGITS:
        return None
    reviews.append(f"a float cannot hold {large[0]}, so it is a Decimal")
    return Scalar("Decimal", column=_decimal_column(exact))


def text_type(values: list[str], reviews: list[str]) -> Scalar:
    """The type of a field of strings."""
    for python, reads in (("datetime", _is_datetime), ("date", _is_date), ("UUID", _is_uuid)):
        fitting = sum(map(reads, values))
        if fitting == len(values):
            return Scalar(python)
        if fitting > len(values) / 2:
            others = len(values) - fitting
            reviews.append(
                f"{fitting:,} of {len(values):,} are a {python}; it is a str because of the other"
                f" {others:,}"
            )
    if finer := sum(map(_is_too_fine, values)):
        reviews.append(
            f"{finer:,} of {len(values):,} have a time finer than microseconds, which only a str"
            " keeps"
        )
    distinct = len(set(values))
    few = distinct <= _MOST_DISTINCT and distinct * _REPEATS <= len(values)
    return Scalar("str", low_cardinality=few)


def _is_too_fine(text: str) -> bool:
    """Whether a time would be rounded to microseconds."""
    return re.match(r"[^.]*\d:\d\d\.\d{6}0*[1-9]", text) is not None


def _is_datetime(text: str) -> bool:
    if _is_too_fine(text):
        return False
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return False
    return _EARLIEST <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) <= _LATEST


def _is_date(text: str) -> bool:
    try:
        return _EARLIEST.date() <= msgspec.convert(text, date) <= _LATEST.date()
    except msgspec.ValidationError:
        return False


def _is_uuid(text: str) -> bool:
    # msgspec also reads 32 digits without dashes, but they may be any hash.
    return _UUID.fullmatch(text) is not None
