"""Making strings that match a regular expression, for the simple ones that contracts use.

Understood are characters, classes, groups, alternatives, repetitions and anchors. What looks
ahead, back or at itself is not.
"""

import re
import string
from collections.abc import Callable
from random import Random

Maker = Callable[[Random], str]

_CLASSES = {
    "d": string.digits,
    "w": string.ascii_letters + string.digits + "_",
    "s": " ",
    "D": string.ascii_letters,
    "W": " -",
    "S": string.ascii_letters + string.digits,
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_REPEATED = re.compile(r"\{(?=[\d,])(\d*)(,?)(\d*)\}")


class NotSimple(Exception):
    """The pattern has something that this module does not understand; says what."""


def maker_of(pattern: str, spare: int = 8) -> Maker:
    """Makes strings for a pattern. They match it but for its anchors: check the result.

    Args:
        pattern: as ``re`` reads it.
        spare: repetitions beyond the least, where the pattern sets no bound.

    Raises:
        NotSimple: the pattern has more than this module understands.
    """
    reader = _Reader(pattern, spare)
    make = reader.alternatives()
    if reader.at < len(pattern):
        raise NotSimple(f"{reader.peek()!r} at position {reader.at}")
    return make


class _Reader:
    """Reads a pattern from left to right, a method for each level of it."""

    def __init__(self, pattern: str, spare: int) -> None:
        self._pattern, self._spare, self.at = pattern, spare, 0

    def peek(self, count: int = 1) -> str:
        """What comes next; shorter at the end."""
        return self._pattern[self.at : self.at + count]

    def alternatives(self) -> Maker:
        """Parts with ``|`` between them."""
        parts = [self._sequence()]
        while self.peek() == "|":
            self.at += 1
            parts.append(self._sequence())
        return lambda random: random.choice(parts)(random)

    def _sequence(self) -> Maker:
        parts: list[Maker] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return lambda random: "".join(part(random) for part in parts)

    def _repeated(self, make: Maker) -> Maker:
        least, most = 1, 1
        match self.peek():
            case "?":
                least, most = 0, 1
            case "*":
                least, most = 0, self._spare
            case "+":
                least, most = 1, 1 + self._spare
            case "{" if found := _REPEATED.match(self._pattern, self.at):
                least = int(found[1] or 0)
                most = int(found[3]) if found[3] else least + (self._spare if found[2] else 0)
                self.at += len(found[0]) - 1
            case _:
                return make
        self.at += 1
        if self.peek() in ("?", "+") and self.peek():  # lazy and possessive match the same
            self.at += 1
        return lambda random: "".join(make(random) for _ in range(random.randint(least, most)))

    def _atom(self) -> Maker:
        first = self.peek()
        self.at += 1
        match first:
            case "^" | "$":
                return lambda _: ""
            case ".":
                return _one_of(_PRINTABLE)
            case "(":
                return self._group()
            case "[":
                return _one_of(self._class())
            case "\\":
                return self._escape()
        return lambda _: first

    def _group(self) -> Maker:
        if self.peek() == "?":
            named = re.compile(r"\?(?::|P<\w+>)").match(self._pattern, self.at)
            if not named:
                raise NotSimple(f"({self.peek(3)}… at position {self.at - 1}")
            self.at += len(named[0])
        make = self.alternatives()
        if self.peek() != ")":
            raise NotSimple(f"no end of the group before position {self.at}")
        self.at += 1
        return make

    def _escape(self) -> Maker:
        if self.peek() in ("A", "Z", "b", "B"):
            self.at += 1
            return lambda _: ""
        return _one_of(self._escaped())

    def _escaped(self) -> str:
        """The characters that an escape stands for; the backslash is read."""
        kind = self.peek()
        self.at += 1
        if kind in _CLASSES:
            return _CLASSES[kind]
        if kind in ("x", "u"):
            digits = self.peek(2 if kind == "x" else 4)
            self.at += len(digits)
            return chr(int(digits, 16))
        if kind in _CONTROLS:
            return _CONTROLS[kind]
        if not kind or kind.isalnum():
            raise NotSimple(f"\\{kind} at position {self.at - 2}")
        return kind

    def _class(self) -> str:
        negated = self.peek() == "^"
        self.at += negated
        members = ""
        while (char := self.peek()) != "]" or not members:
            if not char:
                raise NotSimple("no end of the class")
            self.at += 1
            low = self._escaped() if char == "\\" else char
            if len(low) == 1 and self.peek() == "-" and self.peek(2) != "-]":
                self.at += 1
                high = self.peek()
                self.at += 1
                if high == "\\":
                    high = self._escaped()
                low = "".join(map(chr, range(ord(low), ord(high) + 1)))
            members += low
        self.at += 1
        if negated:
            members = "".join(c for c in _PRINTABLE if c not in members)
        if not members:
            raise NotSimple("a class of no printable character")
        return members


def _one_of(characters: str) -> Maker:
    return lambda random: random.choice(characters)
