"""The audit step of a load: the accounting identity, the breaker, the quality rules."""

import msgspec
import structlog

from sluice.audit.accounting import Accounting, Balance
from sluice.audit.anomalies import Anomalies
from sluice.audit.quality_gate import QualityGate
from sluice.audit.quality_results import QualityResults, SuiteOutcome, raise_if_held
from sluice.contract import Contract
from sluice.errors import SluiceError
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
    ) -> None:
        self._ledger, self._gate = ledger, gate
        self._accounting = Accounting(contract, clickhouse, ledger)
        self._anomalies = Anomalies(clickhouse, ledger.database)
        self._results = QualityResults(clickhouse, ledger.database)

    def run(self, load: Load, owner: str) -> None:
        """Audit a load that was read to its end; the ledger records the result.

        Raises:
            AccountingError, BreakerTripped, QualityHeld: nothing will be published.
            EngineError, QualityError: it could not be audited; the audit can be repeated.
        """
        try:
            balance = self._accounting.balance(load.load_id)
            nulls = self._accounting.nulls(load.load_id, balance)
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
        # Most of what is replayed may be refused again; it was refused before.
        if load.kind != "replay":
            self._accounting.check_breaker(load.load_id, balance)
        outcome = SuiteOutcome([], "")
        if self._gate and (rows := balance.sum("loaded")):
            attempts = list(balance.attempts.values())
            outcome = self._gate.run(load.load_id, attempts, rows, load.loads_everything_new)
        results = [*outcome.results, *self._anomalies.find(load, balance, nulls)]
        self._results.save(load.load_id, load.topic, results, outcome.document)
        raise_if_held(load.load_id, results)

    def _outside(self, load: Load, balance: Balance) -> int:
        request = load.plan.request
        window = parse_window(request.low, request.high)
        return self._accounting.outside(load.load_id, balance, window) if window else 0
