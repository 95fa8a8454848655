"""The audit step of a load: the accounting identity, the breaker, the quality rules."""

from collections.abc import Sequence

import msgspec
import structlog

from sluice.audit.accounting import Accounting, Balance
from sluice.audit.anomalies import Anomalies
from sluice.audit.quality_gate import QualityGate
from sluice.audit.quality_results import (
    ANOMALY,
    LISTED,
    QualityResults,
    RuleResult,
    SuiteOutcome,
    judge,
)
from sluice.audit.trial import Trial
from sluice.contract import Contract
from sluice.errors import QualityHeld, SluiceError
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import EventDetail, Load, State
from sluice.store.request import parse_window

log = structlog.get_logger()


class Auditor:
    """Audits loads of one contract.

    Args:
        gate: runs the quality rules; None to audit without them.
    """

    def __init__(
        self,
        contract: Contract,
        clickhouse: ClickHouse,
        ledger: Ledger,
        gate: QualityGate | None,
        cluster: str = "",
    ) -> None:
        self._clickhouse, self._ledger, self._gate = clickhouse, ledger, gate
        self._topic = contract.topic
        self._accounting = Accounting(contract, clickhouse, ledger)
        self._trial = Trial(contract, clickhouse, ledger, cluster)
        self._anomalies = Anomalies(clickhouse, ledger.database)
        self._results = QualityResults(clickhouse, ledger.database)

    def run(self, load: Load, owner: str) -> None:
        """Audit a load that was read to its end; the ledger records the result.

        Raises:
            AccountingError, BreakerTripped, QualityHeld: nothing will be published.
            EngineError, QualityError: it could not be audited; the audit can be repeated.
        """
        try:
            balance = self._accounting.balance(load)
            nulls = self._accounting.nulls(load, balance)
            self._check(load, balance, nulls)
        except SluiceError as error:
            state = State.FAILED if error.retryable else State.HELD
            self._ledger.record(load.load_id, load.topic, state, owner, EventDetail.of_error(error))
            raise
        outside = self._outside(load, balance)
        detail = msgspec.structs.replace(balance.detail(), nulls=nulls, outside=outside)
        self._ledger.record(load.load_id, load.topic, State.AUDITED, owner, detail)
        log.info(
            "audited",
            load_id=load.load_id,
            **balance.sums,
            versions=balance.versions,
            outside=outside,
        )

    def _check(self, load: Load, balance: Balance, nulls: dict[str, int]) -> None:
        """Run every check, whatever the others found: a person who releases a load sees all."""
        outcome = SuiteOutcome([], "")
        if self._gate and (rows := balance.sum("loaded")):
            outcome = self._gate.run(load, list(balance.attempts.values()), rows)
        results = [*outcome.results, *self._anomalies.find(load, balance, nulls)]
        self._results.save(load.load_id, load.topic, results, outcome.document)
        failed = judge(load.load_id, results)
        # Most of what is replayed may be refused again; it was refused before.
        tripped = None if load.kind == "replay" else self._accounting.breaker(load.load_id, balance)
        found = [error for error in (tripped, failed, self._refused(load, balance)) if error]
        if found:
            detail = ". ".join(error.detail for error in found)
            raise type(found[0])(detail, load_id=load.load_id)

    def _refused(self, load: Load, balance: Balance) -> QualityHeld | None:
        """Why the target would not keep the rows."""
        try:
            self._trial.run(load, balance)
        except QualityHeld as held:
            return held
        return self._expired(load, balance)

    def _expired(self, load: Load, balance: Balance) -> QualityHeld | None:
        rows = self._trial.expired(load, balance)
        if not rows:
            return None
        return QualityHeld(
            f"{rows:,} rows are older than the table's TTL, which would remove them at once;"
            " nothing is published",
            load_id=load.load_id,
        )

    def unchecked(self, load_id: str) -> list[str]:
        """The critical rules that the load's last audit could not check, and why."""
        return _unchecked(self._last(load_id))

    def _last(self, load_id: str) -> list[RuleResult]:
        """The results of the load's last audit."""
        return self._clickhouse.until(lambda: self._results.results_of(self._topic, load_id), bool)

    def check_releasable(self, load: Load, unchecked: bool) -> Balance:
        """Refuse to release a load whose rows are not known, or that the target would refuse;
        returns its account.

        Args:
            unchecked: whether the person accepts critical rules that could not be checked.

        Raises:
            AccountingError: its counts do not add up, or it was not read to its end.
            QualityHeld: a critical rule could not be checked, no rule has seen the rows, or the
                target refuses one.
        """
        load_id = load.load_id
        balance = self._accounting.balance(load)
        self._trial.run(load, balance)
        if not self._gate or unchecked or not balance.sum("loaded"):
            return balance
        results = self._last(load_id)
        if all(r.expectation == ANOMALY for r in results):
            raise QualityHeld(
                "no quality rule has seen its rows: clear the audit task to run them, or release"
                " it with --unchecked",
                load_id=load_id,
            )
        if rules := _unchecked(results):
            raise QualityHeld(
                f"{len(rules)} critical quality rules could not be checked:"
                f" {'; '.join(rules[:LISTED])}. Clear the audit task to check again, or release it"
                " with --unchecked",
                load_id=load_id,
            )
        return balance

    def _outside(self, load: Load, balance: Balance) -> int:
        request = load.plan.request
        window = parse_window(request.low, request.high)
        return self._accounting.outside(load, balance, window) if window else 0


def _unchecked(results: Sequence[RuleResult]) -> list[str]:
    return [f"{r.description} ({r.error})" for r in results if r.is_unchecked]
