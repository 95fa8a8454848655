"""Which changes of a column's type keep every value."""

import pytest

from sluice.contract.sql_type import SqlType
from sluice.store.type_widening import widens


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Int32", "Int64"),
        ("UInt8", "Int16"),
        ("UInt8", "UInt64"),
        ("Int32", "Float64"),
        ("Float32", "Float64"),
        ("String", "LowCardinality(String)"),
        ("LowCardinality(String)", "String"),
        ("String", "Nullable(String)"),
        ("LowCardinality(String)", "LowCardinality(Nullable(String))"),
        ("Date", "Date32"),
        ("DateTime", "DateTime64(3, 'UTC')"),
        ("DateTime64(3, 'UTC')", "DateTime64(6, 'UTC')"),
        ("Decimal(9, 2)", "Decimal(18, 4)"),
        ("Array(Int8)", "Array(Int64)"),
        ("Map(String, Int8)", "Map(String, Int64)"),
        ("Tuple(a Int8, b String)", "Tuple(`b` String, c Int8, a Int64)"),
        ("Array(Tuple(a Int8))", "Array(Tuple(a Int8, b Map(String, Tuple(x Int8, y Int8))))"),
    ],
)
def test_a_type_is_widened(old: str, new: str) -> None:
    narrow, wide = SqlType.parse(old), SqlType.parse(new)
    assert widens(narrow, wide)
    assert not widens(wide, narrow) or "LowCardinality" in old + new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Int64", "Int32"),
        ("Int8", "UInt16"),
        ("Int64", "Float64"),
        ("String", "Int64"),
        ("Nullable(String)", "String"),
        ("Decimal(18, 4)", "Decimal(18, 6)"),
        ("DateTime64(3, 'UTC')", "DateTime64(9, 'UTC')"),
        ("DateTime64(3, 'UTC')", "DateTime64(3, 'Europe/Berlin')"),
        ("Tuple(a Int8, b String)", "Tuple(a Int8)"),
        ("Tuple(Int8, String)", "Tuple(Int8, String, String)"),
        ("Array(Int64)", "Array(Int8)"),
        ("UUID", "String"),
    ],
)
def test_a_type_that_could_lose_values_is_not_widened(old: str, new: str) -> None:
    assert not widens(SqlType.parse(old), SqlType.parse(new))
