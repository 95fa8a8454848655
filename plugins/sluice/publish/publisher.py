"""Making a load's rows visible, exactly once, whatever was interrupted before.

Publishing begins with an entry in the topic's log. That entry is the fence: after it the load
cannot be abandoned, and after the entry that abandons it, it cannot be published.

Each insert then copies the staged rows that the target does not have yet, as one block: one part of
the target, or one in each of its partitions. It has one token for ever. A repetition that runs
beside the first statement is recognised by its token, one that runs after it by the rows that are
there.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import structlog

from sluice.contract import Contract
from sluice.errors import AccountingError, EngineError, LoadLost, ShortRead
from sluice.publish.replacement import Replacement, loaded_by_partition
from sluice.publish.turns import CLUSTER_PATIENCE_SECONDS, PATIENCE_SECONDS, PublishTurns
from sluice.ranges import OffsetRange, chunk, total
from sluice.sql import quote_identifier, quote_string
from sluice.store.clickhouse import ALSO_IN_VIEWS, ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load, State
from sluice.store.target_table import TargetTable
from sluice.store.topic_state import Entry

log = structlog.get_logger()

SLICE_ROWS = 250_000
SLICE_BYTES = 256 << 20
"""An insert's size, at most: it is one block in the server's memory."""

COPY_TRIES = 3
AT_ONCE = 2
"""Inserts of a load that run at once; they copy different offsets."""


class Slice(NamedTuple):
    """What one insert copies: some ranges of the rows of an attempt."""

    attempt: str
    ranges: list[OffsetRange]

    @property
    def name(self) -> str:
        """Names exactly these rows."""
        digest = sha256(f"{self.attempt} {' '.join(map(str, self.ranges))}".encode())
        return f"{self.ranges[0]}/{digest.hexdigest()[:16]}"


class Counted(NamedTuple):
    """Rows and distinct offsets of one partition in the target."""

    rows: int
    offsets: int


class Publisher:
    """Publishes loads of one contract. Every method may be repeated."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, cluster: str = ""
    ) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self.target = TargetTable(contract, clickhouse, cluster)
        patience = CLUSTER_PATIENCE_SECONDS if cluster else PATIENCE_SECONDS
        self._turns = PublishTurns(clickhouse, ledger.database, self.target.name, patience)

    def publish(self, load_id: str, owner: str) -> None:
        """Make the staged rows of an audited load rows of the target.

        Raises:
            LoadLost: another run has abandoned the load.
            AccountingError: the target does not hold what was staged.
            ShapeChanged: a newer deployment has staged it and must publish it.
            EngineError: ClickHouse refused a statement; publishing can be repeated.
        """
        load = self._known(load_id, fresh=False)
        if load.state is not State.PUBLISHED:
            try:
                columns = self.columns(load)
                self._make_visible(self.fence(load_id, owner), columns, owner)
            except (LoadLost, AccountingError, ShortRead):
                if self._known(load_id).state is not State.PUBLISHED:
                    raise
                # Another publisher has completed it meanwhile.
        self._ledger.staging.drop(load)

    def _known(self, load_id: str, fresh: bool = True) -> Load:
        """The load, unless it was given up."""
        load = self._ledger.known(self._contract.topic, load_id, fresh)
        if load.state in (State.ABANDONED, State.TAKING_BACK):
            raise LoadLost(f"the load is {load.state}", load_id=load_id)
        return load

    def _make_visible(self, load: Load, columns: Mapping[str, str], owner: str) -> None:
        load_id, attempts = load.load_id, load.attempts
        replacement = Replacement.of(load, self.target, self._clickhouse, self._ledger)
        chunks = {number: list(ranges) for number, ranges in enumerate(load.chunks)}
        slices = self._slices(load)
        replaces = replacement is not None
        try:
            with ThreadPoolExecutor(self._at_once) as pool:
                list(pool.map(lambda part: self.copy(load, columns, part, replaces), slices))
        except EngineError as error:
            if error.code and not error.transient:
                detail = EventDetail.of_error(error)
                self._ledger.record(load_id, load.topic, State.PUBLISHING, owner, detail)
            raise
        answered = list(chunks.values())
        if replacement:
            answered = replacement.run(chunks, attempts, owner)
        rows = self._check_target(load, slices, answered)
        self._ledger.record(load_id, load.topic, State.PUBLISHED, owner, EventDetail(rows=rows))
        log.info("published", load_id=load_id, table=self._contract.table.name, rows=rows)

    @property
    def _at_once(self) -> int:
        """Inserts that run at once: where they take turns anyway, one."""
        takes_turns = self.target.replaces or self.target.settings or self._clickhouse.has_replicas
        return 1 if takes_turns else AT_ONCE

    def columns(self, load: Load) -> dict[str, str]:
        """Target column → SQL over the rows that a load has staged; see TargetTable.columns."""
        return self.target.columns(self._ledger.staging.rows(load).table, load.plan.shape)

    def insert_statement(self, columns: Mapping[str, str], missing_rows: str) -> str:
        """The SQL that makes rows visible. Parameters: ``topic``, ``attempt``, ``load``.

        Args:
            columns: see :meth:`columns`.
            missing_rows: see :meth:`TargetTable.missing_rows`.
        """
        listed = ", ".join(map(quote_identifier, columns))
        return (
            f"INSERT INTO {self.target.name} ({listed})"
            f" SELECT {', '.join(columns.values())} {missing_rows}{self.target.order}"
        )

    def fence(self, load_id: str, owner: str) -> Load:
        """Record that publishing begins; from now on the load is not abandoned.

        Returns:
            The load, with the attempts that count.

        Raises:
            LoadLost: it was abandoned, or its audit has not passed.
        """
        entry = Entry(load_id=load_id, state=State.PUBLISHING, owner=owner)
        return self._ledger.log(self._contract.topic).append(entry).live[load_id]

    def copy(
        self, load: Load, columns: Mapping[str, str], part: Slice, replaces: bool = False
    ) -> None:
        """Copy the rows of a slice that the target does not have.

        Args:
            columns: see :meth:`columns`.
            replaces: whether the rows take the place of others, so that only those of this load
                count as being there.
        """
        source = self._ledger.staging.audited_rows(load)
        missing_rows = self.target.missing_rows(source, part.ranges, replaces)
        parameters = {"topic": load.topic, "load": load.load_id, "attempt": part.attempt}
        name = f"sluice/{load.load_id}/{part.name}"
        settings = {
            **self.target.settings,
            "log_comment": name,
            "insert_deduplicate": 1,
            "insert_deduplication_token": name,
            **ALSO_IN_VIEWS,
            "join_use_nulls": 1,
            "max_threads": 1,
            "max_insert_threads": 1,
            "min_insert_block_size_rows": 2 * SLICE_ROWS,
            "min_insert_block_size_bytes": 4 << 30,
            "max_partitions_per_insert_block": 0,
        }
        # An insert whose turn is over copies nothing, and its token is not used up.
        for tries in range(COPY_TRIES):
            if tries and not self._count(missing_rows, parameters):
                return
            self._end_interrupted_insert(name)
            if not self._count(missing_rows, parameters):
                return
            with self._turn(name) as condition:
                statement = self.insert_statement(columns, f"{missing_rows}{condition}")
                self._clickhouse.execute(statement, parameters, settings)

    @contextmanager
    def _turn(self, name: str) -> Iterator[str]:
        """In a replacing table, the turn of an insert; yields a condition to append to it."""
        if not self.target.replaces:
            yield ""
            return
        with self._turns.take(name) as condition:
            yield f" AND {condition}"

    def _count(self, missing_rows: str, parameters: Mapping[str, str]) -> int:
        """How many staged rows the target does not have."""
        settings = self.target.settings | {"join_use_nulls": 1}
        (row,) = self._clickhouse.rows(
            f"SELECT count() AS rows {missing_rows}", parameters, settings
        )
        return int(row["rows"])

    def _end_interrupted_insert(self, name: str) -> None:
        """End an insert of the same rows that an interrupted publisher has left running."""
        mine = "Settings['log_comment'] = {name:String}"
        running = f"SELECT 1 AS one FROM system.processes WHERE {mine}"
        if self._clickhouse.rows(running, {"name": name}):
            log.warning("ending_interrupted_insert", name=name)
            self._clickhouse.execute(
                f"KILL QUERY WHERE Settings['log_comment'] = {quote_string(name)} SYNC"
            )

    def _slices(self, load: Load) -> list[Slice]:
        """The chunks in parts of one block each."""
        results = self._ledger.attempts.accepted_of(load)
        slices = []
        for number, ranges in enumerate(load.chunks):
            size = max(results[number].bytes, 1)
            rows = max(1, min(SLICE_ROWS, SLICE_BYTES * total(ranges) // size))
            parts = chunk(ranges, rows, most=1 << 30)
            slices += [Slice(load.attempts[number], part) for part in parts]
        return slices

    def _check_target(
        self, load: Load, slices: list[Slice], answered: list[list[OffsetRange]]
    ) -> int:
        """Compare the target with the account; returns the rows.

        Rows of a replacing table may have been merged away, so there the missing ones are counted;
        in any other table every offset is counted.

        Args:
            answered: by chunk, the offsets that this load answers for.
        """
        accounts = loaded_by_partition(load, self._clickhouse, self._ledger)
        if self.target.replaces:
            self._check_replacing_target(load, slices)
            return load.loaded
        # A replica may lack rows, and may still have those that were replaced.
        counted = self._clickhouse.until(
            lambda: self._count_target(answered),
            lambda found: all(found[p] == (loaded, loaded) for p, loaded in accounts.items()),
        )
        for partition, loaded in accounts.items():
            found = counted[partition]
            if found != (loaded, loaded):
                raise AccountingError(
                    f"{loaded} rows to publish, and {self.target.name} holds {found.rows} rows of"
                    f" {found.offsets} offsets",
                    load_id=load.load_id,
                    partition=partition,
                )
        return load.loaded

    def _count_target(self, answered: list[list[OffsetRange]]) -> Mapping[int, Counted]:
        counted = defaultdict[int, Counted](lambda: Counted(0, 0))
        for ranges in answered:
            for row in self.target.count(ranges):
                before = counted[row["partition"]]
                counted[row["partition"]] = Counted(
                    before.rows + row["rows"], before.offsets + row["offsets"]
                )
        return counted

    def _check_replacing_target(self, load: Load, slices: list[Slice]) -> None:
        source = self._ledger.staging.audited_rows(load)
        for attempt, ranges in slices:
            parameters = {"topic": load.topic, "attempt": attempt, "load": load.load_id}
            missing_rows = self.target.missing_rows(source, ranges)
            missing = self._clickhouse.until(
                partial(self._count, missing_rows, parameters), lambda rows: not rows
            )
            if missing:
                raise AccountingError(
                    f"{self.target.name} lacks {missing} rows of {ranges[0]}",
                    load_id=load.load_id,
                    partition=ranges[0].partition,
                    offset=ranges[0].low,
                )
