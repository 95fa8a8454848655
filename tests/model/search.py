"""Explores the protocol in every order and checks the invariants of every state."""

from collections.abc import Iterator
from typing import NamedTuple

from sluice.store.load_state import State as LoadState
from tests.model.protocol import (
    OFFSETS,
    Process,
    Server,
    Variant,
    World,
    apply_insert,
    loads_of,
    step,
)

State = tuple[World, tuple[Process, ...], int]


class Violation(NamedTuple):
    """What went wrong, and the steps that led there."""

    description: str
    trace: list[str]


def search(
    processes: tuple[Process, ...],
    crashes: int,
    variant: Variant = Variant(),
    only_first: bool = False,
) -> tuple[int, list[Violation]]:
    """Visit every reachable state; return their number, and one violation of each kind.

    Args:
        only_first: whether to stop at the first violation.
    """
    start: State = (World(), processes, crashes)
    came_from: dict[State, tuple[State | None, str]] = {start: (None, "")}
    waiting: list[State] = [start]
    violations: dict[str, Violation] = {}
    while waiting and not (violations and only_first):
        state = waiting.pop()
        if problem := _check(state, variant):
            violations.setdefault(problem, Violation(problem, _trace(came_from, state)))
            continue
        for description, after in _successors(state, variant):
            if after not in came_from:
                came_from[after] = (state, description)
                waiting.append(after)
    return len(came_from), list(violations.values())


def _successors(state: State, variant: Variant) -> Iterator[tuple[str, State]]:
    world, processes, crashes = state
    for number, me in enumerate(processes):
        if me.ended:
            continue
        others = processes[:number] + processes[number + 1 :]
        for after, moved in step(world, me, others, variant):
            yield f"{me.name}: {me.at}", (after, _with(processes, number, moved), crashes)
        if crashes:
            left = world
            if me.insert is not None and variant.server is Server.REPLICAS:
                left = world._replace(orphans=world.orphans | {me.insert})
            dead = me._replace(at="dead", insert=None)
            yield f"{me.name} dies at {me.at}", (left, _with(processes, number, dead), crashes - 1)
    for insert in world.orphans:
        rest = world._replace(orphans=world.orphans - {insert})
        for after in apply_insert(rest, insert, variant):
            yield f"the server ends {insert.token}", (after, processes, crashes)


def _with(processes: tuple[Process, ...], number: int, moved: Process) -> tuple[Process, ...]:
    return (*processes[:number], moved, *processes[number + 1 :])


def _check(state: State, variant: Variant) -> str:
    """Return what is wrong in a state; empty if all invariants hold."""
    world, processes, _ = state
    if len(set(world.target)) != len(world.target):
        return "an offset is in the target twice"
    published = [
        offsets
        for state, offsets in loads_of(world.log, variant).values()
        if state is LoadState.PUBLISHED
    ]
    if not set().union(*published) <= set(world.target):
        return "a published load is missing a row"
    if sum(map(len, published)) != len(set().union(*published)):
        return "two loads have published one offset"
    if all(me.ended for me in processes) and not world.orphans:
        return _check_last_run(world, variant)
    return ""


def _check_last_run(world: World, variant: Variant) -> str:
    """Check that one more run, undisturbed, settles all loads and loads the remaining offsets."""
    for number in range(3):
        me = Process(f"last{number}", f"last{number}")
        for _ in range(200):
            if me.ended:
                break
            # It reads fresh, and settles all unfinished loads, one after the other.
            world, me = next(step(world, me, (), variant))
        else:
            return "the last run does not end"
    if sorted(world.target) != sorted(OFFSETS):
        return "the last run loses or duplicates an offset"
    if any(not state.is_end for state, _ in loads_of(world.log, variant).values()):
        return "a load is left unfinished"
    return ""


def _trace(came_from: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    steps: list[str] = []
    at: State | None = state
    while at is not None:
        at, description = came_from[at]
        steps.append(description)
    return steps[::-1][1:]
