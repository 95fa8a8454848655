"""Names of columns that would clash: the contract gives these fields a name of their own."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from sluice.authoring.new_topic.description import DictOf, Field, ListOf, Object, Type
from sluice.contract.ddl import LINEAGE

_Path = tuple[str, ...]


class _Column(Struct, frozen=True):
    """A column, or an element of a tuple.

    Attributes:
        parts: the names that its own is joined of, that of the field last.
        path: the field's path in its message or tuple.
        presence: whether it says that an object is there.
        array: whether it holds a list.
    """

    parts: _Path
    path: _Path
    presence: bool = False
    array: bool = False

    @property
    def name(self) -> str:
        """The whole name."""
        return self.named(self.parts[-1], len(self.parts) - 1)

    @property
    def renamed_part(self) -> int:
        """The part that gets another name: its own, or the object's that brings in a dot."""
        own = len(self.parts) - 1
        dotted = [number for number, part in enumerate(self.parts) if "." in part]
        return own if not dotted or "." in self.parts[own] else dotted[-1]

    def named(self, name: str, part: int) -> str:
        """The whole name with another name of one of its parts."""
        parts = (*self.parts[:part], name, *self.parts[part + 1 :])
        return "_".join((*parts, *(("given",) if self.presence else ())))


def name_columns(message: Object) -> Object:
    """The message, with ``column`` set for the fields whose columns would clash.

    Columns clash if their names are equal, if one is a lineage column, or if ClickHouse takes a
    name with a dot for a part of another column. Of two fields the one at the shorter path keeps
    its name.
    """
    return _named(_with_named_parts(message), (), _renames(message, flat=True))


def _with_named_parts(struct: Object) -> Object:
    """An object, with the elements of the tuples within it named."""
    fields = [
        msgspec.structs.replace(field, type=_named_parts(field.type)) for field in struct.fields
    ]
    return msgspec.structs.replace(struct, fields=tuple(fields))


def _named_parts(type_: Type, within_tuple: bool = False) -> Type:
    match type_:
        case ListOf(item=inner):
            return msgspec.structs.replace(type_, item=_named_parts(inner, True))
        case DictOf(value=inner):
            return msgspec.structs.replace(type_, value=_named_parts(inner, True))
        case Object():
            renames = _renames(type_, flat=False) if within_tuple else {}
            fields = [
                msgspec.structs.replace(field, type=_named_parts(field.type, within_tuple))
                for field in type_.fields
            ]
            return _named(msgspec.structs.replace(type_, fields=tuple(fields)), (), renames)
    return type_


def _named(struct: Object, path: _Path, renames: Mapping[_Path, str]) -> Object:
    fields = tuple(_named_field(field, (*path, field.key), renames) for field in struct.fields)
    return msgspec.structs.replace(struct, fields=fields)


def _named_field(field: Field, path: _Path, renames: Mapping[_Path, str]) -> Field:
    name, reviews, type_ = renames.get(path, field.column), field.reviews, field.type
    if path in renames:
        text = f"its column is {name!r}, because another one has the name of the field"
        reviews = (*reviews, text)
    if isinstance(type_, Object):
        type_ = _named(type_, path, renames)
    return msgspec.structs.replace(field, column=name, reviews=reviews, type=type_)


def _renames(struct: Object, flat: bool) -> dict[_Path, str]:
    """The fields that need names of their own, by path.

    Args:
        flat: whether the fields of nested objects are columns beside the others.
    """
    renames: dict[_Path, str] = {}
    while clash := _first_clash(list(_columns(struct, (), (), renames, flat)), flat):
        column, taken = clash
        part = column.renamed_part
        path = column.path[: part + 1]
        base = column.parts[part].replace(".", "_").strip("_") or "field"
        name, number = f"message_{base}" if column.name in LINEAGE else base, 2
        while column.named(name, part) in taken or name == "null" or name == renames.get(path):
            name, number = f"{base}_{number}", number + 1
        renames[path] = name
    return renames


def _columns(
    struct: Object, path: _Path, prefix: _Path, renames: Mapping[_Path, str], flat: bool
) -> Iterator[_Column]:
    for field in struct.fields:
        inner = (*path, field.key)
        names = (*prefix, renames.get(inner, field.key))
        if flat and isinstance(field.type, Object):
            if field.nullable:
                yield _Column(names, inner, presence=True)
            yield from _columns(field.type, inner, names, renames, flat)
        else:
            yield _Column(names, inner, array=isinstance(field.type, ListOf))


def _first_clash(columns: Sequence[_Column], flat: bool) -> tuple[_Column, set[str]] | None:
    """A column that needs another name, and the names that are taken."""
    taken = {column.name for column in columns}
    by_name: dict[str, _Column] = {}
    nested: dict[str, _Column] = {}
    for column in sorted(columns, key=lambda c: (not c.presence, len(c.path))):
        parts = column.name.split(".")
        parents = {".".join(parts[:end]) for end in range(1, len(parts))}
        reserved = column.name in LINEAGE if flat else column.name == "null"
        if reserved or column.name in by_name or parents & taken:
            return column, taken
        by_name[column.name] = column
        if flat and column.array and len(parts) > 1:
            if parts[0] in nested:
                return column, taken
            nested[parts[0]] = column
    return None


def column_of(field: Field) -> str:
    """The name of a field's column at the top of a message."""
    return field.column or field.key
