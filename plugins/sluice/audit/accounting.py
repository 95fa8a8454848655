"""The accounting identity of a load and its breaker, counted in ClickHouse.

``planned = loaded + quarantined + tombstones + absent``, for every partition. The left side comes
from the plan; the right side is counted from what is there, not from what a task believes it sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from sluice.audit.refusal_reasons import ReasonCount, RefusalReasons
from sluice.contract import Contract
from sluice.contract.columns import columns_of
from sluice.errors import AccountingError, BreakerTripped
from sluice.ranges import OffsetRange, merge, total
from sluice.sql import quote_identifier
from sluice.store.attempts import Account
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load
from sluice.store.request import TimeWindow
from sluice.store.staging import StagedRows

log = structlog.get_logger()

LOGGED_REASONS = 5
"""Reasons for refusals that are logged, the most frequent first."""

TERMS = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent")
"""The counts of an account."""


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a load.

    Attributes:
        accounts: the terms of the identity by partition.
        versions: staged messages by the version they came in.
        attempts: chunk → its accepted attempt.
    """

    accounts: list[Account]
    versions: dict[str, int]
    attempts: dict[int, str]

    def sum(self, term: str) -> int:
        """A term of the identity over all partitions."""
        return sum(getattr(account, term) for account in self.accounts)

    def staged(self, rows: StagedRows) -> StagedRows:
        """Staged rows of the load, for a statement that must see all that were counted."""
        return rows.complete(self.attempts.values(), self.sum("loaded"))

    @property
    def sums(self) -> dict[str, int]:
        """Every term over all partitions."""
        return {term: self.sum(term) for term in TERMS}

    def detail(self) -> EventDetail:
        """What the ledger records of it, including which attempts were counted."""
        detail = EventDetail(versions=self.versions, attempts=self.attempts)
        return msgspec.structs.replace(detail, **self.sums)


class Accounting:
    """Counts one load; reads only, except for the account that it records."""

    def __init__(self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._db = quote_identifier(ledger.database)

    def balance(self, load: Load) -> Balance:
        """Count everything, and compare it with the plan.

        Raises:
            AccountingError: a chunk is unfinished, or an offset has no place or several; says
                which partition and by how much.
        """
        load_id, chunks = load.load_id, dict(enumerate(load.chunks))
        accepted = self._ledger.attempts.accepted_of(load)
        attempts = {number: result.attempt for number, result in accepted.items()}
        if unfinished := sorted(chunks.keys() - attempts.keys()):
            raise AccountingError(
                f"chunks {unfinished} were not read to their end; nothing is published",
                load_id=load_id,
            )
        parameters: dict[str, Any] = {
            "topic": load.topic,
            "load": load_id,
            "attempts": list(attempts.values()),
        }
        planned = self._planned(load_id, chunks)
        accounts = self._clickhouse.until(
            lambda: self._accounts(load, planned, parameters),
            lambda found: all(account.difference <= 0 for account in found),
        )
        self._ledger.attempts.add_accounts(load_id, self._contract.topic, accounts)
        if broken := [account for account in accounts if account.difference]:
            sums = "; ".join(map(_describe, broken))
            raise AccountingError(
                f"the counts do not add up, nothing is published: {sums}",
                load_id=load_id,
                partition=broken[0].partition,
            )
        balance = Balance(accounts=accounts, versions={}, attempts=attempts)
        return msgspec.structs.replace(balance, versions=self._versions(load, balance))

    def breaker(self, load_id: str, balance: Balance) -> BreakerTripped | None:
        """Why too many messages of a load were refused: the share, the limit and the most frequent
        reason; None when they were not too many.
        """
        refused, loaded = balance.sum("quarantined"), balance.sum("loaded")
        read, breaker = refused + loaded, self._contract.breaker
        reasons = self._clickhouse.until(
            lambda: self.reasons(load_id, list(balance.attempts.values())),
            lambda found: bool(found) or not refused,
        )
        for reason in reasons[:LOGGED_REASONS]:
            log.warning("refused", **msgspec.structs.asdict(reason))
        if not breaker.trips(refused, read):
            return None
        first = reasons[0]
        return BreakerTripped(
            f"{refused:,} of {read:,} messages were refused ({refused / read:.1%}; the"
            f" contract's limit is {breaker.max_refused_share:.1%}, from {breaker.min_refused:,}"
            " refused messages on). Most frequent:"
            f" {first.reason} {first.field} ({first.count:,} times, e.g. partition"
            f" {first.partition}, offset {first.offset}: {first.message}). Nothing is"
            f" published; the messages are in {self._ledger.database}.quarantine",
            load_id=load_id,
        )

    def outside(self, load: Load, balance: Balance, window: TimeWindow) -> int:
        """Staged rows whose timestamps lie outside of a range of time; 0 is no timestamp."""
        low, high = (int(at.timestamp() * 1000) if at else None for at in window)
        (row,) = self._of_staged(
            load,
            balance,
            f"countIf(_timestamp > 0 AND (_timestamp < {low or 0}"
            f" OR _timestamp >= {1 << 62 if high is None else high})) AS n",
        )
        return int(row["n"])

    def reasons(self, load_id: str, attempts: list[str]) -> list[ReasonCount]:
        """Why messages were refused, the most frequent first; sensitive values are masked."""
        database = self._ledger.database
        return RefusalReasons(self._contract, self._clickhouse, database, load_id, attempts).count()

    def nulls(self, load: Load, balance: Balance) -> dict[str, int]:
        """Null values among the staged rows by column, of the columns that may have any.

        Only for loads that this contract has staged; one of an older shape lacks columns.
        """
        columns = [c for c in columns_of(self._contract.message) if c.nullable]
        if not columns:
            return {}
        counts = (f"countIf(isNull({c.source})) AS {quote_identifier(c.name)}" for c in columns)
        (row,) = self._of_staged(load, balance, ", ".join(counts))
        return {name: int(count) for name, count in row.items()}

    def _planned(self, load_id: str, chunks: Mapping[int, Sequence[OffsetRange]]) -> dict[int, int]:
        ranges = [r for part in chunks.values() for r in part]
        if total(merge(ranges)) != total(ranges):
            raise AccountingError("its own ranges overlap", load_id=load_id)
        planned: dict[int, int] = {}
        for r in ranges:
            planned[r.partition] = planned.get(r.partition, 0) + r.count
        return planned

    def _accounts(
        self, load: Load, planned: dict[int, int], parameters: dict[str, Any]
    ) -> list[Account]:
        staged = self._count_staged(load, parameters)
        refused = self._count_refused(load.load_id, parameters)
        skipped = self._count_skipped(parameters)
        stray = (staged.keys() | refused.keys() | {p for p, _ in skipped}) - planned.keys()
        if stray:
            raise AccountingError(
                "there are rows of a partition that was not planned",
                load_id=load.load_id,
                partition=min(stray),
            )
        return [
            Account(
                partition=partition,
                planned=count,
                loaded=staged.get(partition, (0, 0))[0],
                upgraded=staged.get(partition, (0, 0))[1],
                quarantined=refused.get(partition, 0),
                tombstones=skipped.get((partition, "tombstone"), 0),
                absent=skipped.get((partition, "absent"), 0)
                + skipped.get((partition, "expired"), 0),
            )
            for partition, count in sorted(planned.items())
        ]

    def _count_staged(self, load: Load, parameters: dict[str, Any]) -> dict[int, tuple[int, int]]:
        """Staged rows by partition, and how many came in an older version."""
        rows = self._clickhouse.rows(
            "SELECT _partition AS partition, count() AS rows, uniqExact(_offset) AS offsets,"
            " countIf(_schema_version IN {older:Array(String)}) AS upgraded,"
            " countIf((_partition, _offset) IN (SELECT partition, offset"
            f"   FROM {self._db}.quarantine_rows WHERE topic = {{topic:String}}"
            "   AND load_id = {load:String} AND attempt IN {attempts:Array(String)})) AS both"
            f" {self._ledger.staging.rows(load).accepted} GROUP BY _partition",
            parameters | {"older": [v.name for v in self._contract.versions[:-1]]},
        )
        for row in rows:
            if row["rows"] != row["offsets"] or row["both"]:
                raise AccountingError(
                    f"{row['rows']} rows for {row['offsets']} offsets, {row['both']} of them also"
                    " in quarantine; nothing is published",
                    load_id=load.load_id,
                    partition=row["partition"],
                )
        return {row["partition"]: (row["rows"], row["upgraded"]) for row in rows}

    def _count_refused(self, load_id: str, parameters: dict[str, Any]) -> dict[int, int]:
        rows = self._clickhouse.rows(
            "SELECT q.partition AS partition, count() AS rows, uniqExact(q.offset) AS offsets"
            f" FROM {self._db}.quarantine_rows AS q WHERE topic = {{topic:String}}"
            " AND load_id = {load:String} AND attempt IN {attempts:Array(String)}"
            " GROUP BY q.partition",
            parameters,
        )
        for row in rows:
            if row["rows"] != row["offsets"]:
                raise AccountingError(
                    f"{row['rows']} quarantined rows for {row['offsets']} offsets; nothing is"
                    " published",
                    load_id=load_id,
                    partition=row["partition"],
                )
        return {row["partition"]: row["rows"] for row in rows}

    def _count_skipped(self, parameters: dict[str, Any]) -> dict[tuple[int, str], int]:
        rows = self._clickhouse.rows(
            "SELECT partition, toString(kind) AS kind, sum(high - low) AS offsets"
            f" FROM {self._db}.load_skips WHERE topic = {{topic:String}}"
            " AND load_id = {load:String} AND attempt IN {attempts:Array(String)}"
            " GROUP BY partition, kind",
            parameters,
        )
        return {(row["partition"], row["kind"]): row["offsets"] for row in rows}

    def _versions(self, load: Load, balance: Balance) -> dict[str, int]:
        rows = self._of_staged(
            load,
            balance,
            "_schema_version AS version, count() AS rows",
            " GROUP BY version ORDER BY version",
        )
        return {row["version"]: row["rows"] for row in rows}

    def _of_staged(
        self, load: Load, balance: Balance, selected: str, tail: str = ""
    ) -> list[dict[str, Any]]:
        """A query over all staged rows that were counted."""
        staged = balance.staged(self._ledger.staging.rows(load))
        return self._clickhouse.rows(
            f"SELECT {selected} {staged.accepted}{tail}",
            {"attempts": list(balance.attempts.values())},
        )


def _describe(account: Account) -> str:
    return (
        f"partition {account.partition}: planned {account.planned}, loaded {account.loaded},"
        f" quarantined {account.quarantined}, tombstones {account.tombstones}, absent"
        f" {account.absent}, difference {account.difference:+d}"
    )
