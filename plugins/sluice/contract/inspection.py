"""Descriptions of message types by :mod:`msgspec.inspect`, taken apart."""

from collections.abc import Iterator

import msgspec
from msgspec import inspect as mi

from sluice.contract.parts import ColumnOptions


def unwrap(type_: mi.Type) -> tuple[mi.Type, ColumnOptions, bool]:
    """A type without Meta and Optional, its column options, and whether it may be null."""
    options, nullable = ColumnOptions(), False
    while True:
        if isinstance(type_, mi.Metadata):
            options = (type_.extra or {}).get("column", options)
            type_ = type_.type
        elif isinstance(type_, mi.UnionType) and type_.includes_none:
            rest = tuple(t for t in type_.types if not isinstance(t, mi.NoneType))
            type_, nullable = (rest[0] if len(rest) == 1 else mi.UnionType(rest)), True
        elif isinstance(type_, mi.LiteralType) and None in type_.values and len(type_.values) > 1:
            values = tuple(value for value in type_.values if value is not None)
            type_, nullable = mi.LiteralType(values), True
        else:
            return type_, options, nullable


def struct_class(info: mi.StructType) -> type:
    """The class of a Struct's instances; of a generic Struct with arguments, the generic one."""
    cls: type = getattr(info.cls, "__origin__", info.cls)
    return cls


def walk_structs(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A class and all Structs nested in it, each once."""
    seen: list[type[msgspec.Struct]] = []
    waiting: list[mi.Type] = [mi.type_info(struct)]
    while waiting:
        inner, _, _ = unwrap(waiting.pop(0))
        match inner:
            case mi.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.append(cls)
                waiting += [field.type for field in fields]
            case (
                mi.ListType(item_type=item)
                | mi.VarTupleType(item_type=item)
                | mi.SetType(item_type=item)
                | mi.FrozenSetType(item_type=item)
            ):
                waiting.append(item)
            case mi.DictType(value_type=value):
                waiting.append(value)
            case mi.UnionType(types=types) | mi.TupleType(item_types=types):
                waiting += types
    yield from seen
