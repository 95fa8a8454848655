"""Random strings that fit a field: by its name, or by its pattern."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

import rstr
from msgspec import inspect as mi

from sluice.contract.sql_type import SqlType
from sluice.errors import ContractError

Maker = Callable[[Random], Any]

TRIES = 5000
"""Attempts at a random value that keeps all bounds."""

_SPARE_REPEATS = 8
"""Repetitions of a part of a pattern beyond its minimum."""


def impossible(path: tuple[str, ...], why: str) -> ContractError:
    """The error for a field that has no random values."""
    detail = f"{why}; give the contract a `sample` function that makes messages"
    return ContractError(detail, field=".".join(path))


def text_maker(info: mi.StrType, column: SqlType, few: bool, path: tuple[str, ...]) -> Maker:
    """A maker of strings with the lengths and the pattern of a field.

    Args:
        column: the field's column, which may limit the length, too.
        few: whether the strings repeat, for a low-cardinality column.
        path: names the field in errors.

    The maker raises ContractError when it finds no string.
    """
    least, most = info.min_length or 0, info.max_length
    if (fixed := column.fixed_length) is not None:
        least = most = fixed  # a shorter text would be padded, and is refused
    if info.pattern is not None:
        return _matching(info.pattern, least, most, path)
    named = next((part for part in reversed(path) if re.search(r"\w", part)), "value")
    name = re.sub(r"\W+", "-", named, flags=re.ASCII)

    def make(random: Random) -> str:
        ending = str(random.randrange(5)) if few else f"{random.getrandbits(48):012x}"
        text = f"{name}-{ending}".ljust(least, "x")
        # The random part is at the end, so the beginning is cut.
        return text if most is None or len(text) <= most else text[len(text) - most :]

    return make


class _PatternRandom(Random):
    """Random choices for rstr: few repetitions, and the same choices in every process.

    By itself rstr repeats up to 100 times. It chooses from sets of characters, whose order differs
    between processes.
    """

    def __init__(self, seed: int, *, spare: int) -> None:
        super().__init__(seed)
        self._spare = spare

    def randint(self, a: int, b: int) -> int:
        """A number of repetitions."""
        return super().randint(a, max(a, min(b, a + self._spare)))

    def choice(self, seq: Any) -> Any:
        """One of some characters, or one of some alternatives, which have an order."""
        return super().choice(sorted(seq) if isinstance(seq[0], str) else seq)


def _matching(pattern: str, least: int, most: int | None, path: tuple[str, ...]) -> Maker:
    longest = float("inf") if most is None else most

    def make(random: Random) -> str:
        spare = max(_SPARE_REPEATS, least)
        strings = rstr.Rstr(_PatternRandom(random.getrandbits(64), spare=spare))
        try:
            for _ in range(TRIES):
                text = strings.xeger(pattern)
                if least <= len(text) <= longest and re.search(pattern, text):
                    return text
        except (LookupError, re.error) as error:  # rstr has no handler for a part of the pattern
            why = f"no text can be generated for pattern {pattern!r} ({error!r})"
            raise impossible(path, why) from error
        raise impossible(path, f"no generated text has the right length and matches {pattern!r}")

    return make
