"""What restricts a value in JSON Schema, as the keywords of ``msgspec.Meta``."""

import re
from collections.abc import Mapping
from typing import Any

from sluice.authoring.new_topic.description import Bounds
from sluice.contract.sql_type import smallest_integer
from sluice.errors import ContractError

_LENGTHS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_INT64 = (-(2**63), 2**63 - 1)


def bounds_of(schema: Mapping[str, Any], kind: str, path: str) -> Bounds:
    """Lengths and patterns, or least and greatest values.

    Raises:
        ContractError: one that is not of the right type, or a pattern that Python cannot read;
            names the path.
    """
    if kind in ("integer", "number"):
        return _of_number(schema, kind, path)
    found: list[tuple[str, Any]] = []
    for word, keyword in zip(("min_length", "max_length"), _LENGTHS[kind], strict=True):
        if keyword in schema:
            value = schema[keyword]
            if type(value) is not int or value < 0:
                raise _wrong(path, keyword, value)
            found.append((word, value))
    if kind == "string" and "pattern" in schema:
        pattern = schema["pattern"]
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ContractError(
                f"field {path!r}: Python cannot read its pattern {pattern!r} ({error})"
            ) from error
        found.append(("pattern", pattern))
    return tuple(found)


def integer_column(schema: Mapping[str, Any], path: str) -> str:
    """The column of an integer whose bounds go beyond Int64; empty for the usual one."""
    low, high = (_limit(schema, "integer", side, path) for side in ("min", "max"))
    return column_for(low[1] if low else 0, high[1] if high else 0, path)


def column_for(low: int, high: int, path: str) -> str:
    """The column for integers of a range; empty for the usual one, Int64.

    Raises:
        ContractError: no column holds them.
    """
    if _INT64[0] <= low and high <= _INT64[1]:
        return ""
    if found := smallest_integer(low, high, (64, 128, 256)):
        return found.name
    raise ContractError(f"field {path!r}: no column holds integers that big; --skip-field {path}")


def has_unchecked_step(schema: Mapping[str, Any]) -> bool:
    """Whether ``multipleOf`` is a fraction, which is not checked."""
    step = schema.get("multipleOf")
    return isinstance(step, float) and not step.is_integer()


def _of_number(schema: Mapping[str, Any], kind: str, path: str) -> Bounds:
    found: list[tuple[str, Any]] = []
    for side in ("min", "max"):
        if (limit := _limit(schema, kind, side, path)) is None:
            continue
        # msgspec takes no greater ones; the column holds the rest.
        if kind == "number" or _INT64[0] <= limit[1] <= _INT64[1]:
            found.append(limit)
    # The multiples of a fraction are no exact floats: msgspec would refuse 1.23 for 0.01.
    if "multipleOf" in schema and not has_unchecked_step(schema):
        step = _number(schema, "multipleOf", kind, path)
        if step <= 0:
            raise _wrong(path, "multipleOf", step)
        found.append(("multiple_of", step))
    return tuple(found)


def _limit(schema: Mapping[str, Any], kind: str, side: str, path: str) -> tuple[str, Any] | None:
    """The tighter of the two keywords for a side, as msgspec knows only one at a time."""
    keyword, exclusive = f"{side}imum", f"exclusive{side.capitalize()}imum"
    words = ("ge", "gt") if side == "min" else ("le", "lt")
    limits: list[tuple[str, Any]] = []
    if keyword in schema:
        limits.append((words[0], _number(schema, keyword, kind, path)))
    if exclusive in schema:
        limits.append((words[1], _number(schema, exclusive, kind, path)))
    if len(limits) < 2:
        return limits[0] if limits else None
    inclusive, strict = limits
    tighter = strict[1] >= inclusive[1] if side == "min" else strict[1] <= inclusive[1]
    return strict if tighter else inclusive


def _number(schema: Mapping[str, Any], keyword: str, kind: str, path: str) -> Any:
    value = schema[keyword]
    if type(value) not in (int, float) or (kind == "integer" and value % 1):
        raise _wrong(path, keyword, value)
    return int(value) if kind == "integer" else float(value)


def _wrong(path: str, keyword: str, value: object) -> ContractError:
    return ContractError(f"field {path!r}: {keyword} cannot be {value!r}")
