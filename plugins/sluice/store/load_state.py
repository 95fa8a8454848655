"""The records of a load: its plan, its states and events, and the ranges that it holds."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from sluice.ranges import OffsetRange
from sluice.store.request import Request

LoadKind = Literal["load", "replace", "replay"]
"""*load*: loads offsets that no load has published; *replace*: loads offsets again that a load has
published; *replay*: loads messages from quarantine."""


class State(StrEnum):
    """The progress of a load. All members but ``ADOPTED`` and ``FORGOTTEN`` are states. A load's
    state is its end state if it has one, otherwise the latest.
    """

    RESERVED = "reserved"
    """Its ranges are pinned, and no other load may read them."""
    AUDITED = "audited"
    """The accounting identity holds, and no critical rule failed or a person released it."""
    HELD = "held"
    """The breaker, the audit or a quality rule stopped it; a person releases or discards it."""
    FAILED = "failed"
    """An error stopped it; a retry continues it."""
    PUBLISHING = "publishing"
    """Its rows are being made visible."""
    REPLACING = "replacing"
    """Its rows are visible; the rows that they replace are being removed."""
    TAKING_BACK = "taking back"
    """A person gave it up while it was publishing; its visible rows are being removed."""
    PUBLISHED = "published"
    """An end state: its rows are visible."""
    ABANDONED = "abandoned"
    """An end state: given up. Its offsets are free."""
    ADOPTED = "adopted"
    """An event, not a state: a new owner has taken the load over and continues it."""
    FORGOTTEN = "forgotten"
    """An event of the topic, not a state: all its loads before have left the ledger."""

    @property
    def is_end(self) -> bool:
        """Whether it is an end state."""
        return self in (State.PUBLISHED, State.ABANDONED)

    @property
    def is_publishing(self) -> bool:
        """Whether the load's rows are becoming visible."""
        return self in (State.PUBLISHING, State.REPLACING)


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The recorded plan of a load.

    Attributes:
        topic_id: the broker's id of the topic.
        shape: digest of the type that rows are staged as.
        contract: digest of the contract's file; None in plans recorded by older versions.
        request: the request that was planned.
        watermarks: partition → low and high watermark at the time of the plan.
        kind: what it loads.
        replaces: loads whose rows it replaces.
        survey: the other offset counts of the plan, by name; see ``Selection``.
        waiting: number of offsets that no load had accounted for; None in older plans.
        target: digest of the target table's declaration and of the contract that it was found to
            match; empty if that is to be checked again.
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
    target: str = ""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of a replacing load differ from those that it replaces.

    Attributes:
        compared: number of rows that both loads have.
        changed: number of those that differ.
        columns: column → number of rows in which it differs.
    """

    compared: int = 0
    changed: int = 0
    columns: Mapping[str, int] = {}


class EventDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The detail of an event; which attributes are set depends on its state.

    Attributes:
        error: why the load failed or is held.
        error_class: name of the error's class.
        planned, loaded, upgraded, quarantined, tombstones, absent: the totals of an audit.
        versions: message version → number of rows.
        attempts: chunk → its accepted attempt.
        nulls: column → number of null values.
        outside: number of rows with timestamps outside the requested time range.
        released_by, discarded_by: the person who released or discarded a held load.
        why: the reason that the person gave.
        changes: how a replacing load changed the rows.
        rows: number of rows that a publish made visible.
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
        """Who released or discarded a held load, and why; empty if no one has."""
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
    """One load of the ledger.

    Attributes:
        number: the number of the entry that reserved it, which no other load of its topic has.
        owner: the DAG run or process that runs it.
        state: its end state if it has one, otherwise the latest state.
        plan: the recorded plan.
        planned_at: when it was planned.
        last_at: when its latest event was recorded.
        chunks: the ranges of each chunk.
        revision: if two published loads hold an offset, the one with the higher revision accounts
            for it; 0 for a load of offsets that no load had published.
        attempts: chunk → its accepted attempt, as recorded by the last successful audit.
        loaded, quarantined, absent: the counts of that audit.
    """

    load_id: str
    topic: str
    number: int
    owner: str
    state: State
    plan: PlanRecord
    planned_at: datetime
    last_at: datetime
    chunks: tuple[tuple[OffsetRange, ...], ...] = ()
    revision: int = 0
    attempts: Mapping[int, str] = {}
    loaded: int = 0
    quarantined: int = 0
    absent: int = 0

    @property
    def ranges(self) -> list[OffsetRange]:
        """The offsets that it reserved."""
        return [r for chunk in self.chunks for r in chunk]

    @property
    def live(self) -> bool:
        """Whether it has no end state yet."""
        return not self.state.is_end

    @property
    def kind(self) -> LoadKind:
        """What it loads."""
        return self.plan.kind

    @property
    def loads_everything_new(self) -> bool:
        """Whether it loads all new offsets, rather than a selection or offsets loaded before."""
        return self.kind == "load" and self.plan.request == Request()


class HeldRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range that a live or published load holds.

    Attributes:
        revision: see :class:`Load`.
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
    """Speed of recent loads, and size of the messages that they read."""

    offsets_per_second: float
    bytes_per_offset: float
