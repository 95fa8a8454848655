"""What a person asks a load for, and how offsets, partitions and times are written."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from sluice.errors import PlanError
from sluice.ranges import EVER, OffsetRange

Existing = Literal["skip", "replace"]
"""What becomes of offsets that are loaded already: they are left alone, or loaded anew."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which refused messages; what is empty does not narrow.

    Attributes:
        status: ``quarantined`` of published loads, ``loaded`` or ``superseded`` when a later load
            has read them again, ``pending`` of loads under way or held, ``dropped`` of loads that
            never will be published.
    """

    topic: str
    status: str = "quarantined"
    reason: str = ""
    field: str = ""
    version: str = ""
    load_id: str = ""
    partition: int | None = None
    low: int | None = None
    high: int | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks a load for. Without a window: everything new.

    Attributes:
        partitions: only these; all when empty.
        max_messages: at most so many offsets, shared between the partitions; 0 is no limit.
        low: first offset or time that is wanted, as a person writes it; empty for the beginning.
        high: offset or time to stop before; empty for the end.
        offsets: these ranges, in place of ``low`` and ``high``.
        existing: what becomes of offsets in the window that are loaded already.
        refused: messages in quarantine that are to be validated again, in place of a window.
    """

    partitions: tuple[int, ...] = ()
    max_messages: int = 0
    low: str = ""
    high: str = ""
    offsets: tuple[OffsetRange, ...] = ()
    existing: Existing = "skip"
    refused: Filter | None = None

    @classmethod
    def recorded(cls, plan: Mapping[str, Any]) -> "Request":
        """The request of a load, as its plan records it."""
        return msgspec.convert(plan.get("request", {}), cls)

    @property
    def windowed(self) -> bool:
        """Whether it is about a part of the topic, not about what is new."""
        return bool(self.low or self.high or self.offsets)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            PlanError: says what to change.
        """
        if self.offsets and (self.low or self.high):
            raise PlanError(
                "offsets by partition and a from or to are two ways to say what to load: keep one"
            )
        if self.refused and (self.windowed or self.existing == "replace"):
            raise PlanError(
                "messages in quarantine are not loaded yet, so there is nothing to replace, and no"
                " window of the topic to read: narrow them by partition, reason, field or offsets"
                " of the quarantine instead"
            )
        if self.existing == "replace" and not self.windowed:
            raise PlanError(
                "what is new is not loaded yet, so there is nothing to replace: say which offsets"
                " or times are to be loaded anew, or 'everything'"
            )
        if self.existing == "replace" and self.max_messages:
            raise PlanError(
                "a limit would load the same offsets anew each time: narrow what is to be replaced"
                " by offsets or times"
            )
        if self.low.isdigit() and self.high.isdigit() and int(self.low) >= int(self.high):
            raise PlanError(f"offsets {self.low} to {self.high} hold none: the end must be above")
        if empty := [r for r in self.offsets if r.low >= r.high]:
            raise PlanError(f"{empty[0]} holds no offset: its end must be above its start")


Window = tuple[datetime | None, datetime | None]
"""A range of time, from its start to before its end; None where it is open."""


def window_of(low: str, high: str) -> Window | None:
    """The times that a person wrote; None when one of them is an offset, or both are empty.

    Raises:
        PlanError: one is no time, or the range ends before it begins.
    """
    if not (low or high) or any(text.isascii() and text.isdigit() for text in (low, high)):
        return None
    times = [parse_time(text) if text else None for text in (low, high)]
    if times[0] and times[1] and times[0] >= times[1]:
        raise PlanError(f"the range of time begins at {low} and must end later, not at {high}")
    return times[0], times[1]


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; UTC when it names no zone.

    Raises:
        PlanError: it is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PlanError(
            f"{text!r} is neither an offset nor a time such as 2026-01-31 or 2026-01-31T14:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_partitions(text: str | None) -> tuple[int, ...]:
    """Partitions as a person writes them, ``0, 3``; empty means all.

    Raises:
        PlanError: it is not a list of numbers.
    """
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise PlanError(
            f"partitions must be numbers with commas between, such as 0, 3; not {text!r}"
        )
    return tuple(sorted({int(part) for part in parts}))


_RANGE = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,18})\s*(?:-|–|to)\s*(\d{0,18})\s*", re.A)


def parse_offsets(text: str) -> list[OffsetRange]:
    """Ranges as a person writes them: ``0: 100-200, 1: 50-``; an open end is the topic's.

    Raises:
        PlanError: names the part that is none.
    """
    found = []
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        match = _RANGE.fullmatch(part)
        if match is None:
            raise PlanError(
                f"{part.strip()!r} is not a range of offsets: write partition, first offset and the"
                " one to stop before, such as 0: 100-200"
            )
        high = int(match[3]) if match[3] else EVER
        found.append(OffsetRange(int(match[1]), int(match[2]), high))
    return found


def words(request: Request) -> str:
    """A request as a person would say it."""
    if request.refused is not None:
        asked = msgspec.structs.asdict(request.refused)
        narrowed = [f"{n} {v}" for n, v in asked.items() if v and n not in ("topic", "status")]
        said = ", ".join(["messages in quarantine", *narrowed])
    elif request.offsets:
        said = f"offsets {', '.join(map(_shown, request.offsets))}"
    elif (request.low, request.high) == ("0", ""):
        said = "everything since the topic's beginning"
    elif request.windowed:
        said = f"from {request.low or 'the beginning'} to {request.high or 'the end'}"
    else:
        said = "everything new"
    if request.partitions:
        said += f", partitions {', '.join(map(str, request.partitions))}"
    if request.max_messages:
        said += f", at most {request.max_messages:,} offsets"
    if request.existing == "replace":
        said += ", loaded anew where it is loaded already"
    return said


def _shown(r: OffsetRange) -> str:
    return f"{r.partition}: {r.low}-{r.high if r.high < EVER else ''}"
