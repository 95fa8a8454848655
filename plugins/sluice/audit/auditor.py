"""The audit step of a load: the law, the breaker, the quality rules, and what it records."""

from typing import Any

import structlog

from sluice.audit.accounting import Auditor, Balance
from sluice.audit.anomalies import Anomalies, is_whole
from sluice.audit.quality_gate import Gate, Outcome
from sluice.audit.quality_results import QualityResults, judge
from sluice.contract import Contract
from sluice.errors import EngineError, QualityError, SluiceError
from sluice.settings import Connection
from sluice.store import ledger as states
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger, Load
from sluice.store.request import Request, window_of

log = structlog.get_logger()


class AuditStep:
    """Audits loads of one contract."""

    def __init__(
        self, contract: Contract, clickhouse: ClickHouse, ledger: Ledger, connection: Connection
    ) -> None:
        self._ledger = ledger
        self._auditor = Auditor(contract, clickhouse, ledger)
        self._gate = Gate(contract, clickhouse, ledger, connection)
        self._anomalies = Anomalies(clickhouse, ledger.database)
        self._results = QualityResults(clickhouse, ledger.database)

    def run(self, load: Load, owner: str) -> None:
        """Audit a load that was read to its end; the ledger says what came of it.

        Raises:
            AccountingError, BreakerTripped, QualityHeld: nothing will be published.
            EngineError, QualityError: it could not be audited; the audit can be repeated.
        """
        try:
            balance = self._auditor.balance(load.load_id)
            nulls = self._auditor.nulls(load.load_id, balance)
            self._check(load, balance, nulls)
        except SluiceError as error:
            passing = isinstance(error, EngineError | QualityError)
            state = states.FAILED if passing else states.HELD
            detail = {"error": str(error), "kind": type(error).__name__}
            self._ledger.record(load.load_id, load.topic, state, owner, detail)
            raise
        outside: dict[str, Any] = {}
        asked = Request.recorded(load.plan)
        if window := window_of(asked.low, asked.high):
            outside = {"outside": self._auditor.outside(load.load_id, balance, window)}
        detail = balance.record() | {"nulls": nulls} | outside
        self._ledger.record(load.load_id, load.topic, states.AUDITED, owner, detail)
        log.info("audited", load_id=load.load_id, **balance.told(), **outside)

    def _check(self, load: Load, balance: Balance, nulls: dict[str, int]) -> None:
        # Most of what is replayed may be refused again; it was refused before.
        if load.kind != "replay":
            self._auditor.check_breaker(load.load_id, balance)
        found, document = Outcome([], "")
        if rows := balance.sum("loaded"):
            attempts = list(balance.winners.values())
            found, document = self._gate.run(load.load_id, attempts, rows, is_whole(load))
        found += self._anomalies.find(load, balance, nulls)
        self._results.keep(load.load_id, load.topic, found, document)
        judge(load.load_id, found)
