"""The report of a load, as data."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from sluice.audit.quality_results import RuleResult
from sluice.audit.refusal_reasons import ReasonCount
from sluice.plan.reservations import Reservation
from sluice.ranges import OffsetRange
from sluice.store.attempts import Account
from sluice.store.load_state import Changes

DRY_RUN = "dry run"
"""The state and kind of a report that has no load."""


class StepTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How long a part of the load took, and how fast it was."""

    name: str
    seconds: float
    rows_per_second: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of one load.

    Attributes:
        state: the load's state; ``published`` is the good end.
        error: why the load stopped; empty when it did not.
        advice: what to do next, one sentence per item.
        expired: offsets that retention had removed before they were read; part of the absent.
        filled: fields filled by an upgrade, as version → field → messages.
        kind: ``load``, ``replace`` or ``replay``; or ``dry run``, which has no load.
        asked: the request, in words.
        survey: for a part of the topic, the offsets that were left alone; see ``Selection``.
        changes: what a replacing load has changed.
        outside: rows with timestamps outside of the range of time that was requested.
        unusable_timestamps: messages whose Kafka timestamp is no time from 1970 to 2299.
        bytes: size of the values that were read.
        cpu_seconds: of reading and validating them.
        nulls: null values by column, of the columns that may have any.
        waiting_before: offsets that no load accounted for when it was planned; None when that was
            not measured.
        waiting_after: the same when the report was made.
        decision: who has released or discarded the load, and why; empty when nobody had to.
        reservations: unfinished loads that hold offsets which this one would have read.
        published_by: who published the load, if that is not its owner.
        refused_by_target: why ClickHouse refused an insert while the load was published; empty if
            it did not.
    """

    load_id: str
    topic: str
    table: str
    owner: str
    state: str
    error: str
    planned_at: datetime
    ended_at: datetime
    ranges: list[OffsetRange]
    accounts: list[Account] = []
    versions: Mapping[str, int] = {}
    filled: Mapping[str, Mapping[str, int]] = {}
    reasons: list[ReasonCount] = []
    quality: list[RuleResult] = []
    steps: list[StepTiming] = []
    advice: list[str] = []
    expired: int = 0
    kind: str = "load"
    asked: str = ""
    survey: Mapping[str, int] = {}
    changes: Changes | None = None
    outside: int = 0
    unusable_timestamps: int = 0
    decision: str = ""
    bytes: int = 0
    cpu_seconds: float = 0.0
    nulls: Mapping[str, int] = {}
    waiting_before: int | None = None
    waiting_after: int | None = None
    reservations: list[Reservation] = []
    published_by: str = ""
    refused_by_target: str = ""

    @property
    def is_all_loaded(self) -> bool:
        """Whether nothing was read because loads account for every offset of the topic."""
        return not (self.ranges or self.survey or self.reservations or self.waiting_before)

    def sum(self, term: str) -> int:
        """A term of the accounting identity over all partitions."""
        return sum(getattr(account, term) for account in self.accounts)

    @property
    def anomalies(self) -> list[RuleResult]:
        """The results that report that the load is unlike those before it."""
        return [result for result in self.quality if result.is_anomaly]
