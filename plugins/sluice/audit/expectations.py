"""The expectations about a load's rows that follow from the contract's types and rules."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract import Contract, Severity
from sluice.contract.columns import Column, columns_of
from sluice.contract.inspection import unwrap
from sluice.contract.pattern_dialect import pattern_review
from sluice.sql import quote_identifier, quote_string

ROW_KEY = ("_partition", "_offset")

SENT_AT = "_timestamp"
"""The column that freshness is judged by; staged as milliseconds since 1970."""


class ExpectationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation, before Great Expectations is imported.

    Attributes:
        kind: class name of the expectation.
        column: the column that it is about; empty for one about whole rows.
        arguments: keyword arguments of the expectation.
        description: what holds for good rows.
    """

    kind: str
    column: str = ""
    arguments: dict[str, Any]
    description: str
    severity: Severity = "critical"


def expectations_for(contract: Contract, rows: int, new: bool = False) -> list[ExpectationSpec]:
    """Every expectation that follows from a contract, and the contract's own rules.

    Args:
        rows: how many rows the accounting has counted.
        new: whether the load takes everything new, so that its rows should be fresh.
    """
    specs = [
        ExpectationSpec(
            kind="ExpectTableRowCountToEqual",
            arguments={"value": rows},
            description="there are as many rows as the accounting counted",
        ),
        ExpectationSpec(
            kind="ExpectCompoundColumnsToBeUnique",
            arguments={"column_list": list(ROW_KEY)},
            description="partition and offset are unique",
        ),
    ]
    for column in columns_of(contract.message):
        specs += _column_expectations(column)
    specs += [
        _rows_expectation("", rule.fails_when, rule.name, rule.severity) for rule in contract.rules
    ]
    if new and contract.fresh_within is not None:
        specs.append(_freshness(contract.fresh_within))
    return specs


def _freshness(within: timedelta) -> ExpectationSpec:
    seconds = round(within.total_seconds())
    return ExpectationSpec(
        kind="UnexpectedRowsExpectation",
        arguments={
            "unexpected_rows_query": f"SELECT {', '.join(ROW_KEY)}, {SENT_AT} FROM {{batch}} WHERE"
            f" (SELECT max({SENT_AT}) FROM {{batch}}) < 1000 * (toUnixTimestamp(now()) - {seconds})"
            f" ORDER BY {SENT_AT} DESC LIMIT 1"
        },
        description=f"the newest message was sent within {within} before",
        severity="warning",
    )


def _column_expectations(column: Column) -> Iterator[ExpectationSpec]:
    name, info = column.name, column.info
    if not column.nullable and not isinstance(info, mi.ListType | mi.DictType | mi.StructType):
        yield ExpectationSpec(
            kind="ExpectColumnValuesToNotBeNull",
            column=name,
            arguments={"column": name},
            description=f"{name} is not null",
        )
    if violations := list(_violations(quote_identifier(name), info)):
        conditions, texts = zip(*violations, strict=True)
        description = f"{name} {' and '.join(texts)}"
        yield _rows_expectation(name, " OR ".join(conditions), description, "critical")


def _violations(value: str, info: mi.Type) -> Iterator[tuple[str, str]]:
    """(SQL that holds for a bad value, what holds for a good one) of each constraint of a type."""
    match info:
        case mi.IntType() | mi.FloatType():
            for bound, operator, text in (
                (info.ge, "<", "at least"),
                (info.gt, "<=", "more than"),
                (info.le, ">", "at most"),
                (info.lt, ">=", "less than"),
            ):
                if bound is not None:
                    yield f"{value} {operator} {bound}", f"is {text} {bound}"
        case mi.StrType():
            yield from _lengths(
                f"lengthUTF8({value})", info.min_length, info.max_length, "characters"
            )
            # Where the dialects differ, msgspec's check of every message is the only one.
            if info.pattern and not pattern_review(info.pattern):
                yield f"NOT match({value}, {quote_string(info.pattern)})", f"matches {info.pattern}"
        case mi.EnumType() | mi.LiteralType():
            values = (
                [m.value for m in info.cls] if isinstance(info, mi.EnumType) else list(info.values)
            )
            shown = ", ".join(quote_string(v) if isinstance(v, str) else str(v) for v in values)
            yield f"{value} NOT IN ({shown})", f"is one of {shown}"
        case mi.ListType(item_type=item):
            yield from _lengths(f"length({value})", info.min_length, info.max_length, "items")
            if violations := list(_item_violations(item)):
                conditions, texts = zip(*violations, strict=True)
                yield (
                    f"arrayExists(x -> {' OR '.join(conditions)}, {value})",
                    f"has only items whose {', '.join(texts)}",
                )


def _item_violations(item: mi.Type) -> Iterator[tuple[str, str]]:
    inner, _, nullable = unwrap(item)
    if nullable:
        return
    if not isinstance(inner, mi.StructType):
        yield from ((condition, f"value {text}") for condition, text in _violations("x", inner))
        return
    for field in inner.fields:
        field_type, _, null = unwrap(field.type)
        if not null and not isinstance(field_type, mi.ListType):
            for condition, text in _violations(
                f"x.{quote_identifier(field.encode_name)}", field_type
            ):
                yield condition, f"{field.encode_name} {text}"


def _lengths(
    length: str, least: int | None, most: int | None, unit: str
) -> Iterator[tuple[str, str]]:
    if least is not None and most is not None:
        yield f"{length} NOT BETWEEN {least} AND {most}", f"has {least} to {most} {unit}"
    elif least is not None:
        yield f"{length} < {least}", f"has at least {least} {unit}"
    elif most is not None:
        yield f"{length} > {most}", f"has at most {most} {unit}"


def _rows_expectation(
    column: str, condition: str, description: str, severity: Severity
) -> ExpectationSpec:
    # The query is formatted by Great Expectations and bound by SQLAlchemy: braces and colons
    # of the condition must survive both.
    escaped = condition.replace("{", "{{").replace("}", "}}").replace(":", "\\:")
    keys = ", ".join(ROW_KEY)
    return ExpectationSpec(
        kind="UnexpectedRowsExpectation",
        column=column,
        arguments={"unexpected_rows_query": f"SELECT {keys} FROM {{batch}} WHERE {escaped}"},
        description=description,
        severity=severity,
    )
