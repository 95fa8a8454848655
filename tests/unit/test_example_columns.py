"""Generated messages fit columns that hold only some values of a field's type."""

from datetime import date, datetime, time
from decimal import Decimal
from random import Random
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from sluice.authoring.examples import example_message, random_message
from sluice.contract import column
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Refusal
from tests.contracts import contract_of

PAIRS: list[tuple[Any, str]] = [
    (str, "FixedString(5)"),
    (str, "FixedString(40)"),
    (str, "IPv4"),
    (str, "IPv6"),
    (str, "Enum8('a' = 1, 'b' = 2)"),
    (str, "LowCardinality(FixedString(3))"),
    (bytes, "FixedString(3)"),
    (int, "Float32"),
    (int, "Decimal(2, 0)"),
    (int, "Int8"),
    (float, "Float32"),
    (float, "Decimal(4, 2)"),
    (Annotated[float, Meta(ge=0, le=1)], "Decimal(9, 1)"),
    (Decimal, "Decimal(3, 1)"),
    (datetime, "DateTime"),
    (datetime, "DateTime64(0)"),
    (datetime, "DateTime64(3, 'UTC')"),
    (date, "Date"),
    (Annotated[time, Meta(tz=False)], "Time"),
    (Annotated[time, Meta(tz=False)], "Time64(3)"),
    (datetime | None, "DateTime"),
]


@pytest.mark.parametrize(("type_", "stored"), PAIRS)
def test_generated_messages_fit_their_columns(type_: Any, stored: str) -> None:
    nullable = type_ == datetime | None
    declared = Annotated[datetime, column(stored)] | None if nullable else None
    declared = declared or Annotated[type_, column(stored)]
    struct = msgspec.defstruct("Thing", [("id", str), ("f", declared)], frozen=True)
    contract = contract_of(struct)
    decoder = Decoder(contract)
    for seed in range(50):
        message = example_message(contract, Random(seed))
        decoded = decoder.decode(msgspec.json.encode(message))
        assert not isinstance(decoded, Refusal), (message, decoded)


def test_a_pattern_that_no_value_of_the_column_matches_is_refused() -> None:
    text = Annotated[str, Meta(pattern="^ab$"), column("FixedString(3)")]
    struct = msgspec.defstruct("Thing", [("id", text)], frozen=True)
    with pytest.raises(ContractError, match="sample"):
        random_message(struct, Random(1))
