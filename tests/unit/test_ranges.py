from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sluice.ranges import OffsetRange, chunk, intersect, limit, merge, subtract, total

ranges = st.lists(
    st.builds(
        lambda p, low, count: OffsetRange(p, low, low + count),
        st.integers(0, 3),
        st.integers(0, 60),
        st.integers(0, 15),
    ),
    max_size=12,
)


def offsets(some: list[OffsetRange]) -> list[tuple[int, int]]:
    return sorted((r.partition, o) for r in some for o in range(r.low, r.high))


@given(ranges)
def test_merge_keeps_every_offset_once(some: list[OffsetRange]) -> None:
    merged = merge(some)
    assert offsets(merged) == sorted(set(offsets(some)))
    for left, right in pairwise(merged):
        assert left.partition != right.partition or left.high < right.low


@given(ranges, ranges)
def test_subtract_keeps_exactly_the_offsets_that_are_not_taken(
    wanted: list[OffsetRange], taken: list[OffsetRange]
) -> None:
    assert offsets(subtract(wanted, taken)) == sorted(set(offsets(wanted)) - set(offsets(taken)))


@given(ranges, ranges)
def test_intersect_keeps_exactly_the_offsets_that_are_in_both(
    first: list[OffsetRange], second: list[OffsetRange]
) -> None:
    assert offsets(intersect(first, second)) == sorted(set(offsets(first)) & set(offsets(second)))


@given(ranges, st.integers(1, 200))
def test_limit_takes_a_prefix_of_each_partition(some: list[OffsetRange], most: int) -> None:
    whole = merge(some)
    kept = limit(whole, most)
    assert total(kept) == min(most, total(whole))
    assert subtract(kept, whole) == []
    for partition in {r.partition for r in kept}:
        prefix = [o for p, o in offsets(kept) if p == partition]
        complete = [o for p, o in offsets(whole) if p == partition]
        assert prefix == complete[: len(prefix)]


def test_limit_is_fair_to_small_partitions() -> None:
    kept = limit([OffsetRange(0, 0, 1000), OffsetRange(1, 0, 10)], 100)
    assert kept == [OffsetRange(0, 0, 90), OffsetRange(1, 0, 10)]


@given(ranges, st.integers(1, 40), st.integers(1, 20))
def test_chunks_contain_every_offset_once_and_their_number_is_limited(
    some: list[OffsetRange], size: int, most: int
) -> None:
    whole = merge(some)
    chunks = chunk(whole, size, most)
    assert offsets([r for part in chunks for r in part]) == offsets(whole)
    assert len(chunks) <= most
    largest = max(size, -(-total(whole) // most))
    assert all(total(part) <= largest for part in chunks)


def test_small_ranges_share_a_chunk_and_long_ones_are_split() -> None:
    chunks = chunk([OffsetRange(0, 0, 25), OffsetRange(1, 0, 3), OffsetRange(2, 5, 7)], 10)
    assert chunks == [
        [OffsetRange(0, 0, 10)],
        [OffsetRange(0, 10, 20)],
        [OffsetRange(0, 20, 25), OffsetRange(1, 0, 3), OffsetRange(2, 5, 7)],
    ]
