"""Docstrings and comments, wrapped to the width of a line: a formatter does not wrap them."""

import textwrap
import unicodedata

WIDTH = 100
_TAB = "    "


def comment(text: str, indent: int) -> list[str]:
    """A comment for the person who reviews the file."""
    pad = _TAB * indent
    return _wrapped(_plain(text), f"{pad}# review: ", f"{pad}#   ")


def summary(text: str) -> list[str]:
    """The first paragraph of a docstring."""
    plain = _plain(text)
    # A space separates a quotation mark from the three that begin the docstring.
    space = " " if plain.startswith('"') else ""
    return _escaped(_wrapped(plain, f'{_TAB}"""{space}', _TAB))


def paragraph(text: str, indent: int) -> list[str]:
    """Text of a docstring's section."""
    return _escaped(_wrapped(_plain(text), _TAB * indent, _TAB * indent))


def entry(name: str, text: str) -> list[str]:
    """``name: text`` of a docstring's section."""
    return _escaped(_wrapped(_plain(text), f"{_TAB * 2}{name}: ", _TAB * 3))


def _plain(text: str) -> str:
    """The text on one line, without control characters and without the end of a docstring."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.replace('"""', "'''").split())


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """The text on lines that begin with ``first`` and then with ``rest``; URLs stay whole."""
    wide = any(unicodedata.east_asian_width(char) in "WF" for char in text)
    return textwrap.wrap(
        text,
        WIDTH // 2 if wide else WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words="://" not in text,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def _escaped(lines: list[str]) -> list[str]:
    return [line.replace("\\", "\\\\") for line in lines]
