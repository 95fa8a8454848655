"""The request of a load, and the syntax of offsets, partitions and times."""

import re
from datetime import UTC, datetime
from typing import Literal

import msgspec

from sluice.errors import NothingToReplace, PlanError
from sluice.ranges import EVER, OffsetRange

Existing = Literal["skip", "replace"]
"""What to do with offsets that are already loaded: leave them alone, or load them again."""


class RefusalFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter of refused messages; an empty attribute matches all.

    Attributes:
        status: ``quarantined``: refused by a published load, and not read again since;
            ``loaded`` or ``superseded``: read again by a later load, which loaded them or not;
            ``pending``: their load is not yet published; ``dropped``: it never will be.
        low, high: half-open range of offsets.
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
    """What a load is to load; by default everything new.

    Attributes:
        partitions: only these partitions; all if empty.
        max_messages: maximum number of offsets, shared between the partitions; 0 for no limit.
        low: first offset or time, as entered by a person; empty for the beginning.
        high: offset or time to stop before; empty for the end.
        offsets: ranges to load, instead of ``low`` and ``high``.
        existing: what to do with offsets in the window that are already loaded.
        refused: quarantined messages to load again, instead of a window.
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
        """Whether it selects a part of the topic, rather than everything new."""
        return bool(self.low or self.high or self.offsets)

    def check(self) -> None:
        """Refuse attributes that contradict each other.

        Raises:
            PlanError: the detail states what to change.
        """
        if self.offsets and (self.low or self.high):
            raise PlanError(
                "offsets by partition cannot be combined with a start or an end: give only one of"
                " them"
            )
        if self.refused and (self.windowed or self.existing == "replace"):
            raise PlanError(
                "quarantined messages have no rows, so there is nothing to replace, and they are"
                " not selected by a window of the topic: select them by partition, reason, field or"
                " offsets of the quarantine"
            )
        if self.existing == "replace" and not self.windowed:
            raise NothingToReplace(
                "new offsets are not loaded yet, so there is nothing to replace: give the offsets"
                " or times to load again, or 'everything'"
            )
        if self.existing == "replace" and self.max_messages:
            raise PlanError(
                "with a limit, every load would replace the same offsets again: select what to"
                " replace by offsets or times instead"
            )
        if is_offset(self.low) and is_offset(self.high) and int(self.low) >= int(self.high):
            raise PlanError(
                f"the range of offsets from {self.low} to {self.high} is empty: the end must be"
                " higher than the start"
            )
        if empty := [r for r in self.offsets if r.low >= r.high]:
            raise PlanError(
                f"the range of offsets {empty[0]} is empty: the end must be higher than the start",
                partition=empty[0].partition,
            )


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TimeWindow = tuple[datetime | None, datetime | None]
"""A half-open range of time: its start and its end; None where it is open."""


def is_offset(text: str) -> bool:
    """Whether a text is a whole number, and therefore an offset rather than a time."""
    return text.isascii() and text.isdigit()


def parse_window(low: str, high: str) -> TimeWindow | None:
    """The time range that a person entered; None if a value is an offset, or both are empty.

    No timestamp is before 1970: a range that starts there starts at the beginning of the topic.

    Raises:
        PlanError: a value is not a time, or the range ends before it starts, or before 1970.
    """
    if not (low or high) or is_offset(low) or is_offset(high):
        return None
    start, end = (parse_time(text) if text else None for text in (low, high))
    if start and end and start >= end:
        raise PlanError(f"the time range starts at {low} and must end later, not at {high}")
    if end and end <= EPOCH:
        raise PlanError(
            f"the time range ends at {high}, and no message has a timestamp before 1970"
        )
    return (None if start and start <= EPOCH else start), end


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time; UTC if it has no time zone.

    Raises:
        PlanError: it is not a time.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PlanError(
            f"{text!r} is neither an offset nor a time such as 2026-01-31 or 2026-01-31T14:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_partitions(text: str | None) -> tuple[int, ...]:
    """Parse a list of partitions, ``0, 3``; empty for all.

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
    """Parse a list of ranges, ``0: 100-200, 1: 50-``; without an end, up to the end of the topic.

    Raises:
        PlanError: a part cannot be parsed; the detail quotes it.
    """
    ranges = []
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        match = _RANGE.fullmatch(part)
        if match is None:
            raise PlanError(
                f"{part.strip()!r} is not a range of offsets: give the partition, the first offset"
                " and the offset to stop before, such as 0: 100-200"
            )
        high = int(match[3]) if match[3] else EVER
        ranges.append(OffsetRange(int(match[1]), int(match[2]), high))
    return ranges


def describe_request(request: Request) -> str:
    """A request as text for people."""
    if request.refused is not None:
        fields = msgspec.structs.asdict(request.refused)
        filters = [f"{n} {v}" for n, v in fields.items() if v and n not in ("topic", "status")]
        text = ", ".join(["messages in quarantine", *filters])
    elif request.offsets:
        text = f"offsets {', '.join(map(_format_range, request.offsets))}"
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


def _format_range(r: OffsetRange) -> str:
    """A range in the syntax of :func:`parse_offsets`."""
    return f"{r.partition}: {r.low}-{r.high if r.high < EVER else ''}"
