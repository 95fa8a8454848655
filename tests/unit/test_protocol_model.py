"""The protocol in every order of two processes and with deaths at every step."""

import pytest

from tests.model.protocol import Process, Variant
from tests.model.search import search

RIVALS = (Process("a", "run a"), Process("b", "run b"))
"""Two runs at once, such as an hourly one and one that was started by hand."""

RETRY = (Process("a", "run"), Process("b", "run"))
"""A task that was thought dead beside its retry."""


@pytest.mark.parametrize("processes", [RIVALS, RETRY], ids=["rivals", "retry"])
@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_in_no_order_is_an_offset_lost_or_doubled(
    processes: tuple[Process, ...], crashes: int
) -> None:
    states, found = search(processes, crashes)
    assert not found, "\n".join([found[0].what, *found[0].trace])
    assert states > 500


@pytest.mark.parametrize(
    ("mistake", "processes"),
    [
        (Variant(looks_back=False), RIVALS),
        (Variant(fences=False), RIVALS),
        (Variant(takes_what_lacks=False), RIVALS),
        (Variant(tokens=False), RETRY),
        (Variant(own_attempts=False), RETRY),
    ],
    ids=["look back", "fence", "anti-join", "tokens", "own attempts"],
)
def test_each_part_of_the_protocol_is_needed(
    mistake: Variant, processes: tuple[Process, ...]
) -> None:
    _, found = search(processes, 1, mistake)
    assert found
