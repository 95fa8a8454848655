import datetime as dt
import uuid
from decimal import Decimal
from enum import Enum

import msgspec
import pydantic
import pytest

from sluice.errors import ConversionError
from sluice.services.pydantic_bridge import PydanticToMsgspec


class Colour(Enum):
    RED = "red"


class PartStruct(msgspec.Struct, frozen=True):
    id: uuid.UUID
    raw: bytes


class ThingStruct(msgspec.Struct, frozen=True, rename={"made_at": "madeAt"}):
    name: str
    made_at: dt.datetime
    price: Decimal
    colour: Colour
    part: PartStruct
    parts: list[PartStruct]
    by_name: dict[str, PartStruct]
    pair: tuple[int, str]
    tags: frozenset[str]
    note: str | None = None


class PartModel(pydantic.BaseModel):
    id: uuid.UUID
    raw: bytes


class ThingModel(pydantic.BaseModel):
    name: str
    made_at: dt.datetime = pydantic.Field(alias="madeAt")
    price: Decimal
    colour: Colour
    part: PartModel
    parts: list[PartModel]
    by_name: dict[str, PartModel]
    pair: tuple[int, str]
    tags: frozenset[str]
    note: str | None = None


PART = PartStruct(uuid.UUID(int=7), b"\x00\xff")
THING = ThingStruct(
    "n",
    dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC),
    Decimal("1.10"),
    Colour.RED,
    PART,
    [PART, PART],
    {"k": PART},
    (1, "x"),
    frozenset({"a"}),
)


def test_nested_objects_are_converted_without_loss() -> None:
    model = PydanticToMsgspec.msgspec_to_pydantic(THING, ThingModel)
    assert (model.made_at, model.price, model.part.raw) == (
        THING.made_at,
        THING.price,
        THING.part.raw,
    )
    assert PydanticToMsgspec.pydantic_to_msgspec(model, ThingStruct) == THING


class SmallStruct(msgspec.Struct):
    name: str
    size: int


class LooseModel(pydantic.BaseModel):
    name: str
    size: str


class StrictModel(pydantic.BaseModel):
    name: str
    size: int = pydantic.Field(ge=10)


def test_a_value_that_does_not_fit_is_an_error_with_its_field() -> None:
    with pytest.raises(ConversionError, match="LooseModel does not fit SmallStruct") as caught:
        PydanticToMsgspec.pydantic_to_msgspec(LooseModel(name="n", size="big"), SmallStruct)
    assert caught.value.field == "size"
    with pytest.raises(ConversionError, match="SmallStruct does not fit StrictModel") as caught:
        PydanticToMsgspec.msgspec_to_pydantic(SmallStruct("n", 3), StrictModel)
    assert caught.value.field == "size"
