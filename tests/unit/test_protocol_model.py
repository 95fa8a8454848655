"""The load protocol in every order of two processes, with deaths at every step."""

import pytest

from tests.model.protocol import Process, Variant
from tests.model.search import search

RIVALS = (Process("a", "run a"), Process("b", "run b"))
"""Two concurrent runs, such as an hourly run and a manual one."""

RETRY = (Process("a", "run"), Process("b", "run"))
"""A task that was considered dead, and its retry."""


@pytest.mark.parametrize("processes", [RIVALS, RETRY], ids=["rivals", "retry"])
@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_no_order_loses_or_duplicates_an_offset(
    processes: tuple[Process, ...], crashes: int
) -> None:
    states, violations = search(processes, crashes)
    assert not violations, "\n".join([violations[0].description, *violations[0].trace])
    assert states > 500


@pytest.mark.parametrize(
    ("mistake", "processes"),
    [
        (Variant(checks_overlap=False), RIVALS),
        (Variant(fences=False), RIVALS),
        (Variant(anti_join=False), RIVALS),
        (Variant(tokens=False), RETRY),
        (Variant(own_attempts=False), RETRY),
    ],
    ids=["overlap check", "fence", "anti-join", "tokens", "own attempts"],
)
def test_each_part_of_the_protocol_is_needed(
    mistake: Variant, processes: tuple[Process, ...]
) -> None:
    _, violations = search(processes, 1, mistake)
    assert violations
