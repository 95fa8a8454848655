"""Between pydantic models at the edges and msgspec Structs on the wire, without loss."""

from typing import Any, TypeVar

import msgspec
import pydantic

from sluice.errors import ConversionError

S = TypeVar("S", bound=msgspec.Struct)
M = TypeVar("M", bound=pydantic.BaseModel)


class PydanticToMsgspec:
    """Converts objects both ways, nested ones included.

    Example::

        order = PydanticToMsgspec.pydantic_to_msgspec(model, OrderEventMessage)
        model = PydanticToMsgspec.msgspec_to_pydantic(order, OrderModel)
    """

    @staticmethod
    def pydantic_to_msgspec(obj: pydantic.BaseModel, struct_class: type[S]) -> S:
        """A Struct with the model's values; aliases count on both sides.

        Raises:
            ConversionError: names the field that does not fit the Struct.
        """
        values = obj.model_dump(mode="python", by_alias=True)
        try:
            return msgspec.convert(values, struct_class, from_attributes=True)
        except msgspec.ValidationError as error:
            raise ConversionError(
                f"{type(obj).__name__} does not fit {struct_class.__name__}: {error}"
            ) from error

    @staticmethod
    def msgspec_to_pydantic(obj: msgspec.Struct, model_class: type[M]) -> M:
        """A model with the Struct's values; aliases count on both sides.

        Raises:
            ConversionError: names the field that does not fit the model.
        """
        try:
            return model_class.model_validate(_plain(obj))
        except pydantic.ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise ConversionError(
                f"{type(obj).__name__} does not fit {model_class.__name__}:"
                f" {first['msg']} - at {path}"
            ) from error


def _plain(value: Any) -> Any:
    """Structs as dicts at every depth; every other value as it is, bytes and times included."""
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {shown: _plain(getattr(value, name)) for name, shown in names}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value
