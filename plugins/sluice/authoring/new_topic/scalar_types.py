"""The scalar types of a JSON Schema: strings, numbers, and choices of constants."""

from collections.abc import Mapping
from typing import Any

from sluice.authoring.new_topic.description import Choice, Scalar
from sluice.authoring.new_topic.json_bounds import (
    bounds_of,
    has_unchecked_step,
    integer_column,
)
from sluice.authoring.new_topic.schema_merge import is_in, refused

_FORMATS = {
    "date-time": "datetime",
    "date": "date",
    "time": "time",
    "duration": "timedelta",
    "uuid": "UUID",
    "decimal": "Decimal",
    "byte": "bytes",
}
"""Formats of strings: the type of each. ``byte`` is OpenAPI's name of base64."""

_KINDS: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def choice(words: Mapping[str, Any], path: str, reviews: list[str]) -> Scalar | Choice:
    """The type of some constants: all of them strings or integers, or else booleans or numbers.

    Raises:
        ContractError: they are of several types, or an integer is too large.
    """
    values: list[Any] = []
    for value in words["enum"]:
        if not is_in(value, values):
            values.append(int(value) if isinstance(value, float) and value % 1 == 0 else value)
    if kinds := words.get("type"):
        values = [value for value in values if _has_type(value, kinds)]
    if values and all(isinstance(value, bool) for value in values):
        if len(values) == 1:
            reviews.append(f"it is always {str(values[0]).lower()}, which is not checked")
        return Scalar("bool")
    if values and all(isinstance(value, str) for value in values):
        return Choice(tuple(values))
    if values and all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
        return Choice(tuple(values))
    if values and all(type(value) in (int, float) for value in values):
        reviews.append(f"'enum' is not checked: {', '.join(map(repr, values))}")
        return Scalar("float")
    raise refused(path, "its values are neither all strings nor all 64-bit integers")


def _has_type(value: Any, kinds: tuple[str, ...]) -> bool:
    kind = _KINDS.get(type(value), "")
    return kind in kinds or (kind == "integer" and "number" in kinds)


def string(words: Mapping[str, Any], path: str, reviews: list[str]) -> Scalar:
    """The type of a string, by its format.

    Raises:
        ContractError: a limit has the wrong type, or Python cannot compile the pattern.
    """
    bounds = bounds_of(words, "string", path)
    form, encoding = words.get("format"), words.get("contentEncoding")
    python = _FORMATS.get(form) if isinstance(form, str) else None
    if encoding == "base64":
        python = "bytes"
    elif encoding is not None:
        reviews.append(f"contentEncoding {encoding!r} is not decoded: the text is stored")
    if python is None:
        if form is not None:
            reviews.append(f"format {form!r} is not checked")
        return Scalar("str", bounds)
    if bounds:
        reviews.append(f"limits on the text of a {python} are not checked")
    return Scalar(python)


def number(words: Mapping[str, Any], kind: str, path: str, reviews: list[str]) -> Scalar:
    """The type of an integer or a number.

    Raises:
        ContractError: a limit has the wrong type, or no column is wide enough.
    """
    form = words.get("format")
    bounds = bounds_of(words, kind, path)
    if has_unchecked_step(words):
        reviews.append("'multipleOf' is not checked")
    if kind == "number" and form == "decimal":
        if bounds:
            reviews.append("limits on a Decimal are not checked")
        return Scalar("Decimal")
    if kind == "number":
        if form not in (None, "float", "double"):
            reviews.append(f"format {form!r} is not checked")
        return Scalar("float", bounds)
    column = integer_column(words, path)
    if form == "uint64" and not column:
        column = "UInt64"
    elif form not in (None, "int64"):
        reviews.append(f"format {form!r} is not checked")
    return Scalar("int", bounds, column)
