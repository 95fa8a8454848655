"""Unions of records within an Avro record: which branch a value is of, and which one is expected.

Two records may have the same fields, so that one would be read as the other.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract.inspection import struct_class, unwrap
from sluice.kafka.payload_formats import PayloadError


class OtherBranch(PayloadError):
    """A value is of another branch of its union than the contract's field."""


class Branches:
    """Compares the branches in payloads with a message class."""

    def __init__(self, message: type[msgspec.Struct]) -> None:
        self._type = mi.type_info(message)

    def resolve(self, value: Any, records: frozenset[str]) -> Any:
        """A parsed payload with its records alone.

        A Struct of the contract reads the record of its name, if the writer has one, and no other.

        Args:
            value: where a union has several records, the record's full name and the record.
            records: full names of the records of the writer's schema.

        Raises:
            OtherBranch: names the field.
        """
        names = frozenset(name.rpartition(".")[2] for name in records)
        return _resolve(value, self._type, names, "")


def _resolve(value: Any, type_: mi.Type | None, records: frozenset[str], path: str) -> Any:
    inner = unwrap(type_)[0] if type_ else None
    structs = list(_structs(inner))
    if isinstance(value, tuple):
        name, value = value
        branch = name.rpartition(".")[2]
        mine = [struct_class(s).__name__ for s in structs]
        if branch not in mine and set(mine) & records:
            raise OtherBranch(
                f"field {path!r} is of type {name!r}; the contract reads {' or '.join(mine)!r}"
            )
        structs = [s for s in structs if struct_class(s).__name__ == branch] or structs
    if isinstance(value, dict):
        fields: dict[str, mi.Type] = {}
        if len(structs) == 1:
            fields = {field.encode_name: field.type for field in structs[0].fields}
        values = inner.value_type if isinstance(inner, mi.DictType) else None
        for name, item in value.items():
            place = f"{path}.{name}" if path else name
            value[name] = _resolve(item, fields.get(name, values), records, place)
    elif isinstance(value, list):
        item_type = getattr(inner, "item_type", None)
        return [_resolve(item, item_type, records, f"{path}[]") for item in value]
    return value


def _structs(type_: mi.Type | None) -> Iterator[mi.StructType]:
    for each in type_.types if isinstance(type_, mi.UnionType) else (type_,):
        if isinstance(each, mi.StructType):
            yield each
