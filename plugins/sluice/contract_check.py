"""Refusing a contract that would lose data or fail later, when it is built."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from sluice.errors import ContractError

if TYPE_CHECKING:
    from sluice.contract import Contract, Version


def check(contract: Contract) -> None:
    """Refuse a contract that would lose data or fail later.

    Raises:
        ContractError: naming the topic and what to change.
    """
    message = contract.message
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", contract.topic):
        _refuse(contract, "the topic's name has characters that Kafka does not allow")
    if not message.__struct_config__.frozen:
        name = message.__name__
        _refuse(contract, f"{name} must be frozen: class {name}(Struct, frozen=True)")
    fields = {f.name for f in msgspec.structs.fields(message)}
    if contract.key not in fields:
        _refuse(contract, f"key {contract.key!r} is not a field of {message.__name__}")
    if unknown := contract.sensitive - fields:
        names = ", ".join(sorted(unknown))
        _refuse(contract, f"sensitive names no field of {message.__name__}: {names}")
    _check_versions(contract)
    _check_engine(contract)


def _check_versions(contract: Contract) -> None:
    versions = contract.versions
    if not versions:
        _refuse(contract, "versions is empty; the current version is its last entry")
    for version in versions:
        if not re.fullmatch(r"\d+\.\d+", version.name):
            _refuse(contract, f"version {version.name!r} is not of the form major.minor")
    numbers = [version.number for version in versions]
    if numbers != sorted(set(numbers)):
        _refuse(contract, "versions must be listed oldest first, each once")
    first = versions[0]
    if first.added or first.renamed or first.removed or first.lift:
        _refuse(contract, "the first version changes nothing: there is no older message to lift")
    fields = {f.name: f for f in msgspec.structs.fields(contract.message)}
    known = set(fields)  # names at the version that the loop has come back to
    for before, version in reversed(list(pairwise(versions))):
        _check_step(contract, before, version, known, fields)
        for old, new in version.renamed.items():
            known.discard(new)
            known.add(old)
        known.update(version.removed)
        known.difference_update(version.added)


def _check_step(
    contract: Contract,
    before: Version,
    version: Version,
    known: set[str],
    fields: dict[str, msgspec.structs.FieldInfo],
) -> None:
    name, message = version.name, contract.message.__name__
    breaking = version.renamed or version.removed or version.lift
    if breaking and version.number[0] == before.number[0]:
        _refuse(
            contract,
            f"version {name} renames, removes or lifts, which older readers do not survive:"
            f" make it {version.number[0] + 1}.0",
        )
    for field, value in version.added.items():
        if field not in known:
            _refuse(contract, f"version {name} adds {field!r}, no field of {message}")
        if field in fields and not fields[field].required:
            _refuse(
                contract,
                f"{field!r} has a default in {message}, so messages of every version may leave it"
                f" out; take it out of version {name}'s `added`",
            )
        try:
            hash(value)
        except TypeError:
            _refuse(contract, f"version {name}: the value for {field!r} must be immutable")
    for old, new in version.renamed.items():
        if new not in known:
            _refuse(contract, f"version {name} renames {old!r} to {new!r}, no field of {message}")
        if old in known:
            _refuse(contract, f"version {name} renames {old!r}, which is there all the same")
    for field in version.removed:
        if field in known:
            _refuse(contract, f"version {name} removes {field!r}, which is there all the same")


def _check_engine(contract: Contract) -> None:
    engine = contract.table.engine
    if not re.fullmatch(r"MergeTree(\(\))?|ReplacingMergeTree\(\w+\)", engine):
        _refuse(
            contract,
            f"table engine {engine!r}: it must be MergeTree, or ReplacingMergeTree with its version"
            " column; their Replicated forms come from the setting SLUICE_CLUSTER",
        )
    if contract.table.replaces and not all(
        re.fullmatch(r"\w+", k) for k in contract.table.order_by
    ):
        _refuse(
            contract,
            "the order key of a ReplacingMergeTree, by which rows replace each other, must be"
            " made of plain columns",
        )


def _refuse(contract: Any, why: str) -> NoReturn:
    raise ContractError(f"contract of topic {contract.topic!r}: {why}")
