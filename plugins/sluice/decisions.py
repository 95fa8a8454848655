"""What a person decides about a load: release it, or discard it.

A load that its audit holds waits for that decision. A load whose run is over or was deleted waits
for the next plan of the topic; a person may end it before.
"""

import msgspec
import structlog

from sluice.errors import LoadLost
from sluice.loader import Loader
from sluice.publish.take_back import TakeBack
from sluice.store.load_state import EventDetail, Load, State

log = structlog.get_logger()


def release(loader: Loader, load_id: str, who: str, why: str, unchecked: bool = False) -> None:
    """Publish a load in spite of what held it, or complete one that has passed its audit.

    Raises:
        LoadLost, AccountingError, QualityHeld: see :func:`allow`.
    """
    state = loader.known(load_id).state
    if state is not State.AUDITED and not state.is_publishing:
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
    balance = loader.auditor.check_releasable(load, unchecked)
    detail = msgspec.structs.replace(balance.detail(), released_by=who, why=why)
    loader.ledger.record(load_id, load.topic, State.AUDITED, loader.owner, detail)
    log.warning("released", load_id=load_id, who=who, why=why)


def discard(loader: Loader, load_id: str, who: str, why: str, run_is_over: bool = False) -> None:
    """Give a load up; its offsets are free, and the next load reads them again.

    A held load may be discarded at any time, another one once its run is over. Tasks of a run that
    is not over after all fail at their next step; nothing is loaded twice. If the load has begun to
    publish, its visible rows are removed.

    Args:
        run_is_over: the person states that the load's run is over or was deleted; counts where
            that cannot be determined from here.

    Raises:
        LoadLost: the load has ended, or its run may not be over.
        ReplaceUnsupported, AccountingError: see :meth:`TakeBack.run`.
    """
    load = loader.known(load_id)
    if not load.live:
        raise LoadLost(f"the load is {load.state}: there is nothing to discard", load_id=load_id)
    if load.state is not State.HELD:
        _check_over(loader, load, run_is_over)
    detail = EventDetail(discarded_by=who, why=why)
    if load.state.is_publishing:
        target = loader.publisher.target
        TakeBack(loader.clickhouse, loader.ledger, target).run(load, loader.owner, detail)
    elif not loader.settler.abandon(load, detail):
        raise LoadLost(
            "it has begun to publish, or has ended, meanwhile: see 'sluice status'",
            load_id=load_id,
        )


def _check_over(loader: Loader, load: Load, run_is_over: bool) -> None:
    """Refuse to end a load that its run may still continue.

    Raises:
        LoadLost: the run is not over, or that cannot be determined and no person has stated it.
    """
    over = loader.settler.is_over(load.owner)
    last = f"{loader.ledger.last_activity(load):%F %T} UTC"
    if over is False:
        raise LoadLost(
            f"the load is {load.state}, and its run is not over: {load.owner}, last active {last}."
            " End the run first, then discard the load",
            load_id=load.load_id,
        )
    if over is None and not run_is_over:
        raise LoadLost(
            f"the load is {load.state}, last active {last}, and whether its run is over cannot be"
            f" determined from here: {load.owner}. If it is over or was deleted, repeat the command"
            " with --run-is-over",
            load_id=load.load_id,
        )


def _held(loader: Loader, load_id: str) -> Load:
    load = loader.known(load_id)
    if load.state is not State.HELD:
        raise LoadLost(f"the load is {load.state}, and not held", load_id=load_id)
    return load
