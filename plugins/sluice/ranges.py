"""Offset ranges and their arithmetic. Ranges are half-open: ``[low, high)``."""

from collections.abc import Iterable, Sequence

import msgspec


class OffsetRange(msgspec.Struct, frozen=True, order=True, gc=False):
    """The offsets ``low <= offset < high`` of one partition."""

    partition: int
    low: int
    high: int

    @property
    def count(self) -> int:
        """Number of offsets in the range."""
        return max(0, self.high - self.low)

    def overlaps(self, other: "OffsetRange") -> bool:
        """Whether the ranges have an offset in common."""
        return self.partition == other.partition and self.low < other.high and other.low < self.high

    def __str__(self) -> str:
        return f"{self.partition}:[{self.low}, {self.high})"


EVER = 1 << 62
"""Greater than every offset: the end of an open range."""


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
    cuts = merge(taken)
    rest: list[OffsetRange] = []
    first = 0
    for r in merge(wanted):
        while first < len(cuts) and (cuts[first].partition, cuts[first].high) <= (
            r.partition,
            r.low,
        ):
            first += 1
        low, index = r.low, first
        while index < len(cuts) and cuts[index].overlaps(r):
            cut = cuts[index]
            if cut.low > low:
                rest.append(OffsetRange(r.partition, low, cut.low))
            low = max(low, cut.high)
            index += 1
        if low < r.high:
            rest.append(OffsetRange(r.partition, low, r.high))
    return rest


def intersect(first: Iterable[OffsetRange], second: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The offsets that are in both, as the fewest ranges."""
    first = list(first)
    return subtract(first, subtract(first, second))


def limit(ranges: Sequence[OffsetRange], most: int) -> list[OffsetRange]:
    """The first offsets of each partition, at most ``most`` in total.

    They are shared evenly, so that no partition waits for another to be finished.
    """
    if total(ranges) <= most:
        return list(ranges)
    by_partition: dict[int, int] = {}
    for r in ranges:
        by_partition[r.partition] = by_partition.get(r.partition, 0) + r.count
    share: dict[int, int] = {}
    rest, smallest_first = most, sorted(by_partition, key=lambda p: (by_partition[p], p))
    for done, partition in enumerate(smallest_first):
        share[partition] = min(by_partition[partition], rest // (len(smallest_first) - done))
        rest -= share[partition]
    kept: list[OffsetRange] = []
    for r in ranges:
        take = min(r.count, share[r.partition])
        share[r.partition] -= take
        if take:
            kept.append(OffsetRange(r.partition, r.low, r.low + take))
    return kept


PIECES = 1000
"""Maximum number of ranges in a chunk, because statements list them all."""


def chunk(ranges: Iterable[OffsetRange], size: int, most: int = 1000) -> list[list[OffsetRange]]:
    """Divide ranges into chunks of about ``size`` offsets, one per task.

    Long ranges are split and short ones are combined, so that the running time does not depend on
    how the offsets are distributed over partitions. There are at most ``most`` chunks (Airflow maps
    over at most 1024 items); if necessary, chunks are larger than ``size``. A chunk of many small
    ranges has fewer offsets.
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
