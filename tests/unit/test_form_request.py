"""Filled-in forms to requests, and what they say when something does not go together."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from include.schemas.orders import contract as orders
from sluice.airflow.backfill_interval import interval_params
from sluice.airflow.form_request import parse_request
from sluice.errors import NothingToReplace, PlanError
from sluice.ranges import EVER, OffsetRange
from sluice.store.request import RefusalFilter, Request, describe_request, parse_offsets

JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


def asked(**params: Any) -> Request:
    return parse_request("orders", params)


def test_an_empty_form_asks_for_what_is_new() -> None:
    assert asked() == Request()
    assert asked(what="new", offsets=None, partitions="", max_messages=None) == Request()
    assert asked(partitions="3, 0", max_messages=10) == Request(partitions=(0, 3), max_messages=10)


def test_each_choice() -> None:
    some = (OffsetRange(0, 100, 200), OffsetRange(1, 50, EVER))
    assert asked(what="offsets", offsets="0: 100-200, 1: 50-") == Request(offsets=some)
    times = Request(low=JANUARY["from"], high=JANUARY["to"])
    assert asked(what="times", **JANUARY) == times
    assert asked(what="everything", existing="replace") == Request(low="0", existing="replace")
    refused = RefusalFilter(topic="orders", reason="not_json", load_id="x")
    assert asked(what="quarantined", reason="not_json", load="x") == Request(refused=refused)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"offsets": "0: 1-2"}, "offsets"),
        ({"what": "offsets", "offsets": "0: 1-2", **JANUARY}, "from"),
        ({"what": "everything", "to": "2026-01-01"}, "to"),
        ({"what": "times", "reason": "not_json", **JANUARY}, "reason"),
        ({"what": "offsets"}, "offsets"),
        ({"what": "times"}, "from"),
        ({"what": "times", "from": "1700000000"}, "from"),
        ({"what": "times", "to": "1700000000"}, "to"),
        ({"existing": "merge"}, "existing"),
        ({"what": "all"}, "what"),
        ({"max_messages": 0}, "max_messages"),
        ({"max_messages": "ten"}, "max_messages"),
        ({"max_messages": "²"}, "max_messages"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(params: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanError) as raised:
        asked(**params)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"what": "offsets", "offsets": "0-100"}, "'0-100'"),
        ({"what": "offsets", "offsets": "0: 9-3"}, "0:[9, 3)"),
        ({"what": "times", "from": "soon"}, "'soon'"),
        ({"what": "times", "from": JANUARY["to"], "to": JANUARY["from"]}, JANUARY["to"]),
        ({"what": "everything", "existing": "replace", "max_messages": 5}, "limit"),
        ({"what": "quarantined", "existing": "replace"}, "quarantine"),
        ({"partitions": "all"}, "'all'"),
        ({"partitions": "²"}, "'²'"),
    ],
)
def test_values_that_cannot_be_read_are_repeated(params: dict[str, Any], word: str) -> None:
    with pytest.raises(PlanError) as raised:
        asked(**params)
    assert word in raised.value.detail


def test_there_is_nothing_to_replace_among_new_messages() -> None:
    with pytest.raises(NothingToReplace):
        asked(existing="replace")


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("0:1-2", [OffsetRange(0, 1, 2)]),
        (" 3 : 10 – 20 ;\n4: 5 to 6,", [OffsetRange(3, 10, 20), OffsetRange(4, 5, 6)]),
        ("0: 7-", [OffsetRange(0, 7, EVER)]),
        ("", []),
    ],
)
def test_ways_to_write_offsets(text: str, ranges: list[OffsetRange]) -> None:
    assert parse_offsets(text) == ranges


def test_requests_in_words() -> None:
    assert describe_request(Request()) == "everything new"
    assert (
        describe_request(asked(what="offsets", offsets="0: 1-2, 1: 3-")) == "offsets 0: 1-2, 1: 3-"
    )
    said = describe_request(asked(what="everything", existing="replace", partitions="1"))
    assert said == (
        "everything since the topic's beginning, partitions 1, replacing what is loaded already"
    )
    assert describe_request(asked(max_messages=5)) == "everything new, at most 5 offsets"
    assert (
        describe_request(asked(what="quarantined", field="x")) == "messages in quarantine, field x"
    )
    assert (
        describe_request(asked(what="times", to="2026-01-01")) == "from the beginning to 2026-01-01"
    )


def test_a_request_survives_the_ledger() -> None:
    for request in (asked(what="quarantined", field="x"), asked(what="offsets", offsets="0: 1-2")):
        assert msgspec.convert(msgspec.to_builtins(request), Request) == request


AT = datetime(2026, 3, 5, 14, tzinfo=UTC)


def test_the_interval_of_a_run_is_that_of_its_logical_date() -> None:
    found = parse_request("orders", interval_params({"partitions": "1"}, orders, AT, loaded=False))
    assert (found.low, found.high) == ("2026-03-05T14:00:00+00:00", "2026-03-05T15:00:00+00:00")
    assert (found.partitions, found.existing) == ((1,), "skip")
    anew = parse_request(
        "orders", interval_params({"existing": "replace"}, orders, AT, loaded=False)
    )
    assert anew.existing == "replace"
    daily = msgspec.structs.replace(orders, schedule="30 2 * * *")
    half_past = AT.replace(hour=2, minute=30)
    found = parse_request("orders", interval_params({"what": "new"}, daily, half_past, loaded=True))
    assert (found.high, found.existing) == ("2026-03-06T02:30:00+00:00", "replace")


def test_a_backfill_without_intervals_is_refused() -> None:
    unscheduled = msgspec.structs.replace(orders, schedule=None)
    for contract, at in ((orders, None), (unscheduled, AT)):
        with pytest.raises(PlanError) as raised:
            interval_params({}, contract, at, loaded=False)
        assert (raised.value.topic, raised.value.field) == ("orders", "")
    for field, value in (("what", "everything"), ("offsets", "0: 1-2"), ("from", "2026-01-01")):
        with pytest.raises(PlanError) as raised:
            interval_params({field: value}, orders, AT, loaded=False)
        assert raised.value.field == field
