"""Discovery of contracts: every module of one package that defines a ``contract``."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from sluice.contract.definition import Contract
from sluice.errors import ContractError


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

    Args:
        package: by default the one that ``SLUICE_CONTRACTS`` names.

    Raises:
        ContractError: two contracts have the same topic or table, or the package does not exist.
    """
    package = package or contracts_package()
    contracts: dict[str, Contract] = {}
    topics_by_table: dict[str, str] = {}
    for info in sorted(pkgutil.iter_modules(_import_package(package).__path__)):
        contract = getattr(importlib.import_module(f"{package}.{info.name}"), "contract", None)
        if not isinstance(contract, Contract):
            continue
        if contract.topic in contracts:
            raise ContractError(f"package {package} has two contracts", topic=contract.topic)
        if other := topics_by_table.get(contract.table.name):
            raise ContractError(
                f"topic {other!r} loads into the same table, {contract.table.name!r}",
                topic=contract.topic,
            )
        contracts[contract.topic] = contract
        topics_by_table[contract.table.name] = contract.topic
    return dict(sorted(contracts.items()))


def find(topic: str, package: str = "") -> Contract:
    """The contract of ``topic``.

    Raises:
        ContractError: there is none; the detail lists the topics that have one.
    """
    package = package or contracts_package()
    contracts = discover(package)
    if topic not in contracts:
        known = ", ".join(contracts) or "none"
        raise ContractError(
            f"no contract in package {package} (known topics: {known})", topic=topic
        )
    return contracts[topic]


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
