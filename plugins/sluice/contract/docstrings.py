"""Reading the documentation that a schema class carries in its docstring."""

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
    """A docstring's sections: heading → its lines, indentation kept."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        if match := _HEADING.match(line):
            lines = found.setdefault(match[1], [])
        elif line.strip():
            lines.append(line)
    return found


def section_entries(lines: list[str]) -> dict[str, str]:
    """``name: text`` entries of a section; a continued line is indented further."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if match := _ENTRY.match(line):
            name = match[1]
            found[name] = match[2].strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}"
    return found


def attribute_docs(cls: type) -> dict[str, str]:
    """What the class says of each of its attributes."""
    return section_entries(docstring_sections(cls).get("Attributes", []))
