"""What a person decides about a load that its audit holds: release it, or discard it."""

import msgspec
import structlog

from sluice.errors import LoadLost
from sluice.loader import Loader
from sluice.store.load_state import EventDetail, Load, State

log = structlog.get_logger()


def release(loader: Loader, load_id: str, who: str, why: str, unchecked: bool = False) -> None:
    """Publish a load in spite of what held it.

    Raises:
        LoadLost, AccountingError, QualityHeld: see :func:`allow`.
    """
    allow(loader, load_id, who, why, unchecked)
    loader.publish(load_id)


def allow(loader: Loader, load_id: str, who: str, why: str, unchecked: bool = False) -> None:
    """Let a held load be published; the accounting identity must hold all the same.

    Args:
        unchecked: whether to publish although a critical rule could not be checked.

    Raises:
        LoadLost: the load is not held.
        AccountingError: its counts do not add up, or it was not read to its end.
        QualityHeld: a critical rule could not be checked, and ``unchecked`` is not set.
    """
    load = _held(loader, load_id)
    balance = loader.auditor.check_releasable(load_id, unchecked)
    detail = msgspec.structs.replace(balance.detail(), released_by=who, why=why)
    loader.ledger.record(load_id, load.topic, State.AUDITED, loader.owner, detail)
    log.warning("released", load_id=load_id, who=who, why=why)


def discard(loader: Loader, load_id: str, who: str, why: str) -> None:
    """Give a held load up; its offsets are free, and the next load reads them again.

    Raises:
        LoadLost: the load is not held, or has been released meanwhile.
    """
    load = _held(loader, load_id)
    if not loader.settler.abandon(load, EventDetail(discarded_by=who, why=why)):
        raise LoadLost("it has been released, or has ended, meanwhile", load_id=load_id)


def _held(loader: Loader, load_id: str) -> Load:
    load = loader.known(load_id)
    if load.state is not State.HELD:
        raise LoadLost(f"the load is {load.state}, and not held", load_id=load_id)
    return load
