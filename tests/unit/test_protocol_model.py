"""The load protocol in every order of two processes, with deaths at every step."""

import pytest

from tests.model.protocol import Process, Server, Variant
from tests.model.search import search

RIVALS = (Process("a", "run a"), Process("b", "run b"))
"""Two concurrent runs, such as an hourly run and a manual one."""

RETRY = (Process("a", "run"), Process("b", "run"))
"""A task that was considered dead, and its retry."""


@pytest.mark.parametrize(
    ("server", "processes", "crashes"),
    [
        (Server.REPLICAS, RIVALS, 2),
        (Server.REPLICAS, RETRY, 1),
        (Server.FORGETS, RIVALS, 1),
    ],
    ids=["rivals on replicas", "retry on replicas", "rivals and forgotten tokens"],
)
def test_no_order_loses_or_duplicates_an_offset(
    server: Server, processes: tuple[Process, ...], crashes: int
) -> None:
    states, violations = search(processes, crashes, Variant(server))
    assert not violations, "\n".join([violations[0].description, *violations[0].trace])
    assert states > 5000


@pytest.mark.parametrize(
    ("mistake", "processes"),
    [
        (Variant(reads_back=False), RIVALS),
        (Variant(Server.FORGETS, first_row_counts=False), RIVALS),
        (Variant(fences=False), RIVALS),
        (Variant(Server.FORGETS, anti_join=False), RETRY),
        (Variant(tokens=False), RETRY),
        (Variant(own_attempts=False), RETRY),
    ],
    ids=["reading back", "first row", "fence", "anti-join", "tokens", "own attempts"],
)
def test_each_part_of_the_protocol_is_needed(
    mistake: Variant, processes: tuple[Process, ...]
) -> None:
    _, violations = search(processes, 1, mistake, only_first=True)
    assert violations
