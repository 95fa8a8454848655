"""Which offsets hold the messages of a range of time, exactly: clocks of producers run backwards.

The broker only reports the first offset at or after a time. The offsets from the window's first
message to the first one after the window are therefore the window, except for late messages of an
earlier time; and late messages of the window itself may follow. Timestamps of loaded messages are
in ClickHouse; unread ones are searched on the broker, as far as a setting allows.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import structlog

from sluice.kafka.broker import Broker
from sluice.plan.range_selection import TopicHistory
from sluice.ranges import PIECES, OffsetRange, intersect, limit, merge, subtract, total
from sluice.records import Record, Topic, Watermarks, retained_ranges, timestamp_ms
from sluice.sql import offset_condition, quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.request import TimeWindow

log = structlog.get_logger()


class WindowOffsets(msgspec.Struct, frozen=True, kw_only=True):
    """The offsets of a window.

    Attributes:
        unsearched: offsets after the window that were not searched for late messages.
    """

    ranges: list[OffsetRange]
    unsearched: int = 0


class TimeWindows:
    """Finds the offsets of ranges of time.

    Args:
        target: the table of the topic's rows, quoted.
        most: most unread offsets that are searched on the broker; about 0.8 million per second. A
            window with more is taken by its borders.
    """

    def __init__(
        self, broker: Broker, clickhouse: ClickHouse, target: str, database: str, most: int
    ) -> None:
        self._broker, self._clickhouse, self._most = broker, clickhouse, most
        self._target, self._db = target, quote_identifier(database)

    def find(
        self,
        topic: Topic,
        watermarks: Mapping[int, Watermarks],
        window: TimeWindow,
        history: TopicHistory,
        exact: bool,
    ) -> WindowOffsets:
        """The offsets of a range of time that a load may read.

        A message without a timestamp counts with its neighbours, and so does an offset without a
        message.

        Args:
            exact: whether offsets that are loaded already are chosen exactly too, because they
                are to be loaded again; else they are part of the window by its borders only.

        Raises:
            BrokerError: the broker does not respond.
        """
        lows = self._borders(topic, watermarks, window[0], "low")
        highs = self._borders(topic, watermarks, window[1], "high")
        plain = [OffsetRange(p, lows[p], highs[p]) for p in topic.partitions]
        later = [OffsetRange(p, max(lows[p], highs[p]), watermarks[p].high) for p in highs]
        taken = [*history.loaded, *history.reserved]
        unread, unread_later = subtract(plain, taken), subtract(later, taken)
        stray: list[OffsetRange] = []
        late: list[OffsetRange] = []
        if window[0] and total(unread) <= self._most:
            stray, _ = self._look(topic, unread, window)
        searched = limit(unread_later, self._most) if window[1] else []
        _, late = self._look(topic, searched, window)
        if exact:
            read = intersect(intersect(plain, history.loaded), retained_ranges(watermarks))
            stray += self._stored(topic, read, window, inside=False)
            late += self._stored(topic, intersect(later, history.loaded), window, inside=True)
        unsearched = total(unread_later) - total(searched) if window[1] else 0
        if unsearched:
            log.warning("late_messages_not_searched", offsets=unsearched, limit=self._most)
        ranges = merge([*subtract(plain, stray), *late])
        return WindowOffsets(ranges=ranges, unsearched=unsearched)

    def _borders(
        self, topic: Topic, watermarks: Mapping[int, Watermarks], at: datetime | None, end: str
    ) -> dict[int, int]:
        if at is None:
            return {p: getattr(watermarks[p], end) for p in topic.partitions}
        return self._broker.offsets_at(topic, at)

    def _look(
        self, topic: Topic, ranges: Sequence[OffsetRange], window: TimeWindow
    ) -> tuple[list[OffsetRange], list[OffsetRange]]:
        """Messages of some ranges that are outside the window, and those that are inside."""
        low, high = _milliseconds(window)
        outside: list[OffsetRange] = []
        inside: list[OffsetRange] = []
        for records, _ in self._broker.read(topic, ranges):
            for record in records:
                if at := timestamp_ms(record):
                    _append(inside if low <= at < high else outside, record)
        return merge(outside), merge(inside)

    def _stored(
        self, topic: Topic, ranges: Sequence[OffsetRange], window: TimeWindow, inside: bool
    ) -> list[OffsetRange]:
        """Rows and messages in quarantine whose timestamps are inside the window, or outside."""
        low, high = _milliseconds(window)
        within = f"(at >= {low} AND at < {high})"
        chosen = within if inside else f"NOT {within} AND at > 0"
        found: list[OffsetRange] = []
        for start in range(0, len(ranges), PIECES):
            some = ranges[start : start + PIECES]
            rows_among = offset_condition(some)
            refused_among = offset_condition(some, "q.partition", "q.offset")
            rows = self._clickhouse.rows(
                "SELECT p, arraySort(groupArray(o)) AS offsets FROM ("
                " SELECT _partition AS p, _offset AS o, toUnixTimestamp64Milli(_timestamp) AS at"
                f" FROM {self._target} WHERE _topic = {{topic:String}} AND ({rows_among})"
                " UNION ALL SELECT q.partition, q.offset, toUnixTimestamp64Milli(q.timestamp)"
                f" FROM {self._db}.quarantine AS q WHERE q.topic = {{topic:String}}"
                f" AND q.status = 'quarantined' AND ({refused_among}))"
                f" WHERE {chosen} GROUP BY p",
                {"topic": topic.name},
            )
            found += [OffsetRange(row["p"], o, o + 1) for row in rows for o in row["offsets"]]
        return merge(found)


def _append(found: list[OffsetRange], record: Record) -> None:
    """Add a record's offset; neighbours share a range, so that memory is of the gaps only."""
    partition, offset = record.partition(), record.offset()
    if found and (found[-1].partition, found[-1].high) == (partition, offset):
        found[-1] = OffsetRange(partition, found[-1].low, offset + 1)
    else:
        found.append(OffsetRange(partition, offset, offset + 1))


def _milliseconds(window: TimeWindow) -> tuple[int, int]:
    low, high = (int(at.timestamp() * 1000) if at else None for at in window)
    return low or 0, 1 << 62 if high is None else high
