"""What a request would read now, from the broker and the ledger. Reads only."""

from collections.abc import Sequence

import msgspec

from sluice.contract import Contract
from sluice.errors import PlanError, ReplaceUnsupported
from sluice.kafka.broker import Broker
from sluice.plan.bounds import resolve_bounds
from sluice.plan.range_selection import (
    Selection,
    TopicHistory,
    check_same_topic,
    choose_ranges,
    select_partitions,
)
from sluice.plan.time_windows import TimeWindows
from sluice.ranges import OffsetRange, intersect, subtract, total
from sluice.records import Topic, Watermarks, retained_ranges
from sluice.settings import Settings
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import LoadKind, State
from sluice.store.quarantine import Quarantine
from sluice.store.request import Request, parse_window
from sluice.store.topic_state import TopicState

MOST_REPLAYED = 500_000
"""Messages of one replay: each that stands alone is a range of its own in the ledger."""

_START_OVER = (
    "To load such a table again, start from nothing: rename or drop it, and run 'sluice forget'"
)


class PlanPreview(msgspec.Struct, frozen=True, kw_only=True):
    """A load that could be planned.

    Attributes:
        selection: what it would read, and what it would leave alone.
        kind: a window whose offsets no load has is a plain load, also when a replace is requested.
        revision: above that of every published load when others answer for its offsets.
        replaces: published loads that hold offsets which it would load again.
        waiting: offsets that the topic has and no published load accounts for.
        seen: number of the last entry of the topic's log that was read.
    """

    topic: Topic
    watermarks: dict[int, Watermarks]
    selection: Selection
    kind: LoadKind
    revision: int
    replaces: list[str]
    waiting: int
    seen: int


class Survey:
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

    def preview(self, request: Request) -> PlanPreview:
        """What would be planned for a request, by the state of the log that was read last.

        Raises:
            PlanError: the request cannot be planned; says what to change.
            OffsetsExpired: offsets are gone, and the contract says to fail.
            BrokerError: the broker does not respond.
        """
        request.check()
        self._check_table(request)
        topic = self._broker.topic(self._contract.topic)
        watermarks = self._broker.watermarks(topic)
        state = self._ledger.state(topic.name, fresh=False)
        kind: LoadKind = "load"
        history = _history(topic, state)
        if request.refused is not None:
            check_same_topic(self._contract, topic, watermarks, history)
            selection, kind = self._refused(topic, request, state), "replay"
        else:
            window, unsearched = self._window(topic, watermarks, request, history)
            selection = choose_ranges(self._contract, topic, watermarks, history, request, window)
            selection = msgspec.structs.replace(selection, unsearched=unsearched)
            if selection.replaced:
                kind = "replace"
        return PlanPreview(
            topic=topic,
            watermarks=watermarks,
            selection=selection,
            kind=kind,
            revision=0 if kind == "load" else 1 + state.revision,
            replaces=self._replaced(topic, selection.ranges) if kind == "replace" else [],
            waiting=total(subtract(retained_ranges(watermarks), state.loaded)),
            seen=state.entry,
        )

    def _check_table(self, request: Request) -> None:
        """Refuse to replace where old rows and new ones cannot be distinguished.

        Raises:
            ReplaceUnsupported: says what to do instead.
        """
        if request.existing != "replace":
            return
        if self._contract.table.replaces:
            raise ReplaceUnsupported(
                f"table {self._contract.table.name!r} keeps only the newest row of a key"
                f" ({self._contract.table.engine}), so the rows of a load cannot be exchanged for"
                f" others. {_START_OVER}",
                topic=self._contract.topic,
            )
        if self._settings.cluster:
            raise ReplaceUnsupported(
                "rows in a cluster are not replaced, because no statement removes them from all"
                f" replicas at once. {_START_OVER}",
                topic=self._contract.topic,
            )

    def _window(
        self, topic: Topic, watermarks: dict[int, Watermarks], request: Request, known: TopicHistory
    ) -> tuple[list[OffsetRange] | None, int]:
        """The offsets that a request covers, and how many were not searched for them."""
        if not request.windowed:
            return None, 0
        if request.offsets:
            select_partitions(topic, {r.partition for r in request.offsets})
            return list(request.offsets), 0
        if window := parse_window(request.low, request.high):
            windows = TimeWindows(
                self._broker,
                self._clickhouse,
                self._clickhouse.qualified(self._contract.table.name),
                self._ledger.database,
                self._settings.scan_offsets,
            )
            exact = request.existing == "replace"
            found = windows.find(topic, watermarks, window, known, exact)
            return found.ranges, found.unsearched
        return resolve_bounds(self._broker, topic, request.low or None, request.high or None), 0

    def _refused(self, topic: Topic, request: Request, state: TopicState) -> Selection:
        """The messages in quarantine that a replay would read."""
        if request.refused is None:
            raise PlanError("a replay needs a filter of refused messages", topic=topic.name)
        partitions = select_partitions(topic, request.partitions)
        store = Quarantine(self._clickhouse, self._ledger.database)
        most = min(request.max_messages or MOST_REPLAYED, MOST_REPLAYED)
        found = store.offsets(request.refused, partitions, most)
        reserved = state.reserved
        elsewhere = total(intersect(found, reserved))
        return Selection(ranges=subtract(found, reserved), elsewhere=elsewhere)

    def _replaced(self, topic: Topic, ranges: Sequence[OffsetRange]) -> list[str]:
        """Published loads that hold some of the ranges."""
        loads = self._ledger.loads_of(topic.name)
        return [
            load.load_id
            for load in reversed(loads)
            if load.state is State.PUBLISHED and intersect(load.ranges, ranges)
        ]


def _history(topic: Topic, state: TopicState) -> TopicHistory:
    origins = state.origins
    return TopicHistory(
        topic_id=state.topic_id,
        # A partition that no plan has seen was added since, and began at 0.
        origins={} if origins is None else {p: origins.get(p, 0) for p in topic.partitions},
        loaded=state.loaded,
        reserved=state.reserved,
    )
