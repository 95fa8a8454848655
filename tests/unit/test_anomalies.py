"""What counts as unusual."""

import pytest

from sluice.audit.anomalies import LEAST, compare, figures
from sluice.audit.quality_results import RuleResult


def failed(now: dict[str, float], history: list[dict[str, float]]) -> list[RuleResult]:
    return [result for result in compare(now, history) if not result.success]


def loads(*volumes: float) -> list[dict[str, float]]:
    return [figures(v, v, 0, {"1.0": v}, {}) for v in volumes]


USUAL = loads(1000, 1040, 960, 1010, 990, 1100, 900, 1005)


@pytest.mark.parametrize("volume", [0, 300, 3000])
def test_a_volume_far_from_the_median_is_unusual(volume: float) -> None:
    (found,) = failed(figures(volume, volume, 0, {"1.0": volume}, {}), USUAL)
    assert found.severity == "warning"
    assert found.description == "volume is usual for the hour"
    assert found.observed == f"{volume:,}; the median of 8 loads of this hour is 1,002"


def test_silence_is_unusual_where_no_load_was_silent() -> None:
    varying = loads(10, 90, 40, 200, 15, 70, 120, 30)
    assert len(failed(figures(0, 0, 0, {}, {}), varying)) == 1
    assert failed(figures(0, 0, 0, {}, {}), [*varying, *loads(0)]) == []


def test_a_few_messages_where_there_are_seldom_any_are_not() -> None:
    seldom = loads(0, 0, 0, 5, 0, 0, 0, 0)
    assert failed(figures(40, 40, 0, {"1.0": 40}, {}), seldom) == []


def test_a_column_that_is_new_has_no_history() -> None:
    old = [figures(100, 100, 0, {}, {})] * LEAST
    assert failed(figures(100, 100, 0, {}, {"notes": 40}), old) == []
    gone = [figures(100, 100, 0, {}, {"notes": 40})] * LEAST
    assert failed(figures(100, 100, 0, {}, {}), gone) == []


@pytest.mark.parametrize("volume", [900, 1000, 1200])
def test_a_volume_near_the_median_is_not(volume: float) -> None:
    assert failed(figures(volume, volume, 0, {"1.0": volume}, {}), USUAL) == []


def test_one_odd_load_in_the_past_moves_nothing() -> None:
    history = [*USUAL, *loads(1_000_000)]
    assert failed(figures(1000, 1000, 0, {"1.0": 1000}, {}), history) == []
    assert failed(figures(9000, 9000, 0, {"1.0": 9000}, {}), history) != []


def test_where_all_loads_were_alike_a_small_change_is_usual() -> None:
    alike = loads(*[500] * LEAST)
    assert failed(figures(510, 505, 5, {"1.0": 505}, {}), alike) == []


def test_a_refused_share_a_version_and_nulls() -> None:
    history = [figures(100, 100, 0, {"1.1": 90, "1.2": 10}, {"notes": 50})] * LEAST
    now = figures(100, 80, 20, {"1.2": 70, "1.3": 10}, {"notes": 80})
    assert [result.description.split(" is ")[0] for result in failed(now, history)] == [
        "null share of notes",
        "refused share",
        "version share of 1.1",
        "version share of 1.2",
        "version share of 1.3",
    ]
    nulls = failed(now, history)[0]
    assert (nulls.column, nulls.observed) == (
        "notes",
        "100.0%; the median of 8 loads of this hour is 50.0%",
    )


def test_a_short_history_says_nothing() -> None:
    assert list(compare(figures(0, 0, 0, {}, {}), loads(*[1000] * (LEAST - 1)))) == []


def test_a_load_without_messages_has_a_volume_only() -> None:
    found = list(compare(figures(0, 0, 0, {}, {}), USUAL))
    assert [result.description.split(" is ")[0] for result in found] == ["volume"]
