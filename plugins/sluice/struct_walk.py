"""All Structs that a message is made of."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec import inspect as mi

from sluice.forms import unwrap


def structs_of(struct: type[Struct]) -> Iterator[type[Struct]]:
    """A class and all Structs within it, each once."""
    seen: list[type[Struct]] = []
    waiting: list[mi.Type] = [mi.type_info(struct)]
    while waiting:
        inner, _, _ = unwrap(waiting.pop(0))
        match inner:
            case mi.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.append(cls)
                waiting += [field.type for field in fields]
            case mi.ListType(item_type=item) | mi.VarTupleType(item_type=item):
                waiting.append(item)
            case mi.DictType(value_type=value):
                waiting.append(value)
            case mi.UnionType(types=types) | mi.TupleType(item_types=types):
                waiting += types
    yield from seen
