"""What a person decides about a load that its audit holds."""

import structlog

from sluice.audit.accounting import Auditor
from sluice.errors import LoadLost
from sluice.loader import Loader
from sluice.store import ledger as states
from sluice.store.ledger import Load

log = structlog.get_logger()


def release(loader: Loader, load_id: str, who: str, why: str) -> None:
    """Publish a load in spite of what held it.

    Raises:
        LoadLost, AccountingError: see :func:`allow`.
    """
    allow(loader, load_id, who, why)
    loader.publish(load_id)


def allow(loader: Loader, load_id: str, who: str, why: str) -> None:
    """Let a load be published in spite of what held it; the law must hold all the same.

    Raises:
        LoadLost: the load is not held.
        AccountingError: it does not add up, or was not read to its end.
    """
    load = _held(loader, load_id)
    balance = Auditor(loader.contract, loader.clickhouse, loader.ledger).balance(load_id)
    detail = balance.record() | {"released_by": who, "why": why}
    loader.ledger.record(load_id, load.topic, states.AUDITED, loader.owner, detail)
    log.warning("released", load_id=load_id, who=who, why=why)


def discard(loader: Loader, load_id: str, who: str, why: str) -> None:
    """Give a held load up; its offsets are free, and the next load reads them again.

    Raises:
        LoadLost: the load is not held, or has been released meanwhile.
    """
    load = _held(loader, load_id)
    if not loader.settler.abandon(load, {"discarded_by": who, "why": why}):
        raise LoadLost(f"load {load_id} has been released, or has ended, meanwhile")


def _held(loader: Loader, load_id: str) -> Load:
    load = loader.known(load_id)
    if load.state != states.HELD:
        raise LoadLost(f"load {load_id} is {load.state}, and not held")
    return load
