"""Trying the protocol in every order, and what must hold in every state and at every end."""

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

    what: str
    trace: list[str]


def search(
    processes: tuple[Process, ...], crashes: int, variant: Variant = Variant()
) -> tuple[int, list[Violation]]:
    """Every state that can be reached; gives their number, and a violation of each kind."""
    start: State = (World(), processes, crashes)
    came_from: dict[State, tuple[State | None, str]] = {start: (None, "")}
    waiting: list[State] = [start]
    found: dict[str, Violation] = {}
    while waiting:
        state = waiting.pop()
        if what := _wrong(state, variant):
            found.setdefault(what, Violation(what, _trace(came_from, state)))
            continue
        for told, after in _successors(state, variant):
            if after not in came_from:
                came_from[after] = (state, told)
                waiting.append(after)
    return len(came_from), list(found.values())


def _successors(state: State, variant: Variant) -> Iterator[tuple[str, State]]:
    world, processes, crashes = state
    for number, me in enumerate(processes):
        if me.over:
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


def _wrong(state: State, variant: Variant) -> str:
    world, processes, _ = state
    if len(set(world.target)) != len(world.target):
        return "an offset is in the target twice"
    for number, load in enumerate(world.loads):
        if load.state == "published" and not load.ranges <= set(world.target):
            return "a published load lacks a row"
        for other in world.loads[number + 1 :]:
            if {load.state, other.state} == {"published"} and load.ranges & other.ranges:
                return "two loads have published one offset"
    if all(me.over for me in processes) and not world.orphans:
        return _after_all(world, variant)
    return ""


def _after_all(world: World, variant: Variant) -> str:
    """One more run, alone and undisturbed, settles everything and loads what is left."""
    for number in range(3):
        me = Process(f"last{number}", f"last{number}")
        for _ in range(200):
            if me.over:
                break
            choices = list(step(world, me, (), variant))
            # Of all loads that it may take for dead, it settles one after the other.
            world, me = choices[-1] if me.at == "settle" else choices[0]
        else:
            return "the last run does not end"
    if sorted(world.target) != sorted(OFFSETS):
        return "the last run leaves an offset out, or doubles one"
    if any(load.state not in (*ENDED, "unknown") for load in world.loads):
        return "a load is left unfinished"
    return ""


def _trace(came_from: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    steps: list[str] = []
    at: State | None = state
    while at is not None:
        at, told = came_from[at]
        steps.append(told)
    return steps[::-1][1:]
