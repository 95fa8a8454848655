"""Options of Struct classes: which of them a table can follow."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as mi

from sluice.contract.scalar_types import no_column_type, unsupported


def check_struct(info: mi.StructType, path: tuple[str, ...]) -> None:
    """Refuse a Struct that cannot be read into columns.

    Raises:
        ContractError: it is ``array_like``, has no fields, or a field may be ``UNSET`` or has more
            than one ``column(…)``; ``field`` is its path.
    """
    name = info.cls.__name__
    if info.array_like:
        raise unsupported(path, f"{name} is array_like; use a tuple instead")
    if not info.fields:
        raise unsupported(path, f"{name} has no fields")
    types = type_hints(info.cls)
    for field in info.fields:
        if _contains_unset(types[field.name]):
            raise unsupported(
                (*path, field.encode_name),
                "a column cannot tell UNSET from null; use `| None = None`, which reads an absent"
                " field too",
            )
        if _has_two_columns(types[field.name]):
            raise unsupported(
                (*path, field.encode_name),
                "it has more than one column(…); write all options in one",
            )


def type_hints(cls: type) -> dict[str, Any]:
    """Field → its annotated type, of a class or of a generic class with arguments."""
    return get_type_hints(getattr(cls, "__origin__", cls), include_extras=True)


def _contains_unset(type_: Any) -> bool:
    return type_ is msgspec.UnsetType or any(map(_contains_unset, get_args(type_)))


def _has_two_columns(type_: Any) -> bool:
    """Whether a type, or a part of it, has the options of a column twice."""
    return _column_count(type_) > 1 or any(map(_has_two_columns, get_args(type_)))


def _column_count(type_: Any) -> int:
    """How often a type itself has options of a column; those within an Optional are its own."""
    if get_origin(type_) is Annotated:
        inner, *metadata = get_args(type_)
        metas = [meta for meta in metadata if isinstance(meta, msgspec.Meta)]
        return sum("column" in (meta.extra or {}) for meta in metas) + _column_count(inner)
    if get_origin(type_) in (Union, UnionType):
        given = [part for part in get_args(type_) if part is not NoneType]
        return _column_count(given[0]) if len(given) == 1 else 0
    return 0


def check_set_item(item: mi.Type, path: tuple[str, ...]) -> None:
    """Refuse items of a set that Python cannot hash: no message could be read.

    Raises:
        ContractError: ``field`` is the path.
    """
    seen: list[type] = []
    waiting = [item]
    while waiting:
        match waiting.pop():
            case mi.Metadata(type=inner):
                waiting.append(inner)
            case mi.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.append(cls)
                config = cls.__struct_config__
                if config.eq and not config.frozen:
                    raise unsupported(
                        path, f"a set holds no {cls.__name__} unless its class is frozen; use list"
                    )
                if config.eq:
                    waiting += [field.type for field in fields]
            case mi.UnionType(types=types) | mi.TupleType(item_types=types):
                waiting += types
            case mi.VarTupleType(item_type=inner) | mi.FrozenSetType(item_type=inner):
                waiting.append(inner)
            case mi.ListType() | mi.SetType() | mi.DictType() | mi.ByteArrayType():
                raise unsupported(
                    path, "an item of a set may not contain a list, set or dict; use list"
                )


def check_json_text(info: mi.Type, path: tuple[str, ...]) -> None:
    """Refuse a type whose values, stored as JSON text, could differ from those that were sent.

    Raises:
        ContractError: a part of it has no known type, or a Struct in it is ``array_like`` or has a
            field that may be ``UNSET``.
    """
    seen: list[type] = []
    waiting = [(info, path)]
    while waiting:
        type_, at = waiting.pop()
        match type_:
            case mi.Metadata(type=inner):
                waiting.append((inner, at))
            case mi.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.append(cls)
                if fields:
                    check_struct(type_, at)
                waiting += [(f.type, (*at, f.encode_name)) for f in fields]
            case (
                mi.ListType(item_type=item)
                | mi.VarTupleType(item_type=item)
                | mi.SetType(item_type=item)
                | mi.FrozenSetType(item_type=item)
            ):
                if isinstance(type_, mi.SetType | mi.FrozenSetType):
                    check_set_item(item, at)
                waiting.append((item, (*at, "[]")))
            case mi.DictType(key_type=key, value_type=value):
                waiting += [(key, (*at, "key")), (value, (*at, "{}"))]
            case mi.UnionType(types=types) | mi.TupleType(item_types=types):
                waiting += [(t, at) for t in types]
            case mi.AnyType() | mi.RawType() | mi.CustomType():
                raise no_column_type(type_, at)
