"""Holding the documentation of schema classes to its standard; run by ``make check``."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec import inspect as mi

from sluice.contract import Contract
from sluice.forms import unwrap
from sluice.schema_docs import SECTIONS, attribute_docs, entries, sections


def lint(contract: Contract) -> list[str]:
    """What is missing, a sentence each; empty when all is there.

    The message's class must have every section, each version its history, and every attribute
    of it and of the Structs within it its words.
    """
    message = contract.message
    found = sections(message)
    problems = [
        f"{message.__name__}: section {heading!r} is missing or empty"
        for heading in SECTIONS
        if not any(line.strip() for line in found.get(heading, []))
    ]
    history = entries(found.get("Version history", []))
    named = {version.name for version in contract.versions}
    problems += [
        f"{message.__name__}: version {version} has no entry in 'Version history'"
        for version in sorted(named - history.keys())
    ]
    problems += [
        f"{message.__name__}: 'Version history' has {version}, which the contract does not know"
        for version in sorted(history.keys() - named)
    ]
    for version in contract.versions:
        text = history.get(version.name, "")
        if text and version.released.isoformat() not in text:
            problems.append(
                f"{message.__name__}: the history of {version.name} lacks its date"
                f" {version.released}"
            )
        problems += [
            f"{message.__name__}: the history of {version.name} does not name {field!r}"
            for field in version.added
            if text and field not in text
        ]
    for struct in _structs(message):
        told, fields = attribute_docs(struct), set(struct.__struct_fields__)
        problems += [
            f"{struct.__name__}: attribute {name!r} is not documented"
            for name in struct.__struct_fields__
            if not told.get(name)
        ]
        problems += [
            f"{struct.__name__}: documents {name!r}, which is no attribute"
            for name in sorted(told.keys() - fields)
        ]
    return problems


def _structs(struct: type[Struct]) -> Iterator[type[Struct]]:
    """A class and all Structs within it, each once."""
    seen: list[type[Struct]] = []
    waiting: list[mi.Type] = [mi.type_info(struct)]
    while waiting:
        inner, _, _ = unwrap(waiting.pop())
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
