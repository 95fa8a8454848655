"""The load protocol as a state machine small enough to try in every order.

Two processes load a topic of two offsets. Between any two of their steps the other may run, and at
any step a process may die, once; an insert that it had under way may then still be applied, or not.
Each may take the other for dead though it lives. What a step does is what one statement does to
ClickHouse; the names are those of the library. When both have ended, one more run settles what they
left and loads the rest, undisturbed.

Deliberate mistakes (``Variant``) show that the search would find them.
"""

from collections.abc import Iterator
from typing import NamedTuple

OFFSETS = frozenset({0, 1})
ENDED = ("published", "abandoned", "withdrawn")


class Variant(NamedTuple):
    """The protocol, or the protocol with a mistake."""

    looks_back: bool = True
    """A planner reads the plans of others after it wrote its own."""
    fences: bool = True
    """Publishing renames the staging table, abandoning drops it."""
    takes_what_lacks: bool = True
    """The insert leaves out what the target has."""
    tokens: bool = True
    """An insert that is applied twice is recognised by its token."""
    own_attempts: bool = True
    """Every try at a chunk writes under an id of its own."""


class Load(NamedTuple):
    """One load as ledger and tables have it."""

    owner: str
    ranges: frozenset[int]
    events: tuple[str, ...] = ()
    table: str = "staging"  # staging, publishing, or gone
    staged: tuple[tuple[str, int], ...] = ()  # (attempt, offset), sorted, with doubles
    finished: str = ""  # the attempt that was first to reach the end
    audited: str = ""

    @property
    def state(self) -> str:
        """As the view ``loads`` computes it."""
        for ended in ENDED:
            if ended in self.events:
                return ended
        return self.events[-1] if self.events else "unknown"


class Insert(NamedTuple):
    """An INSERT … SELECT that has read its rows, and has not written them."""

    token: str
    rows: tuple[int, ...]


class World(NamedTuple):
    """All that survives a crash."""

    loads: tuple[Load, ...] = ()
    target: tuple[int, ...] = ()
    tokens: frozenset[tuple[str, int]] = frozenset()  # of each offset: each in its own partition
    orphans: frozenset[Insert] = frozenset()


class Process(NamedTuple):
    """A process: where it is, and what it knows."""

    name: str
    owner: str
    at: str = "find"
    load: int = -1
    settling: int = -1
    tries: int = 0
    wanted: frozenset[int] = frozenset()
    insert: Insert | None = None

    @property
    def over(self) -> bool:
        """Whether it takes no more steps."""
        return self.at in ("done", "failed", "dead")


def edit(world: World, number: int, **changes: object) -> World:
    """The world with one load changed."""
    loads = list(world.loads)
    loads[number] = loads[number]._replace(**changes)  # type: ignore[arg-type]
    return world._replace(loads=tuple(loads))


def event(world: World, number: int, state: str) -> World:
    """The world with one more event."""
    return edit(world, number, events=(*world.loads[number].events, state))


def taken(world: World, besides: int = -1) -> frozenset[int]:
    """Offsets of all live and published loads but one."""
    return frozenset(
        offset
        for number, load in enumerate(world.loads)
        if number != besides and load.state not in ("abandoned", "withdrawn", "unknown")
        for offset in load.ranges
    )


def apply(world: World, insert: Insert, variant: Variant) -> World:
    """Write an insert's rows, but for the partitions in which its token is known."""
    known = world.tokens if variant.tokens else frozenset()
    rows = [o for o in insert.rows if (insert.token, o) not in known]
    told = {(insert.token, o) for o in rows}
    return world._replace(target=tuple(sorted((*world.target, *rows))), tokens=world.tokens | told)


def lacking(world: World, number: int, attempt: str, variant: Variant) -> tuple[int, ...]:
    """Staged rows of an attempt that the target does not have."""
    rows = [o for a, o in world.loads[number].staged if a == attempt or not variant.own_attempts]
    there = world.target if variant.takes_what_lacks else ()
    return tuple(o for o in rows if o not in there)


Next = tuple[World, Process]
Others = tuple[Process, ...]


def step(world: World, me: Process, others: Others, variant: Variant) -> Iterator[Next]:
    """Every way in which a process may take its next step."""
    yield from _STEPS[me.at](world, me, others, variant)


def _find(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """The same run gets its recorded plan back."""
    mine = [
        number
        for number, load in enumerate(world.loads)
        if load.owner == me.owner and load.state not in ("abandoned", "withdrawn", "unknown")
    ]
    if mine:
        state = world.loads[mine[-1]].state
        yield world, me._replace(load=mine[-1], at="confirm" if state == "planned" else "drain")
    else:
        yield world, me._replace(at="settle")


def _settle(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Take any other run's live load for one that is over, rightly or not; or none."""
    yield world, me._replace(at="plan")
    for number, load in enumerate(world.loads):
        if load.owner != me.owner and load.state not in (*ENDED, "unknown"):
            forward = load.table == "publishing"
            at = "publish" if forward else "drop"
            yield world, me._replace(at=at, load=number if forward else me.load, settling=number)


def _drop(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.settling]
    if load.table == "staging" or not v.fences:
        yield edit(world, me.settling, table="gone", staged=()), me._replace(at="abandon")
    else:
        yield world, me._replace(at="look again")


def _look_again(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.settling]
    ended = load.table == "publishing" or load.state in ENDED
    yield world, me._replace(at="settle" if ended else "abandon")


def _abandon(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield event(world, me.settling, "abandoned"), me._replace(at="settle")


def _plan(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    wanted = OFFSETS - taken(world)
    if not wanted:
        yield world, me._replace(at="done")
    else:
        yield world, me._replace(at="create", wanted=wanted)


def _create(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    made = Load(me.owner, me.wanted)
    world = world._replace(loads=(*world.loads, made))
    yield world, me._replace(at="reserve", load=len(world.loads) - 1)


def _reserve(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield event(world, me.load, "planned"), me._replace(at="confirm")


def _confirm(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    overlaps = v.looks_back and world.loads[me.load].ranges & taken(world, besides=me.load)
    yield world, me._replace(at="withdraw" if overlaps else "keep")


def _keep(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield event(world, me.load, "reserved"), me._replace(at="drain")


def _withdraw(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    world = event(world, me.load, "withdrawn")
    again = me._replace(at="drop own", tries=me.tries + 1)
    yield world, again


def _drop_own(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    world = edit(world, me.load, table="gone", staged=())
    yield world, me._replace(at="plan" if me.tries < 2 else "failed", load=-1)


def _drain(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    if load.finished or load.state == "published":
        yield world, me._replace(at="audit")
    elif load.table != "staging" or load.state in ENDED:
        yield world, me._replace(at="failed")
    else:
        attempt = me.name if v.own_attempts else "any"
        rows = tuple(sorted((*load.staged, *((attempt, o) for o in load.ranges))))
        yield edit(world, me.load, staged=rows), me._replace(at="finish")


def _finish(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    attempt = me.name if v.own_attempts else "any"
    mine = [o for a, o in load.staged if a == attempt]
    if len(mine) != len(load.ranges) and v.own_attempts:
        yield world, me._replace(at="failed")
    else:
        yield edit(world, me.load, finished=load.finished or attempt), me._replace(at="audit")


def _audit(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    if load.state in ("published", "publishing"):
        yield world, me._replace(at="publish")
    elif load.state in ENDED or load.table != "staging":
        yield world, me._replace(at="failed")
    else:
        done = edit(world, me.load, audited=load.finished)
        yield event(done, me.load, "audited"), me._replace(at="publish")


def _publish(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """The ledger is asked first; the fence is another statement."""
    load = world.loads[me.load]
    if load.state in ("abandoned", "withdrawn"):
        yield world, _next_after(me, "failed")
    elif load.state == "published":
        yield world, me._replace(at="drop publishing")
    else:
        yield world, me._replace(at="fence")


def _fence(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    if load.table == "staging" or (not v.fences and load.table != "gone"):
        yield edit(world, me.load, table="publishing"), me._replace(at="publishing")
    elif load.table == "publishing":
        yield world, me._replace(at="publishing")
    elif load.state == "published":
        yield world, _next_after(me, "done")
    else:
        yield world, _next_after(me, "failed")


def _publishing(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield event(world, me.load, "publishing"), me._replace(at="kill")


def _kill(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """End what an interrupted publisher has left running; a live one's insert is ended too."""
    yield world._replace(orphans=frozenset()), me._replace(at="select")


def _select(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    if load.table != "publishing":
        yield world, _next_after(me, "failed")
        return
    rows = lacking(world, me.load, load.audited, v)
    if not rows:
        yield world, me._replace(at="count")
        return
    # The first insert of these rows has everybody's token; a later one, that of what is lacking.
    token = f"{me.load}"
    if me.tries:
        token += f"/{rows}"
    yield world, me._replace(at="insert", insert=Insert(token, rows))


def _insert(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    assert me.insert is not None
    again = me._replace(at="kill again", insert=None, tries=me.tries + 1)
    yield apply(world, me.insert, v), again
    # The server dies between two partitions: a part of the rows is there, and the client sends the
    # same statement again, which is evaluated anew.
    part = me.insert._replace(rows=me.insert.rows[:1])
    yield apply(world, part, v), me._replace(at="select", insert=None)


def _kill_again(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Nobody else's insert of these rows may be under way now; one may begin at once after."""
    if any(o.at == "insert" and o.load == me.load for o in others):
        return  # it waits; the other's insert ends by itself or by being killed
    yield (
        world._replace(orphans=frozenset()),
        me._replace(at="select" if me.tries < 3 else "failed"),
    )


def _count(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    found = [o for o in world.target if o in load.ranges]
    if sorted(found) != sorted(load.ranges):
        yield world, _next_after(me, "failed")
    else:
        yield event(world, me.load, "published"), me._replace(at="drop publishing")


def _drop_publishing(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield edit(world, me.load, table="gone", staged=()), _next_after(me, "done")


def _next_after(me: Process, at: str) -> Process:
    """A settler goes on to plan; a run that published its own load has ended."""
    if me.settling >= 0:
        return me._replace(at="settle", load=-1, settling=-1, tries=0)
    return me._replace(at=at)


_STEPS = {
    "find": _find,
    "settle": _settle,
    "drop": _drop,
    "look again": _look_again,
    "abandon": _abandon,
    "plan": _plan,
    "create": _create,
    "reserve": _reserve,
    "confirm": _confirm,
    "keep": _keep,
    "withdraw": _withdraw,
    "drop own": _drop_own,
    "drain": _drain,
    "finish": _finish,
    "audit": _audit,
    "publish": _publish,
    "fence": _fence,
    "publishing": _publishing,
    "kill": _kill,
    "select": _select,
    "insert": _insert,
    "kill again": _kill_again,
    "count": _count,
    "drop publishing": _drop_publishing,
}
