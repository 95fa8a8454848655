"""Which figures of a load count as unusual."""

import pytest

from sluice.audit.anomalies import LEAST, compare, figures
from sluice.audit.quality_results import RuleResult


def failed_results(now: dict[str, float], history: list[dict[str, float]]) -> list[RuleResult]:
    return [result for result in compare(now, history) if not result.success]


def loads(*volumes: float) -> list[dict[str, float]]:
    return [figures(v, v, 0, {"1.0": v}, {}) for v in volumes]


USUAL = loads(1000, 1040, 960, 1010, 990, 1100, 900, 1005)


@pytest.mark.parametrize("volume", [0, 300, 3000])
def test_a_volume_far_from_the_median_is_unusual(volume: float) -> None:
    (result,) = failed_results(figures(volume, volume, 0, {"1.0": volume}, {}), USUAL)
    assert result.severity == "warning"
    assert result.description == "volume is usual for the hour"
    assert result.observed == f"{volume:,}; the median of 8 loads of this hour is 1,002"


def test_an_empty_load_is_unusual_if_no_earlier_load_was_empty() -> None:
    varying = loads(10, 90, 40, 200, 15, 70, 120, 30)
    assert len(failed_results(figures(0, 0, 0, {}, {}), varying)) == 1
    assert failed_results(figures(0, 0, 0, {}, {}), [*varying, *loads(0)]) == []


def test_a_few_messages_are_usual_if_most_loads_are_empty() -> None:
    mostly_empty = loads(0, 0, 0, 5, 0, 0, 0, 0)
    assert failed_results(figures(40, 40, 0, {"1.0": 40}, {}), mostly_empty) == []


def test_a_column_without_history_is_usual() -> None:
    old = [figures(100, 100, 0, {}, {})] * LEAST
    assert failed_results(figures(100, 100, 0, {}, {"notes": 40}), old) == []
    gone = [figures(100, 100, 0, {}, {"notes": 40})] * LEAST
    assert failed_results(figures(100, 100, 0, {}, {}), gone) == []


@pytest.mark.parametrize("volume", [900, 1000, 1200])
def test_a_volume_near_the_median_is_usual(volume: float) -> None:
    assert failed_results(figures(volume, volume, 0, {"1.0": volume}, {}), USUAL) == []


def test_a_single_outlier_in_the_history_has_no_effect() -> None:
    history = [*USUAL, *loads(1_000_000)]
    assert failed_results(figures(1000, 1000, 0, {"1.0": 1000}, {}), history) == []
    assert failed_results(figures(9000, 9000, 0, {"1.0": 9000}, {}), history) != []


def test_a_small_change_is_usual_if_all_earlier_loads_were_equal() -> None:
    alike = loads(*[500] * LEAST)
    assert failed_results(figures(510, 505, 5, {"1.0": 505}, {}), alike) == []


def test_unusual_refused_version_and_null_shares_are_reported() -> None:
    history = [figures(100, 100, 0, {"1.1": 90, "1.2": 10}, {"notes": 50})] * LEAST
    now = figures(100, 80, 20, {"1.2": 70, "1.3": 10}, {"notes": 80})
    assert [result.description.split(" is ")[0] for result in failed_results(now, history)] == [
        "null share of notes",
        "refused share",
        "version share of 1.1",
        "version share of 1.2",
        "version share of 1.3",
    ]
    nulls = failed_results(now, history)[0]
    assert (nulls.column, nulls.observed) == (
        "notes",
        "100.0%; the median of 8 loads of this hour is 50.0%",
    )


def test_a_short_history_yields_no_results() -> None:
    assert list(compare(figures(0, 0, 0, {}, {}), loads(*[1000] * (LEAST - 1)))) == []


def test_a_load_without_messages_is_compared_by_volume_only() -> None:
    results = list(compare(figures(0, 0, 0, {}, {}), USUAL))
    assert [result.description.split(" is ")[0] for result in results] == ["volume"]
