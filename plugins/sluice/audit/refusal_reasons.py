"""Why messages of a load were refused, with an example of each reason."""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from sluice.contract import Contract
from sluice.contract.masking import mask
from sluice.decode.tracing import MARK, read_tracing
from sluice.ranges import OffsetRange
from sluice.sql import offset_condition, quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse

MOST_BYTES = 1_000_000
"""Larger messages are not searched for a correlation id in their body."""


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often messages were refused for one reason, with one example and its correlation id."""

    reason: str
    field: str
    count: int
    partition: int
    offset: int
    message: str
    correlation_id: str = ""


class RefusalReasons:
    """Reads the refused messages of one load's attempts.

    Args:
        database: the Sluice database.
    """

    def __init__(
        self,
        contract: Contract,
        clickhouse: ClickHouse,
        database: str,
        load_id: str,
        attempts: Sequence[str],
    ) -> None:
        self._contract, self._clickhouse = contract, clickhouse
        self._from = f"FROM {quote_identifier(database)}.quarantine_rows AS q"
        self._where = (
            "q.topic = {topic:String} AND q.load_id = {load:String}"
            " AND q.attempt IN {attempts:Array(String)}"
        )
        self._parameters: dict[str, Any] = {
            "topic": contract.topic,
            "load": load_id,
            "attempts": list(attempts),
        }

    def count(self) -> list[ReasonCount]:
        """The reasons, the most frequent first; sensitive values are masked."""
        rows = self._clickhouse.rows(
            "SELECT q.reason AS reason, q.field AS field, count() AS count,"
            " min((q.partition, q.offset, q.message)) AS first,"
            " first.1 AS partition, first.2 AS offset, first.3 AS message"
            f" {self._from} WHERE {self._where}"
            " GROUP BY q.reason, q.field ORDER BY count DESC, reason, field",
            self._parameters,
        )
        counts = [ReasonCount(**{k: v for k, v in row.items() if k != "first"}) for row in rows]
        ids = self.correlation_ids([(c.partition, c.offset) for c in counts])
        return [
            msgspec.structs.replace(
                c,
                message=mask(self._contract, c.reason, c.field, c.message),
                correlation_id=ids.get((c.partition, c.offset), ""),
            )
            for c in counts
        ]

    def correlation_ids(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
        """Place → correlation id of a refused message, by the rule for those of loaded rows."""
        if not places:
            return {}
        ranges = [OffsetRange(partition, offset, offset + 1) for partition, offset in places]
        body = f"position(base64Decode(q.value), {quote_string(MARK.decode())}) > 0"
        rows = self._clickhouse.rows(
            "SELECT q.partition AS partition, q.offset AS offset,"
            " arrayMap(h -> (h.name, h.value), q.headers) AS headers,"
            f" if(length(q.value) <= {MOST_BYTES} AND {body}, q.value, '') AS value"
            f" {self._from} WHERE {self._where}"
            f" AND ({offset_condition(ranges, 'q.partition', 'q.offset')})",
            self._parameters,
        )
        return {
            (row["partition"], row["offset"]): read_tracing(
                [(name, base64.b64decode(value)) for name, value in row["headers"]],
                base64.b64decode(row["value"]),
            ).correlation_id
            for row in rows
        }
