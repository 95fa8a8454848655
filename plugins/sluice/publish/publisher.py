"""Making a load's rows visible, exactly once, whatever was interrupted before.

Publishing begins by renaming the staging table. The rename is the fence: a late task finds no
table to write to, and a settler that meant to abandon the load finds nothing to drop. Both
are single operations of the server, so exactly one of them happens.

Each insert then takes from the staged rows what the target does not have yet, as one block: one
part of the target, or one in each of its partitions. A statement that repeats it while it is
still running is recognised by its token, one that comes after it by the rows that are there.
"""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog
from msgspec import Struct

from sluice.contract import Contract
from sluice.errors import AccountingError, EngineError, LoadLost
from sluice.publish.replacement import Replacing
from sluice.ranges import OffsetRange, chunk, total
from sluice.sql import literal
from sluice.store.clickhouse import TABLE_EXISTS, UNKNOWN_TABLE, ClickHouse
from sluice.store.ledger import ABANDONED, PUBLISHED, PUBLISHING, WITHDRAWN, Ledger
from sluice.store.target_table import Target

log = structlog.get_logger()

SLICE_ROWS = 250_000
SLICE_BYTES = 256 << 20
"""An insert's size, at most: it is one block in the server's memory."""

COPY_TRIES = 3
AT_ONCE = 2
"""Inserts of a load that run at once; they copy different offsets."""


class Lacking(Struct, frozen=True):
    """How many staged rows the target does not have, and a digest of which."""

    rows: int
    digest: int


class Publisher:
    """Publishes loads of one contract. Every method may be repeated."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, cluster: str = ""
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._target = Target(contract, clickhouse, cluster)

    def publish(self, load_id: str, owner: str) -> None:
        """Staged rows of an audited load become rows of the target.

        Raises:
            LoadLost: another has abandoned the load.
            AccountingError: the target does not hold what was staged.
            ShapeChanged: a newer deployment has staged it and must publish it.
            EngineError: ClickHouse refused; publishing can be repeated.
        """
        load = self._ledger.load(load_id)
        if load is None or load.state in (ABANDONED, WITHDRAWN):
            raise LoadLost(f"load {load_id} is {load.state if load else 'not in the ledger'}")
        if load.state != PUBLISHED:
            if not self._fence(load_id):
                return
            source = self._ledger.publishing_table(load_id)
            columns = self._target.columns(source, load.plan.get("shape", ""))
            self._ledger.record(load_id, load.topic, PUBLISHING, owner)
            replacing = Replacing.of(load, self._target, self._clickhouse, self._ledger)
            attempts = self._ledger.audited_attempts(load_id)
            finished = self._ledger.winners(load_id)
            chunks = self._ledger.chunks(load_id)
            parts = [
                (attempts[number], part)
                for number, ranges in chunks.items()
                for part in _slices(ranges, finished[number].bytes)
            ]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                copy = partial(self._copy, load_id, columns, anew=replacing is not None)
                list(pool.map(lambda part: copy(*part), parts))
            answered = list(chunks.values())
            if replacing:
                answered = replacing.run(chunks, attempts, owner)
            rows = self._check_target(load_id, parts, answered)
            self._ledger.record(load_id, load.topic, PUBLISHED, owner, {"rows": rows})
            log.info("published", load_id=load_id, table=self._contract.table.name, rows=rows)
        self._drop(load_id)

    def _fence(self, load_id: str) -> bool:
        """Rename the staging table; False when the load turns out to be published already.

        Raises:
            LoadLost: the table is gone, so the load was abandoned.
        """
        staging, publishing = (
            self._ledger.staging_table(load_id),
            self._ledger.publishing_table(load_id),
        )
        try:
            self._clickhouse.execute(f"RENAME TABLE {staging} TO {publishing}")
        except EngineError as error:
            if error.code not in (UNKNOWN_TABLE, TABLE_EXISTS):
                raise
            if self.is_publishing(load_id):
                return True
            load = self._ledger.load(load_id)
            if load and load.state == PUBLISHED:
                return False
            raise LoadLost(f"load {load_id} has no staging table: it was abandoned") from error
        return True

    def is_publishing(self, load_id: str) -> bool:
        """Whether the load has passed the fence and its table is still there."""
        return self._clickhouse.has_table(self._ledger.database, f"publishing_{load_id}")

    def _copy(
        self,
        load_id: str,
        columns: Mapping[str, str],
        attempt: str,
        ranges: list[OffsetRange],
        anew: bool = False,
    ) -> None:
        """Copy the staged rows of some ranges that the target does not have."""
        lacking = self._target.lacking(self._ledger.publishing_table(load_id), ranges, anew)
        parameters = {"topic": self._contract.topic, "load": load_id, "attempt": attempt}
        name = f"sluice/{load_id}/{ranges[0]}"
        for again in range(COPY_TRIES):
            self._wait_for_others(name)
            left = self._lacking(lacking, parameters)
            if not left.rows:
                return
            # Everybody's first insert of these rows has one token, so of two at once one counts.
            # Only when it left rows out is there another, named by what they are, so that two
            # publishers that find the same rows lacking share that one too.
            token = f"{name}/{left.digest}" if again else name
            self._clickhouse.execute(
                self._target.insert(columns, lacking),
                parameters,
                {
                    **self._target.settings,
                    "log_comment": name,
                    "insert_deduplicate": 1,
                    "insert_deduplication_token": token,
                    "deduplicate_blocks_in_dependent_materialized_views": 1,
                    "join_use_nulls": 1,
                    "max_threads": 1,
                    "max_insert_threads": 1,
                    "min_insert_block_size_rows": 2 * SLICE_ROWS,
                    "min_insert_block_size_bytes": 4 << 30,
                    "max_partitions_per_insert_block": 0,
                },
            )

    def _lacking(self, lacking: str, parameters: Mapping[str, str]) -> "Lacking":
        settings = self._target.settings | {"join_use_nulls": 1}
        (row,) = self._clickhouse.rows(
            "SELECT count() AS rows, groupBitXor(cityHash64(_partition, _offset)) AS digest"
            f" {lacking}",
            parameters,
            settings,
        )
        return Lacking(**row)

    def _wait_for_others(self, name: str) -> None:
        """End an insert of the same rows that an interrupted publisher has left running."""
        mine = "Settings['log_comment'] = {name:String}"
        running = f"SELECT 1 AS one FROM system.processes WHERE {mine}"
        if self._clickhouse.rows(running, {"name": name}):
            log.warning("ending_interrupted_insert", name=name)
            self._clickhouse.execute(
                f"KILL QUERY WHERE Settings['log_comment'] = {literal(name)} SYNC"
            )

    def _check_target(
        self,
        load_id: str,
        parts: list[tuple[str, list[OffsetRange]]],
        answered: list[list[OffsetRange]],
    ) -> int:
        """Hold the target against the account; gives the rows.

        Rows of a replacing table may have been merged away, so there it is asked which are
        lacking; in any other every offset is counted.

        Args:
            answered: by chunk, the offsets that this load answers for.
        """
        accounts = {a.partition: a.loaded for a in self._ledger.accounts(load_id)}
        if self._target.replaces:
            source = self._ledger.publishing_table(load_id)
            for attempt, ranges in parts:
                about = {"topic": self._contract.topic, "attempt": attempt, "load": load_id}
                if left := self._lacking(self._target.lacking(source, ranges), about).rows:
                    raise AccountingError(
                        f"load {load_id}, {ranges[0]}: {self._target.name} lacks {left} rows"
                    )
            return sum(accounts.values())
        rows, offsets = Counter[int](), Counter[int]()
        for ranges in answered:
            for row in self._target.count(ranges):
                rows[row["partition"]] += row["rows"]
                offsets[row["partition"]] += row["offsets"]
        for partition, loaded in accounts.items():
            there = (rows[partition], offsets[partition])
            if there != (loaded, loaded):
                raise AccountingError(
                    f"load {load_id}, partition {partition}: {loaded} rows to publish, and"
                    f" {self._target.name} holds {there[0]} rows of {there[1]} offsets"
                )
        return sum(accounts.values())

    def _drop(self, load_id: str) -> None:
        self._clickhouse.execute(f"DROP TABLE IF EXISTS {self._ledger.publishing_table(load_id)}")


def _slices(ranges: list[OffsetRange], size: int) -> list[list[OffsetRange]]:
    """A chunk's ranges in parts of one block each; ``size`` is what the chunk's values take."""
    count = total(ranges)
    fits = SLICE_BYTES * count // max(size, 1)
    return chunk(ranges, max(1, min(SLICE_ROWS, fits)), most=1 << 30)
