"""Explores the protocol in every order and checks the invariants of every state."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.protocol import (
    ENDED,
    OFFSETS,
    Process,
    Variant,
    World,
    apply,
    step,
)

State = tuple[World, tuple[Process, ...], int]


class Violation(NamedTuple):
    """What went wrong, and the steps that led there."""

    description: str
    trace: list[str]


def search(
    processes: tuple[Process, ...], crashes: int, variant: Variant = Variant()
) -> tuple[int, list[Violation]]:
    """Visit every reachable state; return their number, and one violation of each kind."""
    start: State = (World(), processes, crashes)
    came_from: dict[State, tuple[State | None, str]] = {start: (None, "")}
    waiting: list[State] = [start]
    violations: dict[str, Violation] = {}
    while waiting:
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
            if me.insert is not None:
                left = world._replace(orphans=world.orphans | {me.insert})
            dead = me._replace(at="dead", insert=None)
            yield f"{me.name} dies at {me.at}", (left, _with(processes, number, dead), crashes - 1)
    for insert in world.orphans:
        rest = world._replace(orphans=world.orphans - {insert})
        yield f"the server ends {insert.token}", (apply(rest, insert, variant), processes, crashes)


def _with(processes: tuple[Process, ...], number: int, moved: Process) -> tuple[Process, ...]:
    return (*processes[:number], moved, *processes[number + 1 :])


def _check(state: State, variant: Variant) -> str:
    """Return what is wrong in a state; empty if all invariants hold."""
    world, processes, _ = state
    if len(set(world.target)) != len(world.target):
        return "an offset is in the target twice"
    for number, load in enumerate(world.loads):
        if load.state == "published" and not load.ranges <= set(world.target):
            return "a published load is missing a row"
        for other in world.loads[number + 1 :]:
            if {load.state, other.state} == {"published"} and load.ranges & other.ranges:
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
            choices = list(step(world, me, (), variant))
            # It settles all unfinished loads, one after the other.
            world, me = choices[-1] if me.at == "settle" else choices[0]
        else:
            return "the last run does not end"
    if sorted(world.target) != sorted(OFFSETS):
        return "the last run loses or duplicates an offset"
    if any(load.state not in (*ENDED, "unknown") for load in world.loads):
        return "a load is left unfinished"
    return ""


def _trace(came_from: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    steps: list[str] = []
    at: State | None = state
    while at is not None:
        at, description = came_from[at]
        steps.append(description)
    return steps[::-1][1:]
