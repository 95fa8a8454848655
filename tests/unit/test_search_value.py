"""Which texts stand for exactly the value that ClickHouse made of them."""

import pytest

from sluice.contract.sql_type import SqlType
from sluice.report.search_value import is_same

SAME = [
    ("Int64", "+5", "5"),
    ("Decimal(9, 2)", "1.50", "1.5"),
    ("Float64", "1E-7", "1e-7"),
    ("Date", "20260101", "2026-01-01"),
    ("DateTime64(3, 'UTC')", "2026-01-01T01:00:00.5+01:00", "2026-01-01 00:00:00.500"),
    ("DateTime('UTC')", "1767225600", "2026-01-01 00:00:00"),
    ("Time64(3)", "10:00:00.5", "10:00:00.500"),
    ("Tuple(a String, b Decimal(9, 2))", "('a, b',1.50)", "('a, b', 1.5)"),
    ("UUID", "{any form that ClickHouse reads}", "00000000-0000-0000-0000-000000000007"),
]
OTHER = [
    ("Int64", "18446744073709551621", "5"),
    ("UInt8", "261", "5"),
    ("Decimal(9, 2)", "1.504", "1.5"),
    ("Float64", "9007199254740993", "9007199254740992"),
    ("Float64", "1e400", "inf"),
    ("Date", "2200-01-01", "2020-07-27"),
    ("DateTime64(3, 'UTC')", "2026-01-01T00:00:00.0001Z", "2026-01-01 00:00:00.000"),
    ("DateTime('UTC')", "2200-01-01 00:00:00", "2063-11-24 17:31:44"),
    ("DateTime('UTC')", "in a form that is not ISO", "2026-01-01 00:00:00"),
    ("Time64(3)", "10:00:00.0001", "10:00:00.000"),
    ("Array(UInt8)", "[1, 257]", "[1,1]"),
    ("Map(String, UInt8)", "{'a':257}", "{'a':1}"),
]


@pytest.mark.parametrize(("type_", "text", "stored"), SAME)
def test_another_notation_is_the_same_value(type_: str, text: str, stored: str) -> None:
    assert is_same(text, stored, SqlType.parse(type_))


@pytest.mark.parametrize(("type_", "text", "stored"), OTHER)
def test_what_wrapped_around_or_lost_digits_is_another_value(
    type_: str, text: str, stored: str
) -> None:
    assert not is_same(text, stored, SqlType.parse(type_))


def test_a_time_without_a_zone_is_in_that_of_the_column() -> None:
    type_ = SqlType.parse("DateTime('Europe/Berlin')")
    assert is_same("2026-01-01 01:00:00", "2026-01-01 00:00:00", type_, "Europe/Berlin")
