"""The audit of a load before anything of it is visible: the law, the breaker, the quality rules.

Everything is counted in ClickHouse, from what is there, not from what a task believes it sent.
"""

from typing import Any

import msgspec
import structlog

from sluice.contract import Contract
from sluice.contract.columns import columns_of
from sluice.contract.masking import masked
from sluice.errors import AccountingError, BreakerTripped
from sluice.ranges import OffsetRange, merge, total
from sluice.sql import quoted
from sluice.store.attempts import Account
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.request import Window

log = structlog.get_logger()

COMMONEST = 5
"""Reasons named in the log when the breaker trips."""


class Reasons(msgspec.Struct, frozen=True, kw_only=True):
    """How often one reason occurred, with one example and what it is traced by."""

    reason: str
    field: str
    count: int
    partition: int
    offset: int
    message: str
    correlation_id: str = ""


_CORRELATION_ID = (
    "base64Decode(arrayFirst(h -> lower(h.name) IN ('correlation_id', 'x-correlation-id'),"
    " q.headers).value)"
)


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a load.

    Attributes:
        accounts: the law's terms by partition.
        versions: staged messages by the version they came in.
        winners: the attempt of each chunk that counts.
    """

    accounts: list[Account]
    versions: dict[str, int]
    winners: dict[int, str]

    def sum(self, term: str) -> int:
        """A term of the law over all partitions."""
        return sum(getattr(account, term) for account in self.accounts)

    def told(self) -> dict[str, Any]:
        """Its sums, as a log tells them."""
        terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent")
        return {term: self.sum(term) for term in terms} | {"versions": self.versions}

    def record(self) -> dict[str, Any]:
        """What the ledger keeps of it: also which attempts were counted."""
        attempts = {str(n): a for n, a in self.winners.items()}
        return self.told() | {"attempts": attempts}


class Auditor:
    """Audits one load; reads only, but for the account that it records."""

    def __init__(self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger) -> None:
        self._contract, self._clickhouse, self._ledger = contract, clickhouse, ledger
        self._db = quoted(ledger.database)

    def balance(self, load_id: str) -> Balance:
        """Count everything, and hold it against the plan.

        Raises:
            AccountingError: a chunk is unfinished, or an offset has no place or several. Says
                which partition and by how much.
        """
        chunks = self._ledger.chunks(load_id)
        winners = {n: result.attempt for n, result in self._ledger.winners(load_id).items()}
        if unfinished := sorted(chunks.keys() - winners.keys()):
            raise AccountingError(
                f"load {load_id}: chunks {unfinished} were not read to their end;"
                " nothing is published"
            )
        planned = self._planned(load_id, chunks)
        parameters: dict[str, Any] = {"load": load_id, "attempts": list(winners.values())}
        staged = self._count_staged(load_id, parameters)
        refused = self._count_refused(load_id, parameters)
        skipped = self._count_skipped(parameters)
        accounts = [
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
        stray = (staged.keys() | refused.keys() | {p for p, _ in skipped}) - planned.keys()
        if stray:
            raise AccountingError(
                f"load {load_id}: rows of partitions {sorted(stray)}, not planned"
            )
        self._ledger.add_accounts(load_id, self._contract.topic, accounts)
        broken = [account for account in accounts if account.difference]
        if broken:
            sums = "; ".join(
                f"partition {a.partition}: planned {a.planned}, loaded {a.loaded}, quarantined"
                f" {a.quarantined}, tombstones {a.tombstones}, absent {a.absent}, difference"
                f" {a.difference:+d}"
                for a in broken
            )
            raise AccountingError(f"load {load_id} does not add up, nothing is published: {sums}")
        return Balance(
            accounts=accounts,
            versions=self._versions(load_id, parameters),
            winners=winners,
        )

    def check_breaker(self, load_id: str, balance: Balance) -> None:
        """Stop a load in which too much was refused.

        Raises:
            BreakerTripped: names the share, the limit and the commonest reason.
        """
        refused, loaded = balance.sum("quarantined"), balance.sum("loaded")
        read, breaker = refused + loaded, self._contract.breaker
        reasons = self.reasons(load_id, list(balance.winners.values()))
        for reason in reasons[:COMMONEST]:
            log.warning("refused", **msgspec.structs.asdict(reason))
        if breaker.trips(refused, read):
            commonest = reasons[0]
            raise BreakerTripped(
                f"load {load_id}: {refused:,} of {read:,} messages refused"
                f" ({refused / read:.1%}; the contract's limit is {breaker.max_refused_share:.1%})."
                f" Commonest: {commonest.reason} {commonest.field} ({commonest.count:,} times,"
                f" e.g. partition {commonest.partition}, offset {commonest.offset}:"
                f" {commonest.message}). Nothing is published; the messages are in"
                f" {self._ledger.database}.quarantine"
            )

    def outside(self, load_id: str, balance: Balance, window: Window) -> int:
        """Staged rows whose timestamps lie outside of a range of time."""
        low, high = (int(at.timestamp() * 1000) if at else None for at in window)
        rows = self._clickhouse.rows(
            f"SELECT countIf(s._timestamp < {low or 0}"
            f" OR s._timestamp >= {1 << 62 if high is None else high}) AS n"
            f" FROM {self._ledger.staging_table(load_id)} AS s"
            " WHERE s._attempt IN {attempts:Array(String)}",
            {"attempts": list(balance.winners.values())},
        )
        return int(rows[0]["n"])

    def reasons(self, load_id: str, attempts: list[str]) -> list[Reasons]:
        """Why messages were refused, the commonest first; sensitive values are masked."""
        rows = self._clickhouse.rows(
            "SELECT q.reason AS reason, q.field AS field, count() AS count,"
            f" min((q.partition, q.offset, q.message, {_CORRELATION_ID})) AS first,"
            " first.1 AS partition, first.2 AS offset, first.3 AS message,"
            " first.4 AS correlation_id"
            f" FROM {self._db}.quarantine_rows AS q"
            " WHERE load_id = {load:String} AND attempt IN {attempts:Array(String)}"
            " GROUP BY q.reason, q.field ORDER BY count DESC, reason, field",
            {"load": load_id, "attempts": attempts},
        )
        found = [Reasons(**{k: v for k, v in row.items() if k != "first"}) for row in rows]
        return [
            msgspec.structs.replace(r, message=masked(self._contract, r.reason, r.field, r.message))
            for r in found
        ]

    def _planned(self, load_id: str, chunks: dict[int, list[OffsetRange]]) -> dict[int, int]:
        ranges = [r for part in chunks.values() for r in part]
        if total(merge(ranges)) != total(ranges):
            raise AccountingError(f"load {load_id}: its own ranges overlap")
        planned: dict[int, int] = {}
        for r in ranges:
            planned[r.partition] = planned.get(r.partition, 0) + r.count
        return planned

    def _count_staged(self, load_id: str, parameters: dict[str, Any]) -> dict[int, tuple[int, int]]:
        """Staged rows by partition, and how many came in an older version."""
        rows = self._clickhouse.rows(
            "SELECT s._partition AS partition, count() AS rows, uniqExact(s._offset) AS offsets,"
            " countIf(s._schema_version IN {older:Array(String)}) AS upgraded,"
            " countIf((s._partition, s._offset) IN (SELECT partition, offset"
            f"   FROM {self._db}.quarantine_rows WHERE load_id = {{load:String}}"
            "   AND attempt IN {attempts:Array(String)})) AS both"
            f" FROM {self._ledger.staging_table(load_id)} AS s"
            " WHERE s._attempt IN {attempts:Array(String)} GROUP BY s._partition",
            parameters | {"older": [v.name for v in self._contract.versions[:-1]]},
        )
        for row in rows:
            if row["rows"] != row["offsets"] or row["both"]:
                raise AccountingError(
                    f"load {load_id}, partition {row['partition']}: {row['rows']} rows for"
                    f" {row['offsets']} offsets, {row['both']} of them also in quarantine;"
                    " nothing is published"
                )
        return {row["partition"]: (row["rows"], row["upgraded"]) for row in rows}

    def _count_refused(self, load_id: str, parameters: dict[str, Any]) -> dict[int, int]:
        rows = self._clickhouse.rows(
            "SELECT q.partition AS partition, count() AS rows, uniqExact(q.offset) AS offsets"
            f" FROM {self._db}.quarantine_rows AS q WHERE load_id = {{load:String}}"
            " AND attempt IN {attempts:Array(String)} GROUP BY q.partition",
            parameters,
        )
        for row in rows:
            if row["rows"] != row["offsets"]:
                raise AccountingError(
                    f"load {load_id}, partition {row['partition']}: {row['rows']} quarantined rows"
                    f" for {row['offsets']} offsets; nothing is published"
                )
        return {row["partition"]: row["rows"] for row in rows}

    def _count_skipped(self, parameters: dict[str, Any]) -> dict[tuple[int, str], int]:
        rows = self._clickhouse.rows(
            "SELECT partition, toString(kind) AS kind, sum(high - low) AS offsets"
            f" FROM {self._db}.load_skips WHERE load_id = {{load:String}}"
            " AND attempt IN {attempts:Array(String)} GROUP BY partition, kind",
            parameters,
        )
        return {(row["partition"], row["kind"]): row["offsets"] for row in rows}

    def _versions(self, load_id: str, parameters: dict[str, Any]) -> dict[str, int]:
        rows = self._clickhouse.rows(
            "SELECT s._schema_version AS version, count() AS rows"
            f" FROM {self._ledger.staging_table(load_id)} AS s"
            " WHERE s._attempt IN {attempts:Array(String)} GROUP BY version ORDER BY version",
            parameters,
        )
        return {row["version"]: row["rows"] for row in rows}

    def nulls(self, load_id: str, balance: Balance) -> dict[str, int]:
        """Null values among the staged rows by column, of the columns that may have any.

        Asked of loads that this contract has staged; one of an older shape lacks columns.
        """
        columns = [c for c in columns_of(self._contract.message) if c.nullable]
        if not columns:
            return {}
        counts = (f"countIf(isNull({c.source})) AS {quoted(c.name)}" for c in columns)
        (row,) = self._clickhouse.rows(
            f"SELECT {', '.join(counts)} FROM {self._ledger.staging_table(load_id)}"
            " WHERE _attempt IN {attempts:Array(String)}",
            {"attempts": list(balance.winners.values())},
        )
        return {name: int(count) for name, count in row.items()}
