"""The configuration of a run: unknown names, values out of range, and the owner of its loads."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from include.schemas.orders import contract as orders
from sluice.airflow.form import load_form, replay_form
from sluice.airflow.form_fields import FIELDS, OFFSETS, PARTITIONS, REPLAY_FIELDS
from sluice.airflow.run_conf import check_conf
from sluice.errors import PlanError
from sluice.plan.run_owners import AirflowRun, airflow_owner, parse_airflow_owner
from sluice.store.request import parse_window

AT = datetime(2026, 3, 5, 14, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("dryrun", "dry_run"),
        ("dryRun", "dry_run"),
        ("dry-run", "dry_run"),
        ("until", "to"),
        ("since", "from"),
        ("From", "from"),
        ("partition", "partitions"),
        ("max_mesages", "max_messages"),
        ("limit", "max_messages"),
        ("offset", "offsets"),
        ("exsting", "existing"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(PlanError) as raised:
        check_conf(orders, {"what": "times", name: True})
    assert (raised.value.topic, raised.value.field) == (orders.topic, name)
    assert f"did you mean {nearest!r}?" in raised.value.detail


def test_a_name_that_is_like_no_other_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(PlanError) as raised:
        check_conf(orders, {"zzz": 1})
    assert "did you mean" not in raised.value.detail
    assert all(name in raised.value.detail for name in FIELDS)


def test_the_known_names_are_those_of_the_forms() -> None:
    assert set(load_form(orders)) <= set(FIELDS)
    assert set(replay_form(orders)) == set(REPLAY_FIELDS) - {"what"}
    assert {*load_form(orders), *replay_form(orders)} == set(FIELDS)


@pytest.mark.parametrize("name", ["offsets", "from", "to", "existing"])
def test_a_replay_has_no_part_of_the_topic(name: str) -> None:
    with pytest.raises(PlanError) as raised:
        check_conf(orders, {name: "0: 1-2"}, "quarantined")
    assert raised.value.field == name


@pytest.mark.parametrize(
    ("conf", "field", "word"),
    [
        ({"dry_run": "yes"}, "dry_run", "'yes'"),
        ({"dry_run": "true"}, "dry_run", "'true'"),
        ({"dry_run": 1}, "dry_run", "1"),
        ({"dry_run": 0}, "dry_run", "0"),
        ({"what": "quarantined", "reason": "missing_fields"}, "reason", "'missing_field'"),
        ({"what": "quarantined", "version": "9.9"}, "version", orders.version.name),
    ],
)
def test_a_value_out_of_range_is_named(conf: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises(PlanError) as raised:
        check_conf(orders, conf)
    assert raised.value.field == field
    assert word in raised.value.detail


def test_a_replay_does_not_load_other_messages() -> None:
    check_conf(orders, {"what": "quarantined"}, "quarantined")
    with pytest.raises(PlanError) as raised:
        check_conf(orders, {"what": "new"}, "quarantined")
    assert raised.value.field == "what"


def test_what_airflow_adds_to_a_configuration_is_not_refused() -> None:
    check_conf(orders, {"openlineage": {}, "airflow/task_span_detail_level": 2, "dry_run": None})
    check_conf(orders, {"what": "times", "from": "2026-01-01", "dry_run": True, "partitions": ""})


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (OFFSETS, "0: 100-200, 1: 50-", "0: ²-3"),
        (OFFSETS, "0: 999999999999999999-", "0: 1000000000000000000-"),
        (OFFSETS, "999999999: 1-2", "1000000000: 1-2"),
        (PARTITIONS, "0, 3", "٣"),
        (PARTITIONS, "999999999", "1000000000"),
    ],
)
def test_the_forms_refuse_numbers_that_kafka_does_not_have(
    pattern: str, good: str, bad: str
) -> None:
    assert re.search(pattern, good)
    assert not re.search(pattern, bad)


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59.999Z", "1970-01-01", "0001-01-01"])
def test_times_before_1970_mean_the_beginning(text: str) -> None:
    assert parse_window(text, "") == (None, None)
    assert parse_window(text, "2026-01-01") == (None, datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(PlanError, match="before 1970"):
        parse_window("", text)


def test_the_owner_of_a_run_is_more_than_its_id() -> None:
    owner = airflow_owner("load_orders", "manual__a/b+1", AT)
    assert parse_airflow_owner(owner) == AirflowRun(
        "load_orders", "manual__a/b+1", "20260305T140000.123456"
    )
    assert owner != airflow_owner("load_orders", "manual__a/b+1", AT.replace(microsecond=0))
    assert parse_airflow_owner("airflow/load_orders/r") == AirflowRun("load_orders", "r", "")
    assert parse_airflow_owner("process/host/1/2#3") is None
