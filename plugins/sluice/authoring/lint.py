"""Checks the documentation of schema classes; ``make check`` runs it."""

from collections.abc import Iterator

from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.docstrings import SECTIONS, attribute_docs, docstring_sections, section_entries
from sluice.contract.inspection import walk_structs


def lint(contract: Contract) -> list[str]:
    """What is missing, one sentence each; empty when the documentation is complete.

    The message's class needs every section and an entry per version. It and every nested Struct
    need an entry per attribute.
    """
    message = contract.message
    sections = docstring_sections(message)
    problems = [
        f"{message.__name__}: section {heading!r} is missing or empty"
        for heading in SECTIONS
        if not any(line.strip() for line in sections.get(heading, []))
    ]
    problems += _history_problems(contract, section_entries(sections.get("Version history", [])))
    problems += [
        problem for struct in walk_structs(message) for problem in _attribute_problems(struct)
    ]
    return problems


def _history_problems(contract: Contract, history: dict[str, str]) -> Iterator[str]:
    name = contract.message.__name__
    versions = {version.name for version in contract.versions}
    for version in sorted(versions - history.keys()):
        yield f"{name}: version {version} has no entry in 'Version history'"
    for version in sorted(history.keys() - versions):
        yield f"{name}: 'Version history' has {version}, which is not a version of the contract"
    for released in contract.versions:
        text = history.get(released.name)
        if not text:
            continue
        if released.released.isoformat() not in text:
            yield f"{name}: the history of {released.name} lacks its date {released.released}"
        for field in released.added:
            if field not in text:
                yield f"{name}: the history of {released.name} does not name {field!r}"


def _attribute_problems(struct: type[Struct]) -> Iterator[str]:
    docs, fields = attribute_docs(struct), set(struct.__struct_fields__)
    for name in struct.__struct_fields__:
        if not docs.get(name):
            yield f"{struct.__name__}: attribute {name!r} is not documented"
    for name in sorted(docs.keys() - fields):
        yield f"{struct.__name__}: documents {name!r}, which is not an attribute"
