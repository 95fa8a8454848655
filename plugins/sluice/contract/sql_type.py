"""ClickHouse column types, parsed once. Limits, examples, widening, DDL and docs use this model."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

import msgspec

from sluice.sql import quote_identifier


class SqlType(msgspec.Struct, frozen=True):
    """A column type: ``Map(String, Array(Int8))``, ``DateTime64(3, 'UTC')``.

    Attributes:
        name: the outermost name, ``Map``.
        types: the nested types: of items, of keys and values, or of elements.
        names: the element names of a named tuple, one per type; otherwise empty.
        parameters: all other arguments, such as ``3`` and ``'UTC'``.
    """

    name: str
    types: "tuple[SqlType, ...]" = ()
    names: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "SqlType":
        """Parse a type in ClickHouse syntax."""
        match = re.fullmatch(r"(\w+)\s*\((.*)\)", text.strip(), re.S)
        if not match:
            return cls(text.strip())
        name, types, names, parameters = match[1], [], [], []
        for argument in _split(match[2]):
            if re.match(r"[-\d']|\w+\s*=", argument):
                parameters.append(argument)
                continue
            element = _ELEMENT.fullmatch(argument) if name in ("Tuple", "Nested") else None
            if element:
                names.append(_unquoted(element[1]))
            types.append(cls.parse(element[2] if element else argument))
        return cls(name, tuple(types), tuple(names), tuple(parameters))

    def __str__(self) -> str:
        names = [f"{quote_identifier(name)} " for name in self.names] or [""] * len(self.types)
        elements = [f"{name}{type_}" for name, type_ in zip(names, self.types, strict=True)]
        arguments = ", ".join((*elements, *self.parameters))
        return f"{self.name}({arguments})" if arguments else self.name

    @property
    def plain(self) -> "SqlType":
        """The type without LowCardinality and Nullable."""
        return self.types[0].plain if self.name in ("LowCardinality", "Nullable") else self

    @property
    def dense(self) -> "SqlType":
        """The type without LowCardinality."""
        return self.types[0] if self.name == "LowCardinality" else self

    @property
    def nullable(self) -> "SqlType":
        """The nullable form of the type; LowCardinality stays outermost."""
        stored = SqlType("Nullable", (self.dense,))
        return SqlType("LowCardinality", (stored,)) if self.name == "LowCardinality" else stored

    @property
    def integer_range(self) -> tuple[int, int] | None:
        """Least and greatest value of an integer type; None for other types."""
        match = re.fullmatch(r"(U?)Int(8|16|32|64|128|256)", self.name)
        if not match:
            return None
        bits = int(match[2])
        return (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    @property
    def decimal_digits(self) -> tuple[int, int] | None:
        """Digits and decimal places of a Decimal; None for other types."""
        match = re.fullmatch(r"Decimal(32|64|128|256)?", self.name)
        if not match:
            return None
        if match[1]:
            return _DECIMAL_DIGITS[match[1]], int(self.parameters[0])
        digits, places = (*self.parameters, "0")[:2] if self.parameters else ("10", "0")
        return int(digits), int(places)

    @property
    def fixed_length(self) -> int | None:
        """Length of a FixedString in bytes; None for other types."""
        return int(self.parameters[0]) if self.name == "FixedString" else None

    @property
    def time_range(self) -> tuple[datetime, datetime] | None:
        """Earliest and latest time of DateTime and DateTime64; None for other types.

        The values are those of ClickHouse's documentation.
        """
        if self.name == "DateTime64":
            return _NANOSECONDS if (self.second_digits or 0) > 8 else _EXTENDED
        return _SECONDS if self.name == "DateTime" else None

    @property
    def second_digits(self) -> int | None:
        """Decimal places of a second of DateTime, DateTime64, Time and Time64; otherwise None."""
        if self.name in ("DateTime64", "Time64"):
            return int(self.parameters[0]) if self.parameters else 3
        return 0 if self.name in ("DateTime", "Time") else None

    @property
    def in_utc(self) -> "SqlType":
        """The type with the zone UTC, if it is DateTime or DateTime64: a time without a zone is
        then read as UTC, whatever zone the column displays.
        """
        if self.name == "DateTime64":
            return SqlType(self.name, parameters=(str(self.second_digits), "'UTC'"))
        return SqlType(self.name, parameters=("'UTC'",)) if self.name == "DateTime" else self

    @property
    def enum_names(self) -> tuple[str, ...] | None:
        """The names of Enum8 and Enum16; None for other types."""
        if self.name not in ("Enum8", "Enum16"):
            return None
        texts = [re.sub(r"\s*=\s*-?\d+$", "", parameter) for parameter in self.parameters]
        return tuple(_ESCAPE.sub(_unescaped, text[1:-1]) for text in texts)

    @property
    def date_range(self) -> tuple[date, date] | None:
        """First and last day of Date and Date32; None for other types."""
        return _DAYS.get(self.name)


_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})|\\(.)|'(')", re.S)
_CONTROLS = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}


def _unescaped(match: re.Match[str]) -> str:
    """The character that an escape sequence of an SQL string stands for."""
    code, escaped, quote = match.groups()
    if code:
        return chr(int(code, 16))
    return quote or _CONTROLS.get(escaped, escaped)


_DECIMAL_DIGITS = {"32": 9, "64": 18, "128": 38, "256": 76}
_EXTENDED = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 12, 31, 23, 59, 59, 999999, UTC))
_NANOSECONDS = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2262, 4, 11, 23, 47, 16, 0, UTC))
_SECONDS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2106, 2, 7, 6, 28, 15, 999999, UTC))
_DAYS = {
    "Date32": (date(1900, 1, 1), date(2299, 12, 31)),
    "Date": (date(1970, 1, 1), date(2149, 6, 6)),
}
_ELEMENT = re.compile(r"(`(?:[^`\\]|\\.)+`|[A-Za-z_]\w*) (\S.*)", re.S)


def smallest_integer(low: int, high: int, bits: tuple[int, ...]) -> SqlType | None:
    """The smallest integer type that holds a range.

    Args:
        bits: the widths to choose from, narrowest first.

    Returns:
        The type, unsigned if possible; None if no width is sufficient.
    """
    for width in bits:
        for name in (f"UInt{width}", f"Int{width}"):
            type_ = SqlType(name)
            least, most = type_.integer_range or (0, -1)
            if least <= low and high <= most:
                return type_
    return None


def _split(arguments: str) -> Iterator[str]:
    """The parts between the outermost commas."""
    depth, quote, start, position = 0, "", 0, 0
    while position < len(arguments):
        character = arguments[position]
        if quote:
            position += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'`":
            quote = character
        elif character == "," and depth == 0:
            yield arguments[start:position].strip()
            start = position + 1
        depth += 0 if quote else (character == "(") - (character == ")")
        position += 1
    yield arguments[start:].strip()


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name
