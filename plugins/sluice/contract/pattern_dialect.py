"""Which patterns mean something else in RE2, the dialect of ClickHouse, than in Python."""

import re
import warnings
from collections.abc import Iterator
from re import _constants as words  # type: ignore[attr-defined]
from re import _parser as parser
from typing import Any

_MOST_REPEATS = 1000
"""RE2 refuses a part that repeats more often."""

_CLASSES = {
    words.CATEGORY_WORD: r"\w",
    words.CATEGORY_NOT_WORD: r"\W",
    words.CATEGORY_DIGIT: r"\d",
    words.CATEGORY_NOT_DIGIT: r"\D",
    words.CATEGORY_SPACE: r"\s",
    words.CATEGORY_NOT_SPACE: r"\S",
}
"""Classes that contain letters, digits and spaces of all languages in Python, and ASCII in RE2."""

_POSITIONS = {
    words.AT_BOUNDARY: r"\b",
    words.AT_NON_BOUNDARY: r"\B",
}

_UNKNOWN = {
    words.ASSERT: "a lookaround",
    words.ASSERT_NOT: "a lookaround",
    words.GROUPREF: "a back reference",
    words.GROUPREF_EXISTS: "a conditional group",
    words.POSSESSIVE_REPEAT: "a possessive quantifier",
    words.ATOMIC_GROUP: "an atomic group",
}


_MISSING_SPELLINGS = (
    (r"\\[uUN]", r"escapes of characters by number (\u) or name (\N)"),
    (r"(?<!\\)\(\?[a-zA-Z]*[auxL]", "the flags a, u, x and L"),
    (r"(?<!\\)\(\?#", "comments"),
    (r"\\(_|[^\x00-\x7f])", "escapes of letters"),
)
_OTHER_SPELLINGS = (
    (r"(?<!\\)\{,\d", "'{,n}' repetitions"),
    (r"\[\[:", "'[[:'"),
    (r"\\[0-7]", "octal escapes"),
)
"""What the parser does not tell apart: spellings and what they are."""


def pattern_review(pattern: str) -> str:
    """Where RE2 and Python differ about a pattern, as a sentence; empty if they do not.

    msgspec checks a pattern with Python's ``re`` when a message is read, and ClickHouse with RE2
    when a load's quality rules run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about spellings such as [[
        parsed = parser.parse(pattern)
    missing, different = set(), set()
    for operator, argument in _walk(parsed):
        if operator in _UNKNOWN:
            missing.add(_UNKNOWN[operator])
        elif operator is words.AT and argument is words.AT_END_STRING:
            missing.add(r"'\Z'")
        elif operator is words.AT and argument is words.AT_END:
            different.add("'$' before a final newline")
        elif operator is words.AT and argument in _POSITIONS:
            different.add(f"'{_POSITIONS[argument]}' outside ASCII")
        elif operator is words.CATEGORY:
            different.add(f"'{_CLASSES[argument]}' outside ASCII")
        elif operator in (words.MAX_REPEAT, words.MIN_REPEAT):
            low, high, _ = argument
            if max(low, 0 if high is words.MAXREPEAT else int(high)) > _MOST_REPEATS:
                missing.add(f"more than {_MOST_REPEATS:,} repetitions")
    plain = pattern.replace("\\\\", "")  # without escaped backslashes
    missing |= {text for spelling, text in _MISSING_SPELLINGS if re.search(spelling, plain)}
    different |= {text for spelling, text in _OTHER_SPELLINGS if re.search(spelling, plain)}
    if missing:
        parts = ", ".join(sorted(missing))
        return f"the quality rules cannot check its pattern: ClickHouse's RE2 lacks {parts}"
    if different:
        parts = ", ".join(sorted(different))
        return f"ClickHouse's RE2 reads its pattern differently from Python: {parts}"
    return ""


def _walk(parsed: Any) -> Iterator[tuple[Any, Any]]:
    """All operators of a parsed pattern with their arguments, at any depth."""
    if isinstance(parsed, parser.SubPattern):
        for operator, argument in parsed:
            yield operator, argument
            yield from _walk(argument)
    elif isinstance(parsed, list | tuple):
        for part in parsed:
            if isinstance(part, tuple) and len(part) == 2 and part[0] in (words.CATEGORY, words.AT):
                yield part
            else:
                yield from _walk(part)
