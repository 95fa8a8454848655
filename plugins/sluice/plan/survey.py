"""What a request would read now, told from broker and ledger. Reads only."""

from collections.abc import Sequence

import msgspec

from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.kafka.broker import Broker
from sluice.plan.bounds import bounds
from sluice.plan.choose import Known, Survey, asked_partitions, check_same_topic, choose, origins
from sluice.plan.time_windows import TimeWindows
from sluice.ranges import OffsetRange, intersect, merge, subtract, total
from sluice.records import Topic, Watermarks, kept
from sluice.settings import Settings
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import PUBLISHED, Kind, Ledger, Taken
from sluice.store.quarantine import Quarantine
from sluice.store.request import Request, window_of

REPLAYED_AT_MOST = 500_000
"""Messages of one replay: each that stands alone is a range of its own in the ledger."""


BEGIN_ANEW = (
    "To load such a table anew, begin from nothing: docs/backfill.md says how to forget a topic"
)


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """A load that could be planned.

    Attributes:
        kind: a window whose offsets no load has is a plain load, also when it asks to replace.
        revision: above that of every published load when others answer for its offsets.
        replaces: published loads that hold offsets which it would load anew.
        waiting: offsets that the topic has and no published load accounts for.
    """

    topic: Topic
    watermarks: dict[int, Watermarks]
    survey: Survey
    kind: Kind
    revision: int
    replaces: list[str]
    waiting: int


class Surveyor:
    """Surveys the topic of one contract."""

    def __init__(
        self,
        contract: Contract,
        broker: Broker,
        clickhouse: ClickHouse,
        ledger: Ledger,
        settings: Settings,
    ) -> None:
        self._contract, self._broker, self._settings = contract, broker, settings
        self._clickhouse, self._ledger = clickhouse, ledger

    def prospect(self, request: Request) -> Prospect:
        """What would be planned for a request.

        Raises:
            PlanError, OffsetsExpired, BrokerError: see :func:`choose` and :func:`bounds`.
        """
        request.check()
        self._check_table(request)
        topic = self._broker.topic(self._contract.topic)
        watermarks = self._broker.watermarks(topic)
        taken = self._ledger.taken(topic.name)
        kind: Kind = "load"
        known = self._known(topic, taken)
        if request.refused is not None:
            check_same_topic(self._contract, topic, watermarks, known)
            survey, kind = self._refused(topic, request, taken), "replay"
        else:
            window, unsearched = self._window(topic, watermarks, request, known)
            survey = choose(self._contract, topic, watermarks, known, request, window)
            survey = msgspec.structs.replace(survey, unsearched=unsearched)
            if survey.replaced:
                kind = "replace"
        published = [t for t in taken if t.published]
        return Prospect(
            topic=topic,
            watermarks=watermarks,
            survey=survey,
            kind=kind,
            revision=0 if kind == "load" else 1 + max((t.revision for t in published), default=0),
            replaces=_overlapping(published, survey.ranges) if kind == "replace" else [],
            waiting=total(subtract(kept(watermarks), merge(t.range for t in published))),
        )

    def _check_table(self, request: Request) -> None:
        """Refuse to replace where old rows and new ones cannot be told apart.

        Raises:
            PlanError: says what to do instead.
        """
        if request.existing != "replace":
            return
        if self._contract.table.replaces:
            raise PlanError(
                f"table {self._contract.table.name!r} keeps only the newest row of a key"
                f" ({self._contract.table.engine}), so the rows of a load cannot be exchanged for"
                f" others. {BEGIN_ANEW}"
            )
        if self._settings.cluster:
            raise PlanError(
                "rows in a cluster are not replaced, because no statement removes them from all"
                f" replicas at once. {BEGIN_ANEW}"
            )

    def _window(
        self, topic: Topic, watermarks: dict[int, Watermarks], request: Request, known: Known
    ) -> tuple[list[OffsetRange] | None, int]:
        """The offsets that a request is about, and how many were not looked through for them."""
        if not request.windowed:
            return None, 0
        if request.offsets:
            asked_partitions(topic, {r.partition for r in request.offsets})
            return list(request.offsets), 0
        if window := window_of(request.low, request.high):
            windows = TimeWindows(
                self._broker,
                self._clickhouse,
                self._clickhouse.qualified(self._contract.table.name),
                self._ledger.database,
                self._settings.scan_offsets,
            )
            anew = request.existing == "replace"
            found = windows.find(topic, watermarks, window, known, anew)
            return found.ranges, found.unsearched
        return bounds(self._broker, topic, request.low or None, request.high or None), 0

    def _refused(self, topic: Topic, request: Request, taken: Sequence[Taken]) -> Survey:
        """The messages in quarantine that a replay would read."""
        assert request.refused is not None
        asked = asked_partitions(topic, request.partitions)
        store = Quarantine(self._clickhouse, self._ledger.database)
        most = min(request.max_messages or REPLAYED_AT_MOST, REPLAYED_AT_MOST)
        found = store.offsets(request.refused, asked, most)
        reserved = [t.range for t in taken if not t.published]
        return Survey(ranges=subtract(found, reserved), elsewhere=total(intersect(found, reserved)))

    def _known(self, topic: Topic, taken: Sequence[Taken]) -> Known:
        loads = self._ledger.loads_of(topic.name)
        ids = [load.plan["topic_id"] for load in loads if load.state == PUBLISHED]
        return Known(
            topic_id=ids[0] if ids else "",
            origins=origins([load.plan for load in reversed(loads)], topic.partitions),
            # What a replay has read another load had published before.
            loaded=[t.range for t in taken if t.published and t.kind != "replay"],
            reserved=[t.range for t in taken if not t.published],
        )


def _overlapping(published: Sequence[Taken], ranges: Sequence[OffsetRange]) -> list[str]:
    """Loads that hold some of the ranges."""
    by_load: dict[str, list[OffsetRange]] = {}
    for t in published:
        by_load.setdefault(t.load_id, []).append(t.range)
    return [load_id for load_id, held in by_load.items() if intersect(held, ranges)]
