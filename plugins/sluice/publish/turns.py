"""Turns of inserting into a replacing table, so that no two inserts overlap in time.

Of rows with equal versions ClickHouse keeps the one that was inserted last. An insert leaves out
the rows that are older than what it reads. If another insert ended between its reading and its end,
an older row would be the last. Loads of one topic may be published at once, so they take turns.

A turn is a row with a number, inserted under a token made from that number: of several publishers
that take the same one, one gets it. A turn ends with a second row. If a publisher dies, the next
one ends its insert and takes the following turn; an insert checks that its turn is the last.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from msgspec import Struct

from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse

log = structlog.get_logger()

PATIENCE_SECONDS = 10.0
"""How long a turn may last without a running insert."""

CLUSTER_PATIENCE_SECONDS = 600.0
"""The same in a cluster, where an insert may run on a server that is not visible here."""

POLL_SECONDS = 0.1


class Turn(Struct, frozen=True):
    """The last turn of a table.

    Attributes:
        turn: its number.
        holder: id of the publisher that has it.
        name: the insert's name, in the setting ``log_comment``.
        ended: whether it is over.
        silent: seconds since its last row.
    """

    turn: int
    holder: str
    name: str
    ended: bool
    silent: float


class PublishTurns:
    """The turns of one target table.

    Args:
        target: the qualified name of the table.
        patience: how long a turn may last without a running insert, in seconds.
        sleep: waits between two looks at another's turn; a test may pass its own.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        database: str,
        target: str,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clickhouse, self._target = clickhouse, target
        self._table = f"{quote_identifier(database)}.publish_turns"
        self._patience, self._sleep = patience, sleep

    @contextmanager
    def take(self, name: str) -> Iterator[str]:
        """Wait for a turn; it ends with the block, or when another publisher loses its patience.

        Args:
            name: the insert's name, in the setting ``log_comment``.

        Yields:
            A condition for the insert that is false once another publisher has taken a turn.
        """
        turn = self._wait(name)
        yield (
            f"(SELECT max(turn) FROM {self._table} WHERE target = {quote_string(self._target)})"
            f" = {turn}"
        )
        # Not after an error: the insert may still run, and the next publisher looks after it.
        self._record(turn, "", name, ended=True)

    def _wait(self, name: str) -> int:
        holder = uuid.uuid4().hex
        while True:
            last = self._last()
            if last.ended or self._is_abandoned(last):
                self._record(last.turn + 1, holder, name)
                if not last.ended:
                    log.warning("publish_turn_taken_over", insert=last.name)
                    self._end_insert(last.name)
                if self._holder(last.turn + 1) == holder:
                    return last.turn + 1
            else:
                self._sleep(POLL_SECONDS)

    def _last(self) -> Turn:
        rows = self._clickhouse.rows(
            "SELECT turn, argMin(t.holder, t.at) AS holder, argMin(t.name, t.at) AS name,"
            " max(t.ended) AS ended,"
            " dateDiff('millisecond', max(t.at), now64(6)) / 1000 AS silent"
            f" FROM {self._table} AS t WHERE t.target = {{target:String}} AND t.turn ="
            f" (SELECT max(turn) FROM {self._table} WHERE target = {{target:String}})"
            " GROUP BY turn",
            {"target": self._target},
        )
        return Turn(**rows[0]) if rows else Turn(0, "", "", True, 0)

    def _holder(self, turn: int) -> str:
        (row,) = self._clickhouse.rows(
            f"SELECT argMin(t.holder, t.at) AS holder FROM {self._table} AS t"
            " WHERE t.target = {target:String} AND t.turn = {turn:UInt64}",
            {"target": self._target, "turn": turn},
        )
        return str(row["holder"])

    def _is_abandoned(self, turn: Turn) -> bool:
        if turn.silent < self._patience:
            return False
        running = "SELECT 1 AS one FROM system.processes WHERE Settings['log_comment'] = {n:String}"
        return not self._clickhouse.rows(running, {"n": turn.name})

    def _end_insert(self, name: str) -> None:
        """End an insert that has begun since its publisher was taken for dead."""
        self._clickhouse.execute(
            f"KILL QUERY WHERE Settings['log_comment'] = {quote_string(name)} SYNC"
        )

    def _record(self, turn: int, holder: str, name: str, ended: bool = False) -> None:
        row = {
            "target": self._target,
            "turn": turn,
            "holder": holder,
            "name": name,
            "ended": ended,
        }
        kind = "ended" if ended else "taken"
        self._clickhouse.insert(self._table, [row], f"turn/{self._target}/{turn}/{kind}")
