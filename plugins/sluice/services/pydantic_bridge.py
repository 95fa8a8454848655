"""Lossless conversion between pydantic models and msgspec Structs."""

from typing import Any, TypeVar

import msgspec
import pydantic

from sluice.decode.failures import Failure, explain
from sluice.errors import ConversionError

S = TypeVar("S", bound=msgspec.Struct)
M = TypeVar("M", bound=pydantic.BaseModel)


class PydanticToMsgspec:
    """Converts objects in both directions, including nested ones.

    Example::

        order = PydanticToMsgspec.pydantic_to_msgspec(model, OrderEventMessage)
        model = PydanticToMsgspec.msgspec_to_pydantic(order, OrderModel)
    """

    @staticmethod
    def pydantic_to_msgspec(obj: pydantic.BaseModel, struct_class: type[S]) -> S:
        """A Struct with the model's values; aliases apply on both sides.

        Raises:
            ConversionError: a value does not fit the Struct; ``field`` is its path.
        """
        values = obj.model_dump(mode="python", by_alias=True)
        try:
            return msgspec.convert(values, struct_class, from_attributes=True)
        except msgspec.ValidationError as error:
            refusal = explain(Failure.of(error), "", b"")
            raise ConversionError(
                f"{type(obj).__name__} does not fit {struct_class.__name__}: {refusal.message}",
                field=refusal.field,
            ) from error

    @staticmethod
    def msgspec_to_pydantic(obj: msgspec.Struct, model_class: type[M]) -> M:
        """A model with the Struct's values; aliases apply on both sides.

        Raises:
            ConversionError: a value does not fit the model; ``field`` is its path.
        """
        try:
            return model_class.model_validate(_plain(obj))
        except pydantic.ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise ConversionError(
                f"{type(obj).__name__} does not fit {model_class.__name__}: {first['msg']}",
                field=".".join(map(str, first["loc"])),
            ) from error


def _plain(value: Any) -> Any:
    """Converts Structs to dicts at every depth; leaves other values, such as bytes, as they are."""
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {encoded: _plain(getattr(value, name)) for name, encoded in names}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value
