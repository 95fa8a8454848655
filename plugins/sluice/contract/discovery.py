"""Finding the contracts: every module of one package that defines a ``contract``."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from sluice.contract.contract import Contract
from sluice.errors import ContractError


def contracts_package() -> str:
    """The package that ``SLUICE_CONTRACTS`` names."""
    from sluice.settings import Settings

    return Settings().contracts


def contracts_folder(package: str = "") -> Path:
    """The folder of the package's modules.

    Raises:
        ContractError: there is no such package.
    """
    return Path(_import_package(package or contracts_package()).__path__[0])


def project_folder(package: str = "") -> Path:
    """The folder that the package is imported from; ``sql/`` and ``docs/`` are beside it."""
    package = package or contracts_package()
    return contracts_folder(package).parents[package.count(".")]


def discover(package: str = "") -> dict[str, Contract]:
    """All contracts by topic: every module of the package that defines a ``contract``.

    Args:
        package: by default the one that ``SLUICE_CONTRACTS`` names.

    Raises:
        ContractError: two modules claim one topic or table, or a module cannot be imported.
    """
    package = package or contracts_package()
    found: dict[str, Contract] = {}
    tables: dict[str, str] = {}
    for info in sorted(pkgutil.iter_modules(_import_package(package).__path__)):
        contract = getattr(importlib.import_module(f"{package}.{info.name}"), "contract", None)
        if not isinstance(contract, Contract):
            continue
        if contract.topic in found:
            raise ContractError(f"topic {contract.topic!r} has two contracts under {package}")
        if other := tables.get(contract.table.name):
            raise ContractError(
                f"topics {other!r} and {contract.topic!r} both load into {contract.table.name!r}"
            )
        found[contract.topic] = contract
        tables[contract.table.name] = contract.topic
    return dict(sorted(found.items()))


def find(topic: str, package: str = "") -> Contract:
    """The contract of ``topic``.

    Raises:
        ContractError: there is none; the message lists those that there are.
    """
    package = package or contracts_package()
    contracts = discover(package)
    if topic not in contracts:
        known = ", ".join(contracts) or "none"
        raise ContractError(f"no contract for topic {topic!r} under {package} (known: {known})")
    return contracts[topic]


def _import_package(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if not package.startswith(error.name or ""):
            raise
        raise ContractError(
            f"there is no package {package!r}: set SLUICE_CONTRACTS to the package of your"
            " contracts, and PYTHONPATH to the folder that it is imported from"
        ) from error
