"""Readable names of message types with their bounds, for the catalogue, the pages and lineage."""

from msgspec import inspect as mi

from sluice.contract.inspection import unwrap


def type_name(type_: mi.Type) -> str:
    """A readable name of a type, with its bounds."""
    inner, _, nullable = unwrap(type_)
    null = " or null" if nullable else ""
    match inner:
        case mi.StructType(cls=cls):
            return f"{cls.__name__}{null}"
        case mi.ListType(item_type=item) | mi.VarTupleType(item_type=item):
            return f"list of {type_name(item)}{_bounds(inner)}{null}"
        case mi.SetType(item_type=item) | mi.FrozenSetType(item_type=item):
            return f"set of {type_name(item)}{_bounds(inner)}{null}"
        case mi.TupleType(item_types=items):
            return f"tuple of {', '.join(map(type_name, items))}{null}"
        case mi.DictType(key_type=key, value_type=value):
            return f"map of {type_name(key)} to {type_name(value)}{null}"
        case mi.UnionType(types=types):
            return f"{' or '.join(map(type_name, types))}{null}"
        case mi.EnumType(cls=cls):
            return f"one of {', '.join(f'`{m.value}`' for m in cls)}{null}"
        case mi.LiteralType(values=values):
            return f"one of {', '.join(f'`{v}`' for v in values)}{null}"
    return f"{type(inner).__name__.removesuffix('Type').lower()}{_bounds(inner)}{null}"


_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "pattern": "matching `{}`",
}


def _bounds(info: mi.Type) -> str:
    bounds = [
        template.format(value)
        for name, template in _BOUNDS.items()
        if (value := getattr(info, name, None)) is not None
    ]
    low, high = getattr(info, "min_length", None), getattr(info, "max_length", None)
    unit = "characters" if isinstance(info, mi.StrType) else "items"
    if low is not None or high is not None:
        length = f"{low or 0} to {high}" if high is not None else f"at least {low}"
        bounds.append(f"{length} {unit}".replace("at least 1 items", "at least one"))
    return f" ({', '.join(bounds)})" if bounds else ""
