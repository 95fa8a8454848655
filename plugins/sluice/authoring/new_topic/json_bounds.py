"""The limits of a value in JSON Schema, as keywords of ``msgspec.Meta``."""

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
    """Lengths and patterns, or minimum and maximum.

    Raises:
        ContractError: a limit has the wrong type, or Python cannot compile a pattern; ``field``
            is the path.
    """
    if kind in ("integer", "number"):
        return _number_bounds(schema, kind, path)
    bounds: list[tuple[str, Any]] = []
    for name, keyword in zip(("min_length", "max_length"), _LENGTHS[kind], strict=True):
        if keyword in schema:
            value = schema[keyword]
            if type(value) is not int or value < 0:
                raise _wrong_limit(path, keyword, value)
            bounds.append((name, value))
    if kind == "string" and "pattern" in schema:
        pattern = schema["pattern"]
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ContractError(
                f"Python cannot compile its pattern {pattern!r} ({error}); change it in the schema",
                field=path,
            ) from error
        bounds.append(("pattern", pattern))
    return tuple(bounds)


def integer_column(schema: Mapping[str, Any], path: str) -> str:
    """The column of an integer whose bounds exceed Int64; empty for the default one."""
    low, high = (_limit(schema, "integer", side, path) for side in ("min", "max"))
    return column_for(low[1] if low else 0, high[1] if high else 0, path)


def column_for(low: int, high: int, path: str) -> str:
    """The column for integers of a range; empty for the default one, Int64.

    Raises:
        ContractError: no column is wide enough.
    """
    if _INT64[0] <= low and high <= _INT64[1]:
        return ""
    if column := smallest_integer(low, high, (64, 128, 256)):
        return column.name
    raise ContractError(
        f"its integers are too large for any column; --skip-field {path} leaves it out", field=path
    )


def has_unchecked_step(schema: Mapping[str, Any]) -> bool:
    """Whether ``multipleOf`` is a fraction, which a contract does not check."""
    step = schema.get("multipleOf")
    return isinstance(step, float) and not step.is_integer()


def _number_bounds(schema: Mapping[str, Any], kind: str, path: str) -> Bounds:
    bounds: list[tuple[str, Any]] = []
    for side in ("min", "max"):
        if (limit := _limit(schema, kind, side, path)) is None:
            continue
        # msgspec accepts no larger integers; the type of the column limits those.
        if kind == "number" or _INT64[0] <= limit[1] <= _INT64[1]:
            bounds.append(limit)
    # Multiples of a fraction are not exact floats: msgspec would refuse 1.23 for 0.01.
    if "multipleOf" in schema and not has_unchecked_step(schema):
        step = _number(schema, "multipleOf", kind, path)
        if step <= 0:
            raise _wrong_limit(path, "multipleOf", step)
        bounds.append(("multiple_of", step))
    return tuple(bounds)


def _limit(schema: Mapping[str, Any], kind: str, side: str, path: str) -> tuple[str, Any] | None:
    """The stricter of the two keywords for a side: msgspec accepts only one of them."""
    keyword, exclusive = f"{side}imum", f"exclusive{side.capitalize()}imum"
    names = ("ge", "gt") if side == "min" else ("le", "lt")
    limits: list[tuple[str, Any]] = []
    if keyword in schema:
        limits.append((names[0], _number(schema, keyword, kind, path)))
    if exclusive in schema:
        limits.append((names[1], _number(schema, exclusive, kind, path)))
    if len(limits) < 2:
        return limits[0] if limits else None
    inclusive, strict = limits
    stricter = strict[1] >= inclusive[1] if side == "min" else strict[1] <= inclusive[1]
    return strict if stricter else inclusive


def _number(schema: Mapping[str, Any], keyword: str, kind: str, path: str) -> Any:
    value = schema[keyword]
    if type(value) not in (int, float) or (kind == "integer" and value % 1):
        raise _wrong_limit(path, keyword, value)
    return int(value) if kind == "integer" else float(value)


def _wrong_limit(path: str, keyword: str, value: object) -> ContractError:
    return ContractError(f"{keyword} cannot be {value!r}", field=path)
