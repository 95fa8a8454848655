"""Offset ranges and their arithmetic. A range is half-open: ``[low, high)``."""

from collections.abc import Iterable, Sequence

import msgspec


class OffsetRange(msgspec.Struct, frozen=True, order=True, gc=False):
    """The offsets ``low <= offset < high`` of one partition."""

    partition: int
    low: int
    high: int

    @property
    def count(self) -> int:
        """How many offsets there are."""
        return max(0, self.high - self.low)

    def overlaps(self, other: "OffsetRange") -> bool:
        """Whether both hold an offset."""
        return self.partition == other.partition and self.low < other.high and other.low < self.high

    def __str__(self) -> str:
        return f"{self.partition}:[{self.low}, {self.high})"


EVER = 1 << 62
"""Beyond every offset."""


def total(ranges: Iterable[OffsetRange]) -> int:
    """Number of offsets in ranges that do not overlap."""
    return sum(r.count for r in ranges)


def merge(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The same offsets as the fewest ranges, in order; overlapping and adjacent ones are joined."""
    merged: list[OffsetRange] = []
    for r in sorted(r for r in ranges if r.count):
        last = merged[-1] if merged else None
        if last and last.partition == r.partition and r.low <= last.high:
            merged[-1] = OffsetRange(r.partition, last.low, max(last.high, r.high))
        else:
            merged.append(r)
    return merged


def subtract(wanted: Iterable[OffsetRange], taken: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The offsets of ``wanted`` that are not in ``taken``, as the fewest ranges."""
    holes = merge(taken)
    left: list[OffsetRange] = []
    at = 0
    for r in merge(wanted):
        while at < len(holes) and (holes[at].partition, holes[at].high) <= (r.partition, r.low):
            at += 1
        low, ahead = r.low, at
        while ahead < len(holes) and holes[ahead].overlaps(r):
            hole = holes[ahead]
            if hole.low > low:
                left.append(OffsetRange(r.partition, low, hole.low))
            low = max(low, hole.high)
            ahead += 1
        if low < r.high:
            left.append(OffsetRange(r.partition, low, r.high))
    return left


def intersect(some: Iterable[OffsetRange], others: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The offsets that are in both, as the fewest ranges."""
    some = list(some)
    return subtract(some, subtract(some, others))


def limit(ranges: Sequence[OffsetRange], most: int) -> list[OffsetRange]:
    """At most ``most`` offsets, shared fairly: no partition waits for another to be finished."""
    if total(ranges) <= most:
        return list(ranges)
    by_partition: dict[int, int] = {}
    for r in ranges:
        by_partition[r.partition] = by_partition.get(r.partition, 0) + r.count
    share: dict[int, int] = {}
    left, open_partitions = most, sorted(by_partition, key=lambda p: (by_partition[p], p))
    for done, partition in enumerate(open_partitions):
        share[partition] = min(by_partition[partition], left // (len(open_partitions) - done))
        left -= share[partition]
    kept: list[OffsetRange] = []
    for r in ranges:
        take = min(r.count, share[r.partition])
        share[r.partition] -= take
        if take:
            kept.append(OffsetRange(r.partition, r.low, r.low + take))
    return kept


PIECES = 1000
"""Ranges of a chunk, at most: they are written out in statements."""


def chunk(ranges: Iterable[OffsetRange], size: int, most: int = 1000) -> list[list[OffsetRange]]:
    """Cut ranges into chunks of about ``size`` offsets, each the work of one task.

    Long ranges are split and short ones packed together, so that neither a skewed
    partition nor a topic of many small partitions decides the running time. There are
    never more than ``most`` chunks (Airflow maps over at most 1024 items); beyond that
    the chunks grow. A chunk of many small ranges has fewer offsets.
    """
    ranges = list(ranges)
    size, pieces = max(1, size, -(-total(ranges) // max(1, most))), PIECES
    while len(chunks := _cut(ranges, size, pieces)) > most:
        size, pieces = 2 * size, 2 * pieces
    return chunks


def _cut(ranges: Sequence[OffsetRange], size: int, pieces: int) -> list[list[OffsetRange]]:
    chunks: list[list[OffsetRange]] = []
    room = 0
    for r in ranges:
        low = r.low
        while low < r.high:
            if room == 0 or len(chunks[-1]) == pieces:
                chunks.append([])
                room = size
            high = min(r.high, low + room)
            chunks[-1].append(OffsetRange(r.partition, low, high))
            room -= high - low
            low = high
    return chunks
