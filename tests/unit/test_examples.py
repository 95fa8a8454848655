import enum
import os
import re
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from include.schemas.orders import contract as orders
from include.schemas.payments import contract as payments
from sluice.authoring.examples import random_message
from sluice.contract import Contract, column
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError
from sluice.refusals import Refusal
from tests.contracts import contract_of
from tests.integration.test_types import Everything


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Part(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=3, max_length=5)]
    weight: float | None = None


class Bounded(Struct, frozen=True, kw_only=True):
    """Every bound that a contract can have."""

    at_least: Annotated[int, Meta(ge=10)]
    below: Annotated[int, Meta(lt=-5)]
    between: Annotated[int, Meta(gt=3, le=5)]
    stepped: Annotated[int, Meta(ge=1, multiple_of=7)]
    small: Annotated[int, column("UInt8")]
    smallest: Annotated[int, Meta(ge=-3, le=3), column(smallest=True)]
    share: Annotated[float, Meta(ge=0, le=1)]
    above: Annotated[float, Meta(gt=0.25, lt=0.5)]
    halves: Annotated[float, Meta(ge=0, multiple_of=0.5)]
    code: Annotated[str, Meta(min_length=4, max_length=4)]
    long: Annotated[str, Meta(min_length=200)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    fixed: Annotated[str, column("FixedString(3)")]
    kind: Annotated[str, column(low_cardinality=True)]
    blob: Annotated[bytes, Meta(min_length=2, max_length=4)]
    amount: Annotated[Decimal, column("Decimal(4, 3)")]
    price: Annotated[Decimal, column("Decimal32(2)")]
    size: Size
    level: Literal["low", "high"]
    aware: Annotated[datetime, Meta(tz=True)]
    naive: Annotated[datetime, Meta(tz=False)]
    day: date
    clock: time
    span: timedelta
    ident: uuid.UUID
    flag: bool
    parts: Annotated[list[Part], Meta(min_length=1)]
    names: Annotated[frozenset[str], Meta(min_length=2)]
    pair: tuple[int, str]
    by_name: Annotated[dict[str, Part], Meta(min_length=1, max_length=2)]
    note: str | None = None
    part: Part | None = None


@pytest.mark.parametrize(
    "contract",
    [orders, payments, contract_of(Bounded), contract_of(Everything)],
    ids=lambda contract: contract.message.__name__,
)
def test_every_example_is_decoded_to_the_same_message(contract: Contract) -> None:
    decoder, random = Decoder(contract), Random(1)
    for _ in range(300):
        message = random_message(contract.message, random)
        result = decoder.decode(msgspec.json.encode(message))
        assert not isinstance(result, Refusal), result
        assert result[0] == message


def test_examples_differ_and_contain_nulls() -> None:
    random = Random(1)
    made = [random_message(Bounded, random) for _ in range(200)]
    assert len({m.ident for m in made}) == 200
    assert {m.size for m in made} == set(Size)
    assert {m.level for m in made} == {"low", "high"}
    assert {m.between for m in made} == {4, 5}
    for name in ("note", "part"):
        nulls = sum(getattr(m, name) is None for m in made)
        assert 10 < nulls < 90, name


def test_the_same_seed_makes_the_same_values() -> None:
    one, other = (random_message(Part, Random(7)) for _ in range(2))
    assert one == other


def test_times_are_within_the_last_hour_in_utc_milliseconds() -> None:
    made = random_message(Bounded, Random(1))
    assert timedelta(0) <= datetime.now(UTC) - made.aware <= timedelta(hours=1, seconds=1)
    assert made.aware.utcoffset() == timedelta(0)
    assert made.naive.tzinfo is None
    assert made.aware.microsecond % 1000 == 0


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-Z]{3}$",
        "^ord-[0-9a-f]{12}$",
        r"^\d{4}-\d{2}(-\d{2})?$",
        r"^[^@\s]+@[\w.-]+\.(com|org)$",
        "^(?:a|bc|d{2,3})+$",
        "^(?P<sign>[+-])?[0-9]{1,3}$",
        r"\Ax?y*z+\Z",
        r"^\x41\u0042\.$",
        "colou?r",
        "^[^a-z]{5}$",
        "^[]x-]{2}$",
        "^a{2}b{,3}c{1,}$",
        "^.{3}$",
        "^a.*?b$",
        "^$",
        "",
        "^a{150}$",
        r"^(a|b)\1$",
        "(?i)^x$",
        r"^\D\S(?<!a)b$",
    ],
)
def test_strings_match_their_pattern(pattern: str) -> None:
    struct = text_of(pattern=pattern)
    random = Random(1)
    for _ in range(50):
        assert re.search(pattern, random_message(struct, random).text)  # type: ignore[attr-defined]


def test_a_pattern_and_a_length_are_kept_together() -> None:
    random = Random(1)
    for bounds in ({"min_length": 30}, {"max_length": 3}, {"min_length": 16, "max_length": 16}):
        text = random_message(text_of(pattern="^[a-z]+$", **bounds), random).text  # type: ignore[attr-defined]
        assert re.fullmatch("[a-z]+", text)
        assert bounds.get("min_length", 0) <= len(text) <= bounds.get("max_length", 99)


@pytest.mark.parametrize("pattern", ["^[a-z]{1,90}$", "^[a-z]*$", r"^[^@]+@\w+$"])
def test_strings_for_repetitions_are_short(pattern: str) -> None:
    random, struct = Random(1), text_of(pattern=pattern)
    lengths = [len(random_message(struct, random).text) for _ in range(100)]  # type: ignore[attr-defined]
    assert max(lengths) < 20


def test_the_same_seed_makes_the_same_strings_in_every_process() -> None:
    program = (
        "from random import Random; from tests.unit.test_examples import *;"
        "print(ascii(random_message(text_of(pattern=r'^[^a-z]{20}\\W$'), Random(1)).text))"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


@pytest.mark.parametrize("pattern", ["^(?>a)b$", "^a*+b$", "^(a)?(?(1)b|c)$", "^(?=x)x$"])
def test_a_pattern_without_generated_strings_needs_a_sample(pattern: str) -> None:
    with pytest.raises(ContractError, match="give the contract a `sample`") as caught:
        random_message(text_of(pattern=pattern), Random(1))
    assert caught.value.field == "text"


@pytest.mark.parametrize(
    "bounds", [{"pattern": "^a{3}$", "min_length": 5}, {"pattern": "^a{9}$", "max_length": 5}]
)
def test_a_pattern_that_contradicts_the_length_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ContractError) as caught:
        random_message(text_of(**bounds), Random(1))
    assert caught.value.field == "text"


def test_a_number_outside_of_its_column_is_refused() -> None:
    class Impossible(Struct, frozen=True):
        number: Annotated[int, Meta(ge=300), column("UInt8")]

    with pytest.raises(ContractError) as caught:
        random_message(Impossible, Random(1))
    assert caught.value.field == "number"


def test_a_type_without_values_is_refused() -> None:
    class Loose(Struct, frozen=True):
        inner: list[Any]

    with pytest.raises(ContractError) as caught:
        random_message(Loose, Random(1))
    assert caught.value.field == "inner.[]"


def text_of(**bounds: Any) -> type[Struct]:
    return msgspec.defstruct("Text", [("text", Annotated[str, Meta(**bounds)])], frozen=True)
