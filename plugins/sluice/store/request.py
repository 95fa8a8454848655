"""What a load is asked for, and how offsets, partitions and times are written."""

import re
from datetime import UTC, datetime
from typing import Literal

import msgspec

from sluice.errors import NothingToReplace, PlanError
from sluice.ranges import EVER, OffsetRange

Existing = Literal["skip", "replace"]
"""What happens to offsets that are loaded already: they are left alone, or loaded again."""


class RefusalFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which refused messages; an empty field does not narrow.

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
    """What a load is asked for. Without a window: everything new.

    Attributes:
        partitions: only these; all when empty.
        max_messages: at most so many offsets, shared between the partitions; 0 is no limit.
        low: first offset or time, as a person writes it; empty for the beginning.
        high: offset or time to stop before; empty for the end.
        offsets: these ranges, in place of ``low`` and ``high``.
        existing: what happens to offsets in the window that are loaded already.
        refused: messages in quarantine that are to be validated again, in place of a window.
    """

    partitions: tuple[int, ...] = ()
    max_messages: int = 0
    low: str = ""
    high: str = ""
    offsets: tuple[OffsetRange, ...] = ()
    existing: Existing = "skip"
    refused: RefusalFilter | None = None

    @property
    def windowed(self) -> bool:
        """Whether it is for a part of the topic, rather than for what is new."""
        return bool(self.low or self.high or self.offsets)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            PlanError: says what to change.
        """
        if self.offsets and (self.low or self.high):
            raise PlanError(
                "offsets by partition and a from or to are two ways to choose what to load: keep"
                " one of them"
            )
        if self.refused and (self.windowed or self.existing == "replace"):
            raise PlanError(
                "messages in quarantine are not loaded yet, so there is nothing to replace, and no"
                " window of the topic to read: narrow them by partition, reason, field or offsets"
                " of the quarantine instead"
            )
        if self.existing == "replace" and not self.windowed:
            raise NothingToReplace(
                "what is new is not loaded yet, so there is nothing to replace: name the offsets or"
                " times that are to be loaded again, or 'everything'"
            )
        if self.existing == "replace" and self.max_messages:
            raise PlanError(
                "a limit would load the same offsets again each time: narrow what is to be replaced"
                " by offsets or times"
            )
        if is_offset(self.low) and is_offset(self.high) and int(self.low) >= int(self.high):
            raise PlanError(
                f"there is no offset from {self.low} to before {self.high}: the end must be higher"
            )
        if empty := [r for r in self.offsets if r.low >= r.high]:
            raise PlanError(
                f"there is no offset in {empty[0]}: the end must be higher than the start",
                partition=empty[0].partition,
            )


TimeWindow = tuple[datetime | None, datetime | None]
"""A range of time, from its start to before its end; None where it is open."""


def is_offset(text: str) -> bool:
    """Whether a text is a whole number, and so an offset rather than a time."""
    return text.isascii() and text.isdigit()


def parse_window(low: str, high: str) -> TimeWindow | None:
    """The times that a person wrote; None when one of them is an offset, or both are empty.

    Raises:
        PlanError: one is not a time, or the range ends before it begins.
    """
    if not (low or high) or is_offset(low) or is_offset(high):
        return None
    times = [parse_time(text) if text else None for text in (low, high)]
    if times[0] and times[1] and times[0] >= times[1]:
        raise PlanError(f"the range of time begins at {low} and must end later, not at {high}")
    return times[0], times[1]


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; UTC when it has no zone.

    Raises:
        PlanError: it is not one.
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
    if not all(map(is_offset, parts)):
        raise PlanError(
            f"partitions must be numbers separated by commas, such as 0, 3; not {text!r}"
        )
    return tuple(sorted({int(part) for part in parts}))


_RANGE = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,18})\s*(?:-|–|to)\s*(\d{0,18})\s*", re.A)


def parse_offsets(text: str) -> list[OffsetRange]:
    """Ranges as a person writes them: ``0: 100-200, 1: 50-``; an open end is the topic's.

    Raises:
        PlanError: names the part that cannot be read.
    """
    ranges = []
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        match = _RANGE.fullmatch(part)
        if match is None:
            raise PlanError(
                f"{part.strip()!r} is not a range of offsets: write the partition, the first offset"
                " and the offset to stop before, such as 0: 100-200"
            )
        high = int(match[3]) if match[3] else EVER
        ranges.append(OffsetRange(int(match[1]), int(match[2]), high))
    return ranges


def describe_request(request: Request) -> str:
    """A request in words."""
    if request.refused is not None:
        fields = msgspec.structs.asdict(request.refused)
        narrowed = [f"{n} {v}" for n, v in fields.items() if v and n not in ("topic", "status")]
        text = ", ".join(["messages in quarantine", *narrowed])
    elif request.offsets:
        text = f"offsets {', '.join(map(_written, request.offsets))}"
    elif (request.low, request.high) == ("0", ""):
        text = "everything since the topic's beginning"
    elif request.windowed:
        text = f"from {request.low or 'the beginning'} to {request.high or 'the end'}"
    else:
        text = "everything new"
    if request.partitions:
        text += f", partitions {', '.join(map(str, request.partitions))}"
    if request.max_messages:
        text += f", at most {request.max_messages:,} offsets"
    if request.existing == "replace":
        text += ", replacing what is loaded already"
    return text


def _written(r: OffsetRange) -> str:
    return f"{r.partition}: {r.low}-{r.high if r.high < EVER else ''}"
