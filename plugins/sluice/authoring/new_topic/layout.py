"""Python source as ``ruff format`` leaves it: lines of at most 100 columns.

An expression stands on one line when it fits. Otherwise it is opened up with a comma after its
last item, which the formatter takes for a wish and keeps.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import msgspec
from msgspec import Struct

WIDTH = 100
_TAB = "    "


class Leaf(Struct, frozen=True):
    """Text that is never broken."""

    text: str


class Group(Struct, frozen=True):
    """Items in brackets: ``Meta(ge=0)``, ``dict[str, int]``, ``{"a": 1}``.

    ``comma`` is for a tuple, whose only item has a comma after it.
    """

    head: str
    brackets: str
    items: tuple[Expression, ...]
    comma: bool = False

    @property
    def is_display(self) -> bool:
        """Whether it is a list, a dict or a tuple written down, and no call or subscript."""
        return not self.head or self.head.endswith((" ", "="))


class OrNone(Struct, frozen=True):
    """``… | None``."""

    inner: Expression


Expression = Leaf | Group | OrNone


def call(name: str, *items: Expression) -> Group:
    """``name(…)``."""
    return Group(name, "()", items)


def subscript(name: str, *items: Expression) -> Group:
    """``name[…]``."""
    return Group(name, "[]", items)


def tuple_of(*items: Expression) -> Group:
    """``(…, …)``."""
    return Group("", "()", items, comma=True)


def keyword(name: str, value: Expression, sign: str = "=") -> Expression:
    """``name=…``, as an item."""
    match value:
        case Group(head=head):
            return msgspec.structs.replace(value, head=f"{name}{sign}{head}")
        case Leaf(text=text):
            return Leaf(f"{name}{sign}{text}")
    raise TypeError("a type is no argument")


def string(text: str) -> str:
    """A string literal, quoted as the formatter would."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    # Long texts are written in ASCII, so that the width of their lines is beyond doubt.
    plain = len(text) > 40
    parts = []
    for char in text:
        if char in ("\\", quote):
            parts.append(f"\\{char}")
        elif char.isprintable() and not (plain and not char.isascii()):
            parts.append(char)
        else:
            parts.append(ascii(char)[1:-1])
    return f"{quote}{''.join(parts)}{quote}"


def width(text: str) -> int:
    """Columns that a text takes, as the formatter counts them."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def one_line(expression: Expression) -> str:
    """The expression without a break."""
    match expression:
        case Leaf(text=text):
            return text
        case OrNone(inner=inner):
            return f"{one_line(inner)} | None"
        case Group(head=head, brackets=brackets, items=items, comma=comma):
            comma_after = "," if comma and len(items) == 1 else ""
            inside = ", ".join(map(one_line, items)) + comma_after
            return f"{head}{brackets[0]}{inside}{brackets[1]}"


def statement(
    indent: int, target: str, annotation: Expression, value: Expression | None
) -> list[str]:
    """``target: annotation = value`` as lines. The value is opened up before the annotation is."""
    start = f"{_TAB * indent}{target}"
    closed = f"{start}: {one_line(annotation)}"
    assigned = f" = {one_line(value)}" if value is not None else ""
    if width(closed + assigned) <= WIDTH:
        return [closed + assigned]
    opened = _opened_up(value, indent) if value is not None else [""]
    first = f" = {opened[0]}" if value is not None else ""
    if width(closed + first) <= WIDTH:
        lines = [closed + first, *opened[1:]]
    elif value is not None and not _keeps_open(annotation) and width(f"{closed} = (") <= WIDTH:
        lines = [f"{closed} = (", *_lines(value, indent + 1), f"{_TAB * indent})"]
        if isinstance(value, Leaf) and width(lines[1]) > WIDTH:  # brackets do not help it
            lines = [closed + assigned]
    else:
        lines = _opened_up(annotation, indent)
        lines[0] = f"{start}: {lines[0]}"
        if width(lines[-1] + assigned) <= WIDTH:
            lines[-1] += assigned
        else:
            lines[-1] += first
            lines += opened[1:]
    return [_excused(line) for line in lines]


def argument(indent: int, expression: Expression) -> list[str]:
    """An argument on lines of its own, with the comma after it."""
    lines = _lines(expression, indent, comma=True)
    return [_excused(line) for line in lines]


def _opened_up(expression: Expression, indent: int) -> list[str]:
    """The expression in as many lines as it can be kept in; the first is not indented."""
    match expression:
        case Group(items=items) if items:
            return _opened(expression, indent)
        case OrNone(inner=inner):
            opened = _keeps_open(inner)
            return ["(", *_lines(expression, indent + 1, opened=opened), f"{_TAB * indent})"]
    return [one_line(expression)]


def _keeps_open(expression: Expression) -> bool:
    """Whether a comma can be put after its last item; the formatter would close it otherwise."""
    match expression:
        case Group(items=items) if len(items) == 1 and not _has_comma(expression):
            return _keeps_open(items[0])
        case Group(items=items):
            return bool(items)
        case OrNone(inner=inner):
            return _keeps_open(inner)
    return False


def _has_comma(group: Group) -> bool:
    # A comma after the one item of a subscript would make it a tuple.
    return len(group.items) > 1 or group.brackets != "[]" or group.is_display


def _lines(
    expression: Expression, indent: int, *, opened: bool = False, comma: bool = False
) -> list[str]:
    """The expression on lines of its own, opened up when it does not fit, or has to be."""
    pad, end = _TAB * indent, "," if comma else ""
    flat = pad + one_line(expression) + end
    if isinstance(expression, Leaf) or (not opened and width(flat) <= WIDTH):
        return [flat]
    if isinstance(expression, OrNone):
        inner = expression.inner
        if isinstance(inner, Leaf):
            return [flat]
        return [*_lines(inner, indent, opened=_keeps_open(inner)), f"{pad}| None{end}"]
    if not expression.items:
        return [flat]
    first, *rest = _opened(expression, indent)
    return [pad + first, *rest[:-1], rest[-1] + end]


def _opened(group: Group, indent: int) -> list[str]:
    lines = [f"{group.head}{group.brackets[0]}"]
    comma = _has_comma(group)
    for item in group.items:
        lines += _lines(item, indent + 1, opened=not comma and _keeps_open(item), comma=comma)
    return [*lines, f"{_TAB * indent}{group.brackets[1]}"]


def _excused(line: str) -> str:
    """A line with its excuse where the linter asks for one: it lets lone words and addresses be."""
    *before, last = line.split()
    address = "://" in last and width(line) - width(last) <= WIDTH
    return line if width(line) <= WIDTH or not before or address else f"{line}  # noqa: E501"


def words(text: str) -> str:
    """Text for a docstring or a comment: one line, nothing that ends it or escapes."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.replace("\\", "\\\\").replace('"""', "'''").split())


def wrapped(text: str, first: str, rest: str) -> list[str]:
    """Words on lines that begin with ``first`` and then with ``rest``."""
    lines, line = [], first
    fresh = True
    for word in _pieces(text, WIDTH - max(width(first), width(rest))):
        if not fresh and width(line) + 1 + width(word) > WIDTH:
            lines.append(line)
            line, fresh = rest, True
        line += word if fresh else f" {word}"
        fresh = False
    return [*lines, line.rstrip()]


def _pieces(text: str, most: int) -> Iterator[str]:
    """Words, those that are longer than a line cut; an address stays whole."""
    for word in text.split():
        left = word
        while width(left) > most and "://" not in word:
            cut = most // 2 if width(left[:most]) > most else most
            yield left[:cut]
            left = left[cut:]
        yield left


def comment(text: str, indent: int) -> list[str]:
    """A comment for a person who reviews the file."""
    pad = _TAB * indent
    return wrapped(words(text), f"{pad}# review: ", f"{pad}#   ")


def paragraph(text: str, indent: int) -> list[str]:
    """Text in a docstring."""
    return wrapped(words(text), _TAB * indent, _TAB * indent)


def entry(name: str, text: str) -> list[str]:
    """``name: text`` in a section."""
    return wrapped(words(text), f"{_TAB * 2}{name}: ", _TAB * 3)
