"""The load protocol as a state machine that is small enough to explore in every order.

Two processes load a topic of two offsets. Their steps interleave in every way, and a process may
die at any step; an insert that it had in progress may then still be applied, or not. Each process
may consider the other dead although it is alive. A step does what one statement does to ClickHouse;
the names are those of the library. When both processes have ended, one more run settles what they
left and loads the remaining offsets, undisturbed.

Variants with a deliberate mistake (``Variant``) show that the search detects such mistakes.
"""

from collections.abc import Iterator
from typing import NamedTuple

OFFSETS = frozenset({0, 1})
ENDED = ("published", "abandoned", "withdrawn")


class Variant(NamedTuple):
    """The protocol, or the protocol with one part switched off."""

    checks_overlap: bool = True
    """A planner reads the plans of others after it has written its own."""
    fences: bool = True
    """Publishing renames the staging table; abandoning drops it."""
    anti_join: bool = True
    """The insert leaves out rows that the target already has."""
    tokens: bool = True
    """An insert that is applied a second time is deduplicated by its token."""
    own_attempts: bool = True
    """Every attempt at a chunk writes rows under its own id."""


class Load(NamedTuple):
    """One load as recorded in the ledger and the tables."""

    owner: str
    ranges: frozenset[int]
    events: tuple[str, ...] = ()
    table: str = "staging"  # staging, publishing, or dropped
    staged: tuple[tuple[str, int], ...] = ()  # (attempt, offset), sorted, with duplicates
    finished: str = ""  # the accepted attempt: the first to reach the end
    audited: str = ""

    @property
    def state(self) -> str:
        """The state as the view ``loads`` computes it."""
        for ended in ENDED:
            if ended in self.events:
                return ended
        return self.events[-1] if self.events else "unknown"


class Insert(NamedTuple):
    """An INSERT … SELECT that has read its rows but has not written them."""

    token: str
    rows: tuple[int, ...]


class World(NamedTuple):
    """Everything that survives a crash."""

    loads: tuple[Load, ...] = ()
    target: tuple[int, ...] = ()
    tokens: frozenset[tuple[str, int]] = frozenset()  # one per offset: each is in its own partition
    orphans: frozenset[Insert] = frozenset()


class Process(NamedTuple):
    """A process: its next step and its local state."""

    name: str
    owner: str
    at: str = "find"
    load: int = -1
    settling: int = -1
    tries: int = 0
    wanted: frozenset[int] = frozenset()
    insert: Insert | None = None

    @property
    def ended(self) -> bool:
        """Whether the process takes no more steps."""
        return self.at in ("done", "failed", "dead")


def edit(world: World, number: int, **changes: object) -> World:
    """Return the world with one load changed."""
    loads = list(world.loads)
    loads[number] = loads[number]._replace(**changes)  # type: ignore[arg-type]
    return world._replace(loads=tuple(loads))


def record(world: World, number: int, state: str) -> World:
    """Return the world with one more event of a load."""
    return edit(world, number, events=(*world.loads[number].events, state))


def taken_offsets(world: World, except_load: int = -1) -> frozenset[int]:
    """Return the offsets of all live and published loads, except for one load."""
    return frozenset(
        offset
        for number, load in enumerate(world.loads)
        if number != except_load and load.state not in ("abandoned", "withdrawn", "unknown")
        for offset in load.ranges
    )


def apply(world: World, insert: Insert, variant: Variant) -> World:
    """Write an insert's rows, except into partitions that already have its token."""
    known = world.tokens if variant.tokens else frozenset()
    rows = [o for o in insert.rows if (insert.token, o) not in known]
    tokens = world.tokens | {(insert.token, o) for o in rows}
    return world._replace(target=tuple(sorted((*world.target, *rows))), tokens=tokens)


def missing_rows(world: World, number: int, attempt: str, variant: Variant) -> tuple[int, ...]:
    """Return the staged rows of an attempt that the target does not have."""
    rows = [o for a, o in world.loads[number].staged if a == attempt or not variant.own_attempts]
    present = world.target if variant.anti_join else ()
    return tuple(o for o in rows if o not in present)


Next = tuple[World, Process]
Others = tuple[Process, ...]


def step(world: World, me: Process, others: Others, variant: Variant) -> Iterator[Next]:
    """Yield every possible outcome of a process's next step."""
    yield from _STEPS[me.at](world, me, others, variant)


def _find(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Return to the plan that this run has recorded, if there is one."""
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
    """Settle any live load of another run, whether that run has ended or not; or none."""
    yield world, me._replace(at="plan")
    for number, load in enumerate(world.loads):
        if load.owner != me.owner and load.state not in (*ENDED, "unknown"):
            forward = load.table == "publishing"
            at = "publish" if forward else "drop"
            yield world, me._replace(at=at, load=number if forward else me.load, settling=number)


def _drop(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.settling]
    if load.table == "staging" or not v.fences:
        yield edit(world, me.settling, table="dropped", staged=()), me._replace(at="abandon")
    else:
        yield world, me._replace(at="check again")


def _check_again(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.settling]
    ended = load.table == "publishing" or load.state in ENDED
    yield world, me._replace(at="settle" if ended else "abandon")


def _abandon(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield record(world, me.settling, "abandoned"), me._replace(at="settle")


def _plan(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    wanted = OFFSETS - taken_offsets(world)
    if not wanted:
        yield world, me._replace(at="done")
    else:
        yield world, me._replace(at="create", wanted=wanted)


def _create(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = Load(me.owner, me.wanted)
    world = world._replace(loads=(*world.loads, load))
    yield world, me._replace(at="reserve", load=len(world.loads) - 1)


def _reserve(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield record(world, me.load, "planned"), me._replace(at="confirm")


def _confirm(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    overlaps = v.checks_overlap and world.loads[me.load].ranges & taken_offsets(
        world, except_load=me.load
    )
    yield world, me._replace(at="withdraw" if overlaps else "keep")


def _keep(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield record(world, me.load, "reserved"), me._replace(at="drain")


def _withdraw(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    world = record(world, me.load, "withdrawn")
    again = me._replace(at="drop own", tries=me.tries + 1)
    yield world, again


def _drop_own(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    world = edit(world, me.load, table="dropped", staged=())
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
        yield record(done, me.load, "audited"), me._replace(at="publish")


def _publish(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Read the ledger first; the fence is a separate statement."""
    load = world.loads[me.load]
    if load.state in ("abandoned", "withdrawn"):
        yield world, _next_after(me, "failed")
    elif load.state == "published":
        yield world, me._replace(at="drop publishing")
    else:
        yield world, me._replace(at="fence")


def _fence(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    if load.table == "staging" or (not v.fences and load.table != "dropped"):
        yield edit(world, me.load, table="publishing"), me._replace(at="publishing")
    elif load.table == "publishing":
        yield world, me._replace(at="publishing")
    elif load.state == "published":
        yield world, _next_after(me, "done")
    else:
        yield world, _next_after(me, "failed")


def _publishing(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield record(world, me.load, "publishing"), me._replace(at="kill")


def _kill(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Kill inserts that an interrupted publisher left running; a live publisher's insert, too."""
    yield world._replace(orphans=frozenset()), me._replace(at="select")


def _select(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    if load.table != "publishing":
        yield world, _next_after(me, "failed")
        return
    rows = missing_rows(world, me.load, load.audited, v)
    if not rows:
        yield world, me._replace(at="count")
        return
    # The first insert has the same token for every publisher; later ones, that of the missing rows.
    token = f"{me.load}"
    if me.tries:
        token += f"/{rows}"
    yield world, me._replace(at="insert", insert=Insert(token, rows))


def _insert(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    assert me.insert is not None
    again = me._replace(at="kill again", insert=None, tries=me.tries + 1)
    yield apply(world, me.insert, v), again
    # The server dies between two partitions: some of the rows are written, and the client sends the
    # same statement again, which selects its rows again.
    part = me.insert._replace(rows=me.insert.rows[:1])
    yield apply(world, part, v), me._replace(at="select", insert=None)


def _kill_again(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Wait until no other insert of these rows is in progress; one may begin right after."""
    if any(o.at == "insert" and o.load == me.load for o in others):
        return  # wait: the other insert completes or is killed
    yield (
        world._replace(orphans=frozenset()),
        me._replace(at="select" if me.tries < 3 else "failed"),
    )


def _count(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    load = world.loads[me.load]
    published = [o for o in world.target if o in load.ranges]
    if sorted(published) != sorted(load.ranges):
        yield world, _next_after(me, "failed")
    else:
        yield record(world, me.load, "published"), me._replace(at="drop publishing")


def _drop_publishing(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield edit(world, me.load, table="dropped", staged=()), _next_after(me, "done")


def _next_after(me: Process, at: str) -> Process:
    """Continue with settling; a run that was publishing its own load ends in state ``at``."""
    if me.settling >= 0:
        return me._replace(at="settle", load=-1, settling=-1, tries=0)
    return me._replace(at=at)


_STEPS = {
    "find": _find,
    "settle": _settle,
    "drop": _drop,
    "check again": _check_again,
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
