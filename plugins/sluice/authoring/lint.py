"""Holding the documentation of schema classes to its standard; run by ``make check``."""

from sluice.contract import Contract
from sluice.contract.docstrings import SECTIONS, attribute_docs, docstring_sections, section_entries
from sluice.contract.type_map import walk_structs


def lint(contract: Contract) -> list[str]:
    """What is missing, a sentence each; empty when all is there.

    The message's class must have every section, each version its history, and every attribute
    of it and of the Structs within it its words.
    """
    message = contract.message
    found = docstring_sections(message)
    problems = [
        f"{message.__name__}: section {heading!r} is missing or empty"
        for heading in SECTIONS
        if not any(line.strip() for line in found.get(heading, []))
    ]
    history = section_entries(found.get("Version history", []))
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
    for struct in walk_structs(message):
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
