"""Discovery of contracts: every module of one package that defines a ``contract``.

Each module is imported alone: one that cannot be imported costs its own topic, and no other.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import structlog

from sluice.contract.definition import Contract
from sluice.errors import ContractError

log = structlog.get_logger()


def contracts_package() -> str:
    """Name of the package that the setting ``SLUICE_CONTRACTS`` selects."""
    from sluice.settings import Settings

    return Settings().contracts


def contracts_folder(package: str = "") -> Path:
    """The folder of the package's modules.

    Raises:
        ContractError: the package does not exist.
    """
    return Path(_import_package(package or contracts_package()).__path__[0])


def project_folder(package: str = "") -> Path:
    """The folder that the package is imported from; ``sql/`` and ``docs/`` are in it too."""
    package = package or contracts_package()
    return contracts_folder(package).parents[package.count(".")]


def discover(package: str = "") -> dict[str, Contract]:
    """All contracts by topic: those of every module of the package that defines a ``contract``.

    A module that cannot be used is logged and left out; :func:`broken_contracts` has the reasons.

    Args:
        package: by default the one that ``SLUICE_CONTRACTS`` names.

    Raises:
        ContractError: the package does not exist.
    """
    contracts, broken = _import_all(package or contracts_package())
    for module, error in broken.items():
        log.error("contract_left_out", module=module, error=_sentence(error))
    return dict(sorted(contracts.items()))


def broken_contracts(package: str = "") -> dict[str, Exception]:
    """Module → why its contract cannot be used, of all modules of the package.

    Raises:
        ContractError: the package does not exist.
    """
    return _import_all(package or contracts_package())[1]


def raise_broken(package: str = "") -> None:
    """Fail when a contract cannot be used, so that Airflow shows why.

    Raises:
        ContractError: lists the modules and their errors.
    """
    if broken := broken_contracts(package):
        listed = "; ".join(f"{module}: {_sentence(error)}" for module, error in broken.items())
        raise ContractError(f"{len(broken)} contracts cannot be used: {listed}") from next(
            iter(broken.values())
        )


def find(topic: str, package: str = "") -> Contract:
    """The contract of ``topic``.

    Only the module that is named like the topic is imported, if it has the contract.

    Raises:
        ContractError: there is none, or its module cannot be imported; the detail lists the topics
            that have one.
    """
    package = package or contracts_package()
    named = re.sub(r"\W", "_", topic)
    modules = list(_modules(package))
    if f"{package}.{named}" in modules:
        contract = _import_contract(f"{package}.{named}")
        if contract and contract.topic == topic:
            return contract
    contracts, broken = _import_all(package)
    if topic in contracts:
        return contracts[topic]
    known = ", ".join(sorted(contracts)) or "none"
    also = "".join(f"; {name} cannot be used: {_sentence(e)}" for name, e in broken.items())
    raise ContractError(
        f"no contract in package {package} (known topics: {known}){also}", topic=topic
    )


def _import_all(package: str) -> tuple[dict[str, Contract], dict[str, Exception]]:
    """The contracts by topic, and the errors of the modules that cannot be used.

    Two contracts of one topic or one table are both left out: either may be the wrong one.
    """
    found: dict[str, Contract] = {}
    broken: dict[str, Exception] = {}
    for module in _modules(package):
        try:
            if contract := _import_contract(module):
                found[module] = contract
        except Exception as error:  # whatever a module raises when it is imported
            broken[module] = error
    topics, tables = dict[str, list[str]](), dict[str, list[str]]()
    for module, contract in found.items():
        topics.setdefault(contract.topic, []).append(module)
        tables.setdefault(contract.table.name, []).append(module)
    for module, contract in found.items():
        for other in (m for m in topics[contract.topic] if m != module):
            detail = f"{other} defines a contract of the same topic"
            broken[module] = ContractError(detail, topic=contract.topic)
        for its in (found[m] for m in tables[contract.table.name]):
            if its.topic != contract.topic:
                detail = f"topic {its.topic!r} loads into the same table, {its.table.name!r}"
                broken[module] = ContractError(detail, topic=contract.topic)
    return {c.topic: c for module, c in found.items() if module not in broken}, broken


def _modules(package: str) -> Iterator[str]:
    for info in sorted(pkgutil.iter_modules(_import_package(package).__path__)):
        yield f"{package}.{info.name}"


def _import_contract(module: str) -> Contract | None:
    """The contract that a module defines.

    Raises:
        ContractError: the module exits when it is imported.
        Exception: whatever else it raises.
    """
    try:
        contract = getattr(importlib.import_module(module), "contract", None)
    except SystemExit as error:
        raise ContractError(f"{module} exits when it is imported") from error
    return contract if isinstance(contract, Contract) else None


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ContractError) else f"{type(error).__name__}: {text}"


def _import_package(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if not package.startswith(error.name or ""):
            raise
        raise ContractError(
            f"package {package!r} does not exist: set SLUICE_CONTRACTS to the package of your"
            " contracts, and PYTHONPATH to the folder that contains it"
        ) from error
