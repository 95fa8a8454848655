"""Cuts times to microseconds in fields with ``column(truncate=True)``.

msgspec rounds a text with more digits, which can make it a time of the next second or year.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract.inspection import unwrap
from sluice.contract.numbers import parse_number

Cut = Callable[[Any], Any]
"""Returns a parsed value with its times cut."""

_FINE = re.compile(rb"\.(?<=:\d\d\.)\d{7}")
_DIGITS = re.compile(r"(:\d\d\.\d{6})\d+")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECODER = msgspec.json.Decoder(float_hook=parse_number)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class TimeCut:
    """Cuts the times of one message class.

    Args:
        struct: the message class.
        older_names: field of the message → its names in older versions.
    """

    def __init__(
        self, struct: type[msgspec.Struct], older_names: Mapping[str, Sequence[str]] = {}
    ) -> None:
        info = mi.type_info(struct)
        assert isinstance(info, mi.StructType)
        self._cuts = _field_cuts(info, {}, older_names)

    @property
    def is_needed(self) -> bool:
        """Whether any field is cut."""
        return bool(self._cuts)

    def cut(self, data: bytes) -> bytes:
        """A message's JSON with its times cut; invalid JSON is returned as it is.

        Only the fields that have such times are parsed: others keep their text.
        """
        if not _FINE.search(data) and b"\\u00" not in data:
            return data
        try:
            raw: dict[str, Any] = _FIELDS.decode(data)
            for name, cut in self._cuts.items():
                if name in raw:
                    raw[name] = cut(_DECODER.decode(raw[name]))
            return _ENCODER.encode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return data

    def cut_in(self, value: Any) -> Any:
        """A parsed message with its times cut."""
        return _cut_fields(value, self._cuts)


Known = dict[type, Cut | None]
"""The cuts of Structs so far; one that is being built is looked up when it is called."""


def _cut_of(type_: mi.Type, known: Known) -> Cut | None:
    inner, options, _ = unwrap(type_)
    match inner:
        case mi.DateTimeType() | mi.TimeType() if options.truncate:
            return _cut_text
        case mi.StructType():
            return _fields_cut(inner, known)
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            return _items_cut(_cut_of(item, known))
        case mi.TupleType(item_types=items):
            return _elements_cut([_cut_of(item, known) for item in items])
        case mi.DictType(value_type=item):
            return _values_cut(_cut_of(item, known))
        case mi.UnionType(types=types):
            structs = [t for t in types if isinstance(t, mi.StructType)]
            return _by_tag({(t.tag_field, t.tag): _cut_of(t, known) for t in structs})
    return None


def _cut_text(value: Any) -> Any:
    return _DIGITS.sub(r"\1", value, count=1) if isinstance(value, str) else value


def _items_cut(cut: Cut | None) -> Cut | None:
    if cut is None:
        return None
    return lambda value: [cut(x) for x in value] if isinstance(value, list) else value


def _values_cut(cut: Cut | None) -> Cut | None:
    if cut is None:
        return None
    return lambda value: (
        {key: cut(x) for key, x in value.items()} if isinstance(value, dict) else value
    )


def _elements_cut(cuts: list[Cut | None]) -> Cut | None:
    if not any(cuts):
        return None

    def cut_elements(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(cuts):
            return value
        return [cut(x) if cut else x for cut, x in zip(cuts, value, strict=True)]

    return cut_elements


def _by_tag(cuts: Mapping[tuple[Any, Any], Cut | None]) -> Cut | None:
    if not any(cuts.values()):
        return None

    def cut_one(value: Any) -> Any:
        if isinstance(value, dict):
            for (tag_field, tag), cut in cuts.items():
                if cut and value.get(tag_field) == tag:
                    return cut(value)
        return value

    return cut_one


def _fields_cut(info: mi.StructType, known: Known) -> Cut | None:
    cls: type = info.cls
    if cls in known:

        def cut_known(value: Any) -> Any:
            cut = known[cls]
            return cut(value) if cut else value

        return cut_known
    known[cls] = None
    cuts = _field_cuts(info, known, {})
    known[cls] = (lambda value: _cut_fields(value, cuts)) if cuts else None
    return known[cls]


def _field_cuts(
    info: mi.StructType, known: Known, older: Mapping[str, Sequence[str]]
) -> dict[str, Cut]:
    """Name of a field in messages → its cut."""
    return {
        name: cut
        for field in info.fields
        if (cut := _cut_of(field.type, known))
        for name in (field.encode_name, *older.get(field.name, ()))
    }


def _cut_fields(value: Any, cuts: Mapping[str, Cut]) -> Any:
    if not isinstance(value, dict):
        return value
    return value | {name: cut(value[name]) for name, cut in cuts.items() if name in value}
