"""Parsing of the documentation in a schema class's docstring."""

import inspect
import re

SECTIONS = (
    "Purpose",
    "Characteristics",
    "Version history",
    "Compatibility",
    "Known issues",
    "Future changes",
    "Related contexts",
    "Attributes",
)
"""Sections that every schema class has, in this order."""

_HEADING = re.compile(r"^([A-Z][A-Za-z ]+):$")
_ENTRY = re.compile(r"^ {4}(\w[\w.]*):\s*(.*)$")


def docstring_sections(cls: type) -> dict[str, list[str]]:
    """The sections of a docstring: heading → its lines, with their indentation."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        if match := _HEADING.match(line):
            lines = sections.setdefault(match[1], [])
        elif line.strip():
            lines.append(line)
    return sections


def section_entries(lines: list[str]) -> dict[str, str]:
    """The ``name: text`` entries of a section; continuation lines are indented further."""
    entries: dict[str, str] = {}
    name = ""
    for line in lines:
        if match := _ENTRY.match(line):
            name = match[1]
            entries[name] = match[2].strip()
        elif name:
            entries[name] = f"{entries[name]} {line.strip()}"
    return entries


def attribute_docs(cls: type) -> dict[str, str]:
    """Attribute → its text in the class's ``Attributes`` section."""
    return section_entries(docstring_sections(cls).get("Attributes", []))
