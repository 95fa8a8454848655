import msgspec
import pytest

from include.schemas.orders import contract as orders
from sluice.errors import OffsetsExpired, PlanError, TopicRecreated, UnknownPartition
from sluice.plan.choose import Selection, TopicHistory, choose_ranges, partition_origins
from sluice.ranges import OffsetRange, chunk
from sluice.records import Topic, Watermarks
from sluice.store.load_records import PlanRecord
from sluice.store.request import Existing, Request, parse_partitions

TOPIC = Topic("orders", "id-1", (0, 1))
MARKS = {0: Watermarks(0, 100), 1: Watermarks(40, 50)}


def plan(
    known: TopicHistory = TopicHistory(),
    request: Request = Request(),
    marks: dict[int, Watermarks] = MARKS,
    topic: Topic = TOPIC,
    on_expired: str = "fail",
) -> list[OffsetRange]:
    contract = msgspec.structs.replace(orders, on_expired=on_expired)
    return choose_ranges(contract, topic, marks, known, request).ranges


def test_the_first_load_takes_all_that_is_there() -> None:
    assert plan() == [OffsetRange(0, 0, 100), OffsetRange(1, 40, 50)]


def test_loaded_and_reserved_offsets_are_left_out_and_holes_are_filled() -> None:
    known = TopicHistory(
        topic_id="id-1",
        loaded=[OffsetRange(0, 20, 30), OffsetRange(1, 40, 50)],
        reserved=[OffsetRange(0, 60, 70)],
    )
    assert plan(known) == [OffsetRange(0, 0, 20), OffsetRange(0, 30, 60), OffsetRange(0, 70, 100)]


def test_nothing_new_plans_nothing() -> None:
    loaded = [OffsetRange(0, 0, 100), OffsetRange(1, 40, 50)]
    assert plan(TopicHistory(topic_id="id-1", loaded=loaded)) == []


def test_one_unread_message_is_planned() -> None:
    loaded = [OffsetRange(0, 0, 99), OffsetRange(1, 40, 50)]
    assert plan(TopicHistory(topic_id="id-1", loaded=loaded)) == [OffsetRange(0, 99, 100)]


def test_a_request_narrows_the_plan() -> None:
    assert plan(request=Request(partitions=(1,))) == [OffsetRange(1, 40, 50)]
    assert plan(request=Request(max_messages=12)) == [OffsetRange(0, 0, 6), OffsetRange(1, 40, 46)]


def test_a_partition_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(UnknownPartition) as raised:
        plan(request=Request(partitions=(0, 7)))
    assert (raised.value.topic, raised.value.partition) == (TOPIC.name, 7)


def test_offsets_that_expired_before_they_were_loaded_are_an_error() -> None:
    loaded = [OffsetRange(0, 0, 10), OffsetRange(0, 30, 40)]
    known = TopicHistory(topic_id="id-1", origins={0: 0}, loaded=loaded)
    marks = {0: Watermarks(50, 100), 1: Watermarks(40, 50)}
    with pytest.raises(OffsetsExpired) as raised:
        plan(known, marks=marks)
    assert (raised.value.partition, raised.value.offset) == (0, 10)
    assert "0:[10, 30), 0:[40, 50)" in raised.value.detail


def test_expired_offsets_are_planned_when_the_contract_records_them() -> None:
    known = TopicHistory(topic_id="id-1", origins={0: 0, 1: 50}, loaded=[OffsetRange(0, 0, 10)])
    marks = {0: Watermarks(50, 100), 1: Watermarks(50, 50)}
    assert plan(known, marks=marks, on_expired="record") == [OffsetRange(0, 10, 100)]


def test_a_recreated_topic_is_refused() -> None:
    known = TopicHistory(topic_id="id-0", loaded=[OffsetRange(0, 0, 10)])
    with pytest.raises(TopicRecreated) as raised:
        plan(known)
    assert (raised.value.topic, raised.value.partition) == (TOPIC.name, None)


def test_an_end_below_what_is_loaded_is_refused() -> None:
    known = TopicHistory(topic_id="id-1", loaded=[OffsetRange(0, 0, 101)])
    with pytest.raises(TopicRecreated) as raised:
        plan(known)
    assert (raised.value.topic, raised.value.partition) == (TOPIC.name, 0)


def test_partitions_are_read_as_people_write_them() -> None:
    assert parse_partitions(None) == parse_partitions(" ") == ()
    assert parse_partitions("3, 0,3") == (0, 3)
    with pytest.raises(PlanError):
        parse_partitions("0-3")


def test_offsets_of_a_load_that_never_published_are_not_forgotten_when_they_expire() -> None:
    known = TopicHistory(origins={0: 0, 1: 40}, loaded=[OffsetRange(0, 50, 100)])
    with pytest.raises(OffsetsExpired) as raised:
        plan(known, marks={0: Watermarks(20, 100), 1: Watermarks(40, 50)})
    assert (raised.value.partition, raised.value.offset) == (0, 0)


def test_a_partition_begins_where_the_first_plan_saw_it_or_at_0_when_it_was_added() -> None:
    plans = [
        PlanRecord(watermarks={0: (5, 10)}),
        PlanRecord(watermarks={0: (7, 20), 1: (3, 9)}),
    ]
    assert partition_origins(plans, (0, 1, 2)) == {0: 5, 1: 0, 2: 0}
    assert partition_origins([], (0, 1)) == {}


def within(
    *window: OffsetRange, known: TopicHistory = TopicHistory(), on_expired: str = "fail"
) -> list[OffsetRange]:
    contract = msgspec.structs.replace(orders, on_expired=on_expired)
    return choose_ranges(contract, TOPIC, MARKS, known, Request(), window).ranges


def test_a_window_takes_what_lies_in_it_and_is_not_loaded() -> None:
    known = TopicHistory(topic_id="id-1", loaded=[OffsetRange(0, 20, 30)])
    found = within(OffsetRange(0, 10, 40), OffsetRange(1, 0, 45), known=known)
    assert found == [OffsetRange(0, 10, 20), OffsetRange(0, 30, 40), OffsetRange(1, 40, 45)]


def test_a_window_beyond_the_log_is_empty() -> None:
    assert within(OffsetRange(0, 500, 600)) == []
    assert within(OffsetRange(1, 0, 40)) == []


def test_expired_offsets_outside_a_window_are_no_error_within_it() -> None:
    known = TopicHistory(topic_id="id-1", origins={1: 0})
    assert within(OffsetRange(0, 0, 5), known=known) == [OffsetRange(0, 0, 5)]
    with pytest.raises(OffsetsExpired, match=r"1:\[30, 40\)"):
        within(OffsetRange(1, 30, 45), known=known)
    found = within(OffsetRange(1, 30, 45), known=known, on_expired="record")
    assert found == [OffsetRange(1, 30, 45)]


def surveyed(
    *window: OffsetRange, existing: Existing = "skip", on_expired: str = "fail"
) -> Selection:
    """Partition 0 has 20-30 loaded and 60-70 reserved of 0-100; partition 1 40-50."""
    known = TopicHistory(
        topic_id="id-1", loaded=[OffsetRange(0, 20, 30)], reserved=[OffsetRange(0, 60, 70)]
    )
    contract = msgspec.structs.replace(orders, on_expired=on_expired)
    request = Request(existing=existing)
    return choose_ranges(contract, TOPIC, MARKS, known, request, window)


def test_what_a_window_leaves_alone_is_told() -> None:
    found = surveyed(OffsetRange(0, 10, 120), OffsetRange(1, 0, 45))
    assert found.ranges == [
        OffsetRange(0, 10, 20),
        OffsetRange(0, 30, 60),
        OffsetRange(0, 70, 100),
        OffsetRange(1, 40, 45),
    ]
    assert found.left_alone == {"there": 10, "elsewhere": 10, "gone": 40, "ahead": 20}
    assert surveyed(OffsetRange(0, 22, 28)).left_alone == {"there": 6}
    assert surveyed(OffsetRange(0, 200, 300)).left_alone == {"ahead": 100}
    assert surveyed(OffsetRange(1, 0, 10)).left_alone == {"gone": 10}


def test_what_a_window_replaces_is_told() -> None:
    found = surveyed(OffsetRange(0, 10, 65), existing="replace")
    assert found.ranges == [OffsetRange(0, 10, 60)]
    assert (found.replaced, found.left_alone) == (10, {"replaced": 10, "elsewhere": 5})
    assert surveyed(OffsetRange(0, 0, 10), existing="replace").replaced == 0


def test_many_small_ranges_stay_within_the_limit_of_tasks() -> None:
    singles = [OffsetRange(0, 2 * n, 2 * n + 1) for n in range(30_000)]
    chunks = chunk(singles, 500_000, most=20)
    assert len(chunks) <= 20
    assert [r for part in chunks for r in part] == singles
    assert max(len(part) for part in chunk(singles, 500_000)) == 1000
