"""The load protocol as a state machine that is small enough to explore in every order.

Two processes load a topic of two offsets. Their steps interleave in every way, and a process may
die or wait at any step; an insert that it had in progress may then still be applied, or not. Each
process may consider the other dead although it is alive. A step does what one statement does to
ClickHouse; the names are those of the library, and what an entry of the log means is decided by the
library's own functions. When both processes have ended, one more run settles what they left and
loads the remaining offsets, undisturbed.

ClickHouse is one of two (``Server``). Behind an address with replicas a read may return any older
state of the log and of the target. A server that forgets may have no memory of a token. Variants
with a deliberate mistake (``Variant``) show that the search detects such mistakes.
"""

from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import NamedTuple

from sluice.ranges import OffsetRange
from sluice.store.load_state import EventDetail, Load, State
from sluice.store.topic_state import Entry, TopicState, apply, refusal

OFFSETS = frozenset({0, 1})


class Server(Enum):
    """What ClickHouse may do."""

    REPLICAS = "replicas"
    """A read may return an older state than another read of before, by another process."""
    FORGETS = "forgets"
    """It may have forgotten a token, because too many inserts came after it."""


class Variant(NamedTuple):
    """The protocol, or the protocol with one part switched off."""

    server: Server = Server.REPLICAS
    reads_back: bool = True
    """A writer of an entry looks whose entry it is; else it takes its own for committed."""
    first_row_counts: bool = True
    """Of two rows of one entry the first is valid; else the last."""
    fences: bool = True
    """A load that is publishing is not abandoned."""
    anti_join: bool = True
    """The insert leaves out rows that the target already has."""
    tokens: bool = True
    """An insert that is applied a second time is deduplicated by its token."""
    own_attempts: bool = True
    """Every attempt at a chunk writes rows under its own id."""


class Row(NamedTuple):
    """A row of the log."""

    number: int
    writer: str
    load: str
    state: State
    owner: str
    offsets: frozenset[int] = frozenset()
    attempt: str = ""


class Insert(NamedTuple):
    """An INSERT … SELECT that has read its rows but has not written them."""

    token: str
    rows: tuple[int, ...]


class World(NamedTuple):
    """Everything that survives a crash."""

    log: tuple[Row, ...] = ()  # in the order in which the rows arrived
    staged: tuple[tuple[str, str, int], ...] = ()  # (load, attempt, offset), with duplicates
    finished: tuple[tuple[str, str], ...] = ()  # (load, attempt) that reached the end, in order
    dropped: frozenset[str] = frozenset()  # loads without a staging table
    target: tuple[int, ...] = ()  # in the order in which the rows arrived
    tokens: frozenset[tuple[str, int]] = frozenset()  # one per offset: each is in its own partition
    orphans: frozenset[Insert] = frozenset()


class Process(NamedTuple):
    """A process: its next step and its local state."""

    name: str
    owner: str
    at: str = "find"
    load: str = ""
    offsets: frozenset[int] = frozenset()
    """Those of its load."""
    known: int = 0
    """The last entry that it has read: it reads nothing older."""
    pending: Row | None = None
    committed: str = ""
    """The step after its pending entry is committed."""
    overtaken: str = ""
    """The step after another writer was first."""
    settling: bool = False
    tries: int = 0
    insert: Insert | None = None

    @property
    def ended(self) -> bool:
        """Whether the process takes no more steps."""
        return self.at in ("done", "failed", "dead")


@cache
def _entry(row: Row) -> Entry:
    ranges = tuple(OffsetRange(0, o, o + 1) for o in sorted(row.offsets))
    detail = EventDetail(attempts={0: row.attempt}) if row.attempt else EventDetail()
    return Entry(
        number=row.number,
        load_id=row.load,
        state=row.state,
        owner=row.owner,
        chunks=(ranges,) if ranges else (),
        detail=detail,
    )


def valid_rows(log: tuple[Row, ...], variant: Variant) -> dict[int, Row]:
    """Entry → its valid row, up to the first gap."""
    rows = log if variant.first_row_counts else log[::-1]
    by_number: dict[int, Row] = {}
    for row in rows:
        by_number.setdefault(row.number, row)
    valid: dict[int, Row] = {}
    while row_ := by_number.get(len(valid) + 1):
        valid[row_.number] = row_
    return valid


@cache
def fold(log: tuple[Row, ...], variant: Variant) -> TopicState:
    """The state that a log says."""
    state = TopicState(topic="t")
    for row in valid_rows(log, variant).values():
        state = apply(state, _entry(row))
    return state


def loads_of(log: tuple[Row, ...], variant: Variant) -> dict[str, tuple[State, frozenset[int]]]:
    """Load → its last state and its offsets."""
    found: dict[str, tuple[State, frozenset[int]]] = {}
    live: set[str] = set()
    for row in valid_rows(log, variant).values():
        if row.state is State.RESERVED:
            found[row.load] = (row.state, row.offsets)
            live.add(row.load)
        elif row.load in live:
            found[row.load] = (row.state, found[row.load][1])
            if row.state.is_end:
                live.discard(row.load)
    return found


Next = tuple[World, Process]
Others = tuple[Process, ...]


def step(world: World, me: Process, others: Others, variant: Variant) -> Iterator[Next]:
    """Yield every possible outcome of a process's next step; the first is that of a fresh read."""
    yield from _STEPS[me.at](world, me, others, variant)


def _reads(world: World, me: Process, v: Variant) -> Iterator[tuple[Process, TopicState]]:
    """Yield what a read of the log may return."""
    oldest = 0 if v.server is Server.REPLICAS else len(world.log)
    for size in range(len(world.log), oldest - 1, -1):
        state = fold(world.log[:size], v)
        if state.entry >= me.known:
            yield me._replace(known=state.entry), state


def _append(
    me: Process,
    state: TopicState,
    kind: State,
    refused: Process,
    v: Variant,
    row: Row | None = None,
) -> Process:
    """Begin to append an entry about the process's load, unless it may not follow the state."""
    new = (row or Row(0, me.name, me.load, kind, me.owner))._replace(number=state.entry + 1)
    why = refusal(state, _entry(new))
    if not v.fences and kind is State.ABANDONED and new.load in state.live:
        why = ""
    return refused if why else me._replace(at="insert entry", pending=new)


def _insert_entry(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """The token of an entry admits one row; a server that forgets may admit a second one."""
    assert me.pending is not None
    taken = any(row.number == me.pending.number for row in world.log)
    added = world._replace(log=(*world.log, me.pending))
    again = me._replace(at="read back")
    if not taken:
        yield added, again
    else:
        yield world, again
        if v.server is Server.FORGETS:
            yield added, again


def _read_back(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Wait until the entry can be read; it is the process's own, or that of another."""
    pending = me.pending
    assert pending is not None
    row = valid_rows(world.log, v)[pending.number]
    mine = row.writer == me.name or not v.reads_back
    at = me.committed if mine else me.overtaken
    load = pending.load if mine else me.load
    yield world, me._replace(at=at, load=load, pending=None, known=pending.number)


def _find(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Return to the load that this run has reserved, if there is one."""
    for reader, state in _reads(world, me, v):
        mine = [load for load in state.live.values() if load.owner == me.owner]
        if mine:
            found = reader._replace(load=mine[-1].load_id, offsets=_offsets(mine[-1]))
            yield world, found._replace(at="drain")
        else:
            yield world, reader._replace(at="settle")


def _settle(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Settle any live load of another run, whether that run has ended or not; or none."""
    for reader, state in _reads(world, me, v):
        for load in state.live.values():
            if load.owner != me.owner:
                yield world, _settle_one(reader, state, load, v)
        yield world, reader._replace(at="plan", load="")


def _offsets(load: Load) -> frozenset[int]:
    return frozenset(r.low for r in load.ranges)


def _settle_one(me: Process, state: TopicState, load: Load, v: Variant) -> Process:
    settler = me._replace(load=load.load_id, offsets=_offsets(load), settling=True)
    if load.state.is_publishing and v.fences:
        return settler._replace(at="publish")
    settler = settler._replace(committed="drop", overtaken="settle")
    return _append(settler, state, State.ABANDONED, settler._replace(at="settle"), v)


def _drop(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Drop the staging table of the process's load."""
    staged = tuple(row for row in world.staged if row[0] != me.load)
    world = world._replace(staged=staged, dropped=world.dropped | {me.load})
    yield world, _next_after(me, "done")


def _plan(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    for reader, state in _reads(world, me, v):
        held = {r.low for r in (*state.loaded, *state.reserved)}
        held |= {r.high - 1 for r in (*state.loaded, *state.reserved)}
        wanted = OFFSETS - held
        if not wanted:
            yield world, reader._replace(at="done")
            continue
        number = sum(row.writer == me.name for row in world.log)
        row = Row(0, me.name, f"{me.name}{number}", State.RESERVED, me.owner, frozenset(wanted))
        planner = reader._replace(
            committed="drain", overtaken="plan again", offsets=frozenset(wanted)
        )
        refused = planner._replace(at="plan again")
        yield world, _append(planner, state, State.RESERVED, refused, v, row)


def _plan_again(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    yield world, me._replace(at="find" if me.tries < 2 else "failed", tries=me.tries + 1)


def _drain(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    if any(load == me.load for load, _ in world.finished):
        yield world, me._replace(at="audit")
    elif me.load in world.dropped:
        yield world, me._replace(at="failed")
    else:
        attempt = me.name if v.own_attempts else "any"
        rows = tuple(sorted((*world.staged, *((me.load, attempt, o) for o in me.offsets))))
        yield world._replace(staged=rows), me._replace(at="finish")


def _finish(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    attempt = me.name if v.own_attempts else "any"
    mine = [row for row in world.staged if row[:2] == (me.load, attempt)]
    if len(mine) != len(me.offsets) and v.own_attempts:
        yield world, me._replace(at="failed")
    else:
        finished = (*world.finished, (me.load, attempt))
        yield world._replace(finished=finished), me._replace(at="audit")


def _audit(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    accepted = next(attempt for load, attempt in world.finished if load == me.load)
    for reader, state in _reads(world, me, v):
        load = state.live.get(me.load)
        if load and load.state.is_publishing:
            yield world, reader._replace(at="publish")
            continue
        row = Row(0, me.name, me.load, State.AUDITED, me.owner, attempt=accepted)
        auditor = reader._replace(committed="publish", overtaken="audit")
        yield world, _append(auditor, state, State.AUDITED, auditor._replace(at="failed"), v, row)


def _publish(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Append the fence."""
    for reader, state in _reads(world, me, v):
        publisher = reader._replace(committed="kill", overtaken="publish")
        refused = _next_after(publisher, "failed")
        yield world, _append(publisher, state, State.PUBLISHING, refused, v)


def _kill(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Kill inserts that an interrupted publisher left running; a live publisher's insert, too."""
    yield world._replace(orphans=frozenset()), me._replace(at="select")


def _select(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Read the staged rows, and the rows that the target has, or had."""
    # A server that forgets has seen thousands of inserts between two of the same rows: no two of
    # them run at once.
    if v.server is Server.FORGETS and any(o.at == "insert" and o.load == me.load for o in others):
        return
    attempts = [row.attempt for row in world.log if row.load == me.load and row.attempt]
    if me.load in world.dropped:
        yield world, _next_after(me, "failed")
        return
    staged = [
        o for i, a, o in world.staged if i == me.load and (a == attempts[-1] or not v.own_attempts)
    ]
    oldest = 0 if v.server is Server.REPLICAS else len(world.target)
    seen: set[tuple[int, ...]] = set()
    for size in range(len(world.target), oldest - 1, -1):
        present = world.target[:size] if v.anti_join else ()
        rows = tuple(o for o in staged if o not in present)
        if rows in seen:
            continue
        seen.add(rows)
        if rows:
            yield world, me._replace(at="insert", insert=Insert(me.load, rows))
        else:
            yield world, me._replace(at="count")


def apply_insert(world: World, insert: Insert, v: Variant) -> Iterator[World]:
    """Write an insert's rows, except into partitions that already have its token."""
    known = world.tokens if v.tokens else frozenset()
    results = [known, frozenset()] if v.server is Server.FORGETS else [known]
    for remembered in results:
        rows = [o for o in insert.rows if (insert.token, o) not in remembered]
        tokens = world.tokens | {(insert.token, o) for o in rows}
        yield world._replace(target=(*world.target, *rows), tokens=tokens)


def _insert(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    assert me.insert is not None
    for after in apply_insert(world, me.insert, v):
        yield after, me._replace(at="count", insert=None)
    # The server dies between two partitions: some of the rows are written, and the client sends the
    # same statement again, which selects its rows again.
    part = me.insert._replace(rows=me.insert.rows[:1])
    for after in apply_insert(world, part, v):
        yield after, me._replace(at="select", insert=None)


def _count(world: World, me: Process, others: Others, v: Variant) -> Iterator[Next]:
    """Count until every row can be read; a count that is too high is an error."""
    published = [o for o in world.target if o in me.offsets]
    if len(published) != len(me.offsets):
        yield world, _next_after(me, "failed")
        return
    for reader, state in _reads(world, me, v):
        publisher = reader._replace(committed="drop", overtaken="count")
        yield (
            world,
            _append(publisher, state, State.PUBLISHED, _next_after(publisher, "done"), v),
        )


def _next_after(me: Process, at: str) -> Process:
    """Continue with settling; a run that was publishing its own load ends in state ``at``."""
    if me.settling:
        return me._replace(at="settle", load="", settling=False, insert=None)
    return me._replace(at=at)


_STEPS = {
    "insert entry": _insert_entry,
    "read back": _read_back,
    "find": _find,
    "settle": _settle,
    "drop": _drop,
    "plan": _plan,
    "plan again": _plan_again,
    "drain": _drain,
    "finish": _finish,
    "audit": _audit,
    "publish": _publish,
    "kill": _kill,
    "select": _select,
    "insert": _insert,
    "count": _count,
}
