"""Filled-in forms to requests, and what they say when something does not go together."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from include.schemas.orders import contract as orders
from sluice.airflow.backfill_interval import interval_params
from sluice.airflow.form_request import parse_request
from sluice.errors import PlanError
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
    ("params", "said"),
    [
        ({"offsets": "0: 1-2"}, "'Offsets' is filled in .*choose 'offsets'"),
        ({"what": "offsets", "offsets": "0: 1-2", **JANUARY}, "'From' is filled in"),
        ({"what": "everything", "to": "2026-01-01"}, "'To' is filled in"),
        ({"what": "times", "reason": "not_json", **JANUARY}, "'Reason' is filled in"),
        ({"what": "offsets"}, "say which offsets"),
        ({"what": "offsets", "offsets": "0-100"}, "'0-100' is not a range of offsets"),
        ({"what": "offsets", "offsets": "0: 9-3"}, "there is no offset"),
        ({"what": "times"}, "needs a From or a To"),
        ({"what": "times", "from": "soon"}, "neither an offset nor a time"),
        ({"what": "times", "from": "1700000000"}, "is a number"),
        ({"what": "times", "from": JANUARY["to"], "to": JANUARY["from"]}, "must end later"),
        ({"existing": "replace"}, "nothing to replace"),
        ({"what": "quarantined", "existing": "replace"}, "nothing to replace"),
        (
            {"what": "everything", "existing": "replace", "max_messages": 5},
            "same offsets again each time",
        ),
        ({"existing": "merge"}, "skipped or replaced"),
        ({"what": "all"}, "what to load is one of new, offsets"),
        ({"partitions": "all"}, "partitions must be numbers"),
        ({"max_messages": 0}, "a whole number of 1 or more"),
        ({"max_messages": "ten"}, "a whole number of 1 or more"),
    ],
)
def test_what_does_not_go_together_is_said(params: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        asked(**params)


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
    with pytest.raises(PlanError, match="needs runs with a logical date"):
        interval_params({}, orders, None, loaded=False)
    unscheduled = msgspec.structs.replace(orders, schedule=None)
    with pytest.raises(PlanError, match="with a schedule"):
        interval_params({}, unscheduled, AT, loaded=False)
    for params in ({"what": "everything"}, {"offsets": "0: 1-2"}, {"from": "2026-01-01"}):
        with pytest.raises(PlanError, match="leave out what to load"):
            interval_params(params, orders, AT, loaded=False)
