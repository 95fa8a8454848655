"""What is recorded of a load: its plan, its states and events, the ranges that it holds."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from sluice.ranges import OffsetRange
from sluice.store.request import Request

LoadKind = Literal["load", "replace", "replay"]
"""*load*: of offsets that no load has loaded; *replace*: of offsets that a load has loaded already;
*replay*: of messages in quarantine."""


class State(StrEnum):
    """How far a load is. All but the last are states; the latest one counts, or an end state."""

    PLANNED = "planned"
    """Written, but not yet compared with other reservations."""
    RESERVED = "reserved"
    AUDITED = "audited"
    HELD = "held"
    FAILED = "failed"
    PUBLISHING = "publishing"
    REPLACING = "replacing"
    """Its rows are visible, and those that they replace are about to be removed."""
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"
    """Its planner met another reservation of the same offsets."""
    ABANDONED = "abandoned"
    """Given up; its offsets are free."""
    ADOPTED = "adopted"
    """An event rather than a state: the load has a new owner, who continues it."""

    @property
    def is_end(self) -> bool:
        """Whether nothing follows it."""
        return self in (State.PUBLISHED, State.WITHDRAWN, State.ABANDONED)

    @property
    def is_given_up(self) -> bool:
        """Whether the load ended without publishing."""
        return self in (State.WITHDRAWN, State.ABANDONED)

    @property
    def is_publishing(self) -> bool:
        """Whether the load's rows are becoming visible."""
        return self in (State.PUBLISHING, State.REPLACING)


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a planner recorded of its load.

    Attributes:
        topic_id: the broker's id of the topic.
        shape: digest of the type that rows are staged as.
        contract: digest of the contract's file; None in plans that were recorded without it.
        request: what the load was asked for.
        watermarks: partition → first and end offset of the topic.
        kind: what it loads.
        replaces: loads whose rows it replaces.
        survey: offsets that were left alone, by name; see ``Selection``.
        waiting: offsets that no load accounted for; None in older plans.
    """

    topic_id: str = ""
    shape: str = ""
    contract: str | None = None
    request: Request = Request()
    watermarks: Mapping[int, tuple[int, int]] = {}
    kind: LoadKind = "load"
    replaces: tuple[str, ...] = ()
    survey: Mapping[str, int] = {}
    waiting: int | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a replacing load has changed.

    Attributes:
        compared: rows that both loads have.
        changed: those that differ.
        columns: column → rows in which it differs.
    """

    compared: int = 0
    changed: int = 0
    columns: Mapping[str, int] = {}


class EventDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is recorded with a state; each state has some of it.

    Attributes:
        error: why the load failed or is held.
        error_class: name of the error's class.
        planned, loaded, upgraded, quarantined, tombstones, absent: the sums of an audit.
        versions: rows by the version that their messages came in.
        attempts: chunk → the accepted attempt, whose rows count.
        nulls: column → null values.
        outside: rows with timestamps outside of the range of time that was asked for.
        released_by, discarded_by: who decided about a held load.
        why: the reason they gave.
        changes: what a replacing load has changed.
        rows: rows that a publish made visible.
    """

    error: str = ""
    error_class: str = msgspec.field(default="", name="kind")
    planned: int = 0
    loaded: int = 0
    upgraded: int = 0
    quarantined: int = 0
    tombstones: int = 0
    absent: int = 0
    versions: Mapping[str, int] = {}
    attempts: Mapping[int, str] = {}
    nulls: Mapping[str, int] = {}
    outside: int = 0
    released_by: str = ""
    discarded_by: str = ""
    why: str = ""
    changes: Changes | None = None
    rows: int = 0

    @classmethod
    def of_error(cls, error: Exception) -> "EventDetail":
        """The detail of a load that an error stopped."""
        return cls(error=str(error), error_class=type(error).__name__)

    @property
    def decision(self) -> str:
        """Who has decided about a held load, and why; empty when nobody did."""
        if self.released_by:
            return f"released by {self.released_by}: {self.why}"
        return f"discarded by {self.discarded_by}: {self.why}" if self.discarded_by else ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a load's history."""

    state: State
    owner: str
    at: datetime
    detail: EventDetail


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One load as the ledger has it.

    Attributes:
        owner: the DAG run or process that runs it.
        state: the latest state, or the end state.
        plan: what the planner recorded.
    """

    load_id: str
    topic: str
    owner: str
    state: State
    plan: PlanRecord
    planned_at: datetime
    last_at: datetime

    @property
    def live(self) -> bool:
        """Whether its offsets are reserved and not yet published."""
        return not self.state.is_end

    @property
    def kind(self) -> LoadKind:
        """What it loads."""
        return self.plan.kind

    @property
    def loads_everything_new(self) -> bool:
        """Whether it loads everything new, rather than a part of its topic or what was loaded."""
        return self.kind == "load" and self.plan.request == Request()


class HeldRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range that a live or published load holds.

    Attributes:
        revision: of two published loads that hold an offset the higher one answers for it; 0
            for a load of offsets that no other had loaded.
    """

    load_id: str
    state: State
    kind: LoadKind
    revision: int
    range: OffsetRange

    @property
    def published(self) -> bool:
        """Whether its load is published."""
        return self.state is State.PUBLISHED


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast recent loads were, and how large what they read was."""

    offsets_per_second: float
    bytes_per_offset: float
