"""Which offset ranges a load takes."""

import msgspec
import pytest

from include.schemas.orders import contract as orders
from sluice.errors import OffsetsExpired, PlanError, TopicRecreated, UnknownPartition
from sluice.plan.range_selection import Selection, TopicHistory, choose_ranges
from sluice.ranges import OffsetRange, chunk
from sluice.records import Topic, Watermarks
from sluice.store.request import Existing, Request, parse_partitions

TOPIC = Topic("orders", "id-1", (0, 1))
MARKS = {0: Watermarks(0, 100), 1: Watermarks(40, 50)}


def plan(
    history: TopicHistory = TopicHistory(),
    request: Request = Request(),
    marks: dict[int, Watermarks] = MARKS,
    topic: Topic = TOPIC,
    on_expired: str = "fail",
) -> list[OffsetRange]:
    contract = msgspec.structs.replace(orders, on_expired=on_expired)
    return choose_ranges(contract, topic, marks, history, request).ranges


def test_the_first_load_takes_all_offsets() -> None:
    assert plan() == [OffsetRange(0, 0, 100), OffsetRange(1, 40, 50)]


def test_loaded_and_reserved_offsets_are_left_out_and_gaps_are_filled() -> None:
    history = TopicHistory(
        topic_id="id-1",
        loaded=[OffsetRange(0, 20, 30), OffsetRange(1, 40, 50)],
        reserved=[OffsetRange(0, 60, 70)],
    )
    assert plan(history) == [OffsetRange(0, 0, 20), OffsetRange(0, 30, 60), OffsetRange(0, 70, 100)]


@pytest.mark.parametrize(
    ("request_", "offsets", "postponed"),
    [
        (Request(), 30, 80),
        (Request(partitions=(0,)), 30, 70),
        # Whoever asks for a number, a window or a replacement gets that.
        (Request(max_messages=40), 40, 0),
        (Request(existing="replace"), 110, 0),
    ],
)
def test_a_load_of_everything_new_reads_no_more_than_the_contract_says(
    request_: Request, offsets: int, postponed: int
) -> None:
    contract = msgspec.structs.replace(orders, max_offsets=30)
    chosen = choose_ranges(contract, TOPIC, MARKS, TopicHistory(), request_)
    assert (chosen.offsets, chosen.postponed) == (offsets, postponed)
    assert chosen.left_alone.get("postponed", 0) == postponed


def test_a_window_is_not_limited() -> None:
    contract = msgspec.structs.replace(orders, max_offsets=30)
    window = [OffsetRange(0, 10, 90)]
    chosen = choose_ranges(contract, TOPIC, MARKS, TopicHistory(), Request(low="10"), window)
    assert (chosen.offsets, chosen.postponed) == (80, 0)


def test_a_topic_without_new_messages_yields_an_empty_plan() -> None:
    loaded = [OffsetRange(0, 0, 100), OffsetRange(1, 40, 50)]
    assert plan(TopicHistory(topic_id="id-1", loaded=loaded)) == []


def test_a_single_unread_message_is_planned() -> None:
    loaded = [OffsetRange(0, 0, 99), OffsetRange(1, 40, 50)]
    assert plan(TopicHistory(topic_id="id-1", loaded=loaded)) == [OffsetRange(0, 99, 100)]


def test_a_request_narrows_the_plan() -> None:
    assert plan(request=Request(partitions=(1,))) == [OffsetRange(1, 40, 50)]
    assert plan(request=Request(max_messages=12)) == [OffsetRange(0, 0, 6), OffsetRange(1, 40, 46)]


def test_an_unknown_partition_is_refused() -> None:
    with pytest.raises(UnknownPartition) as raised:
        plan(request=Request(partitions=(0, 7)))
    assert (raised.value.topic, raised.value.partition) == (TOPIC.name, 7)


def test_offsets_that_expired_before_they_were_loaded_are_an_error() -> None:
    loaded = [OffsetRange(0, 0, 10), OffsetRange(0, 30, 40)]
    history = TopicHistory(topic_id="id-1", origins={0: 0}, loaded=loaded)
    marks = {0: Watermarks(50, 100), 1: Watermarks(40, 50)}
    with pytest.raises(OffsetsExpired) as raised:
        plan(history, marks=marks)
    assert (raised.value.partition, raised.value.offset) == (0, 10)
    assert "0:[10, 30), 0:[40, 50)" in raised.value.detail


def test_expired_offsets_are_planned_when_the_contract_records_them() -> None:
    history = TopicHistory(topic_id="id-1", origins={0: 0, 1: 50}, loaded=[OffsetRange(0, 0, 10)])
    marks = {0: Watermarks(50, 100), 1: Watermarks(50, 50)}
    assert plan(history, marks=marks, on_expired="record") == [OffsetRange(0, 10, 100)]


def test_a_recreated_topic_is_refused() -> None:
    history = TopicHistory(topic_id="id-0", loaded=[OffsetRange(0, 0, 10)])
    with pytest.raises(TopicRecreated) as raised:
        plan(history)
    assert (raised.value.topic, raised.value.partition) == (TOPIC.name, None)


def test_an_end_below_what_is_loaded_is_refused() -> None:
    history = TopicHistory(topic_id="id-1", loaded=[OffsetRange(0, 0, 101)])
    with pytest.raises(TopicRecreated) as raised:
        plan(history)
    assert (raised.value.topic, raised.value.partition) == (TOPIC.name, 0)


def test_partitions_are_parsed_from_a_list() -> None:
    assert parse_partitions(None) == parse_partitions(" ") == ()
    assert parse_partitions("3, 0,3") == (0, 3)
    with pytest.raises(PlanError):
        parse_partitions("0-3")


def test_expired_offsets_of_an_unpublished_load_are_an_error() -> None:
    history = TopicHistory(origins={0: 0, 1: 40}, loaded=[OffsetRange(0, 50, 100)])
    with pytest.raises(OffsetsExpired) as raised:
        plan(history, marks={0: Watermarks(20, 100), 1: Watermarks(40, 50)})
    assert (raised.value.partition, raised.value.offset) == (0, 0)


def plan_window(
    *window: OffsetRange, history: TopicHistory = TopicHistory(), on_expired: str = "fail"
) -> list[OffsetRange]:
    contract = msgspec.structs.replace(orders, on_expired=on_expired)
    return choose_ranges(contract, TOPIC, MARKS, history, Request(), window).ranges


def test_a_window_takes_the_offsets_in_it_that_are_not_loaded() -> None:
    history = TopicHistory(topic_id="id-1", loaded=[OffsetRange(0, 20, 30)])
    ranges = plan_window(OffsetRange(0, 10, 40), OffsetRange(1, 0, 45), history=history)
    assert ranges == [OffsetRange(0, 10, 20), OffsetRange(0, 30, 40), OffsetRange(1, 40, 45)]


def test_a_window_outside_the_log_is_empty() -> None:
    assert plan_window(OffsetRange(0, 500, 600)) == []
    assert plan_window(OffsetRange(1, 0, 40)) == []


def test_expired_offsets_are_an_error_only_inside_the_window() -> None:
    history = TopicHistory(topic_id="id-1", origins={1: 0})
    assert plan_window(OffsetRange(0, 0, 5), history=history) == [OffsetRange(0, 0, 5)]
    with pytest.raises(OffsetsExpired) as raised:
        plan_window(OffsetRange(1, 30, 45), history=history)
    assert (raised.value.partition, raised.value.offset) == (1, 30)
    assert "1:[30, 40)" in raised.value.detail
    ranges = plan_window(OffsetRange(1, 30, 45), history=history, on_expired="record")
    assert ranges == [OffsetRange(1, 30, 45)]


def select_window(
    *window: OffsetRange, existing: Existing = "skip", on_expired: str = "fail"
) -> Selection:
    """Partition 0 holds 0-100, of which 20-30 is loaded and 60-70 reserved; partition 1, 40-50."""
    history = TopicHistory(
        topic_id="id-1", loaded=[OffsetRange(0, 20, 30)], reserved=[OffsetRange(0, 60, 70)]
    )
    contract = msgspec.structs.replace(orders, on_expired=on_expired)
    request = Request(existing=existing)
    return choose_ranges(contract, TOPIC, MARKS, history, request, window)


def test_a_selection_counts_the_offsets_that_a_window_leaves_alone() -> None:
    selection = select_window(OffsetRange(0, 10, 120), OffsetRange(1, 0, 45))
    assert selection.ranges == [
        OffsetRange(0, 10, 20),
        OffsetRange(0, 30, 60),
        OffsetRange(0, 70, 100),
        OffsetRange(1, 40, 45),
    ]
    assert selection.left_alone == {"there": 10, "elsewhere": 10, "gone": 40, "ahead": 20}
    assert select_window(OffsetRange(0, 22, 28)).left_alone == {"there": 6}
    assert select_window(OffsetRange(0, 200, 300)).left_alone == {"ahead": 100}
    assert select_window(OffsetRange(1, 0, 10)).left_alone == {"gone": 10}


def test_a_selection_counts_the_offsets_that_a_window_replaces() -> None:
    selection = select_window(OffsetRange(0, 10, 65), existing="replace")
    assert selection.ranges == [OffsetRange(0, 10, 60)]
    assert (selection.replaced, selection.left_alone) == (10, {"replaced": 10, "elsewhere": 5})
    assert select_window(OffsetRange(0, 0, 10), existing="replace").replaced == 0


def test_many_small_ranges_stay_within_the_task_limit() -> None:
    singles = [OffsetRange(0, 2 * n, 2 * n + 1) for n in range(30_000)]
    chunks = chunk(singles, 500_000, most=20)
    assert len(chunks) <= 20
    assert [r for part in chunks for r in part] == singles
    assert max(len(part) for part in chunk(singles, 500_000)) == 1000
