"""One sample per released version: every released version must stay readable.

A sample is ``samples/<topic>/<version>.json`` beside the contracts, committed with its version. It
is never overwritten: if a contract cannot read it, messages in Kafka are unreadable, too.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec

from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import as_version
from sluice.contract import Contract, Version
from sluice.contract.discovery import contracts_folder
from sluice.decode.decoder import Decoder
from sluice.refusals import Reason, Refusal


def samples_folder() -> Path:
    """The folder of the samples of all contracts."""
    return contracts_folder() / "samples"


def sample_path(contract: Contract, version: Version, folder: Path) -> Path:
    """The path of a version's sample."""
    return folder / contract.topic / f"{version.name}.json"


def write_missing(contract: Contract, folder: Path) -> list[Path]:
    """Write a sample of each version that has none; returns their paths.

    A version with a lift function cannot be derived from the current one: its sample must be
    written while it is current.
    """
    written = []
    message = msgspec.to_builtins(example_message(contract, Random(1)), str_keys=True)
    for version in contract.versions:
        path = sample_path(contract, version, folder)
        older = as_version(contract, version, message)
        if path.exists() or older is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(older)) + b"\n")
        written.append(path)
    return written


def unreadable_versions(contract: Contract, folder: Path) -> Iterator[str]:
    """What the current contract cannot read, one sentence each, with a remedy."""
    decoder = Decoder(contract)
    for version in contract.versions:
        path = sample_path(contract, version, folder)
        if not path.exists():
            yield (
                f"{contract.topic}: version {version.name} has no sample;"
                " write it with 'sluice schema samples --write' and commit it with the version"
            )
            continue
        data = path.read_bytes()
        for stated_version in (version.name, ""):
            result = decoder.decode(data, stated_version)
            if isinstance(result, Refusal):
                yield _remedy(contract, version, result)
                break
    known = {version.name for version in contract.versions}
    for path in sorted((folder / contract.topic).glob("*.json")):
        if path.stem not in known:
            yield (
                f"{contract.topic}: there is a sample of version {path.stem}, which is no longer in"
                " the contract; every released version must stay readable"
            )


def _remedy(contract: Contract, version: Version, refusal: Refusal) -> str:
    problem = f"{contract.topic}: messages of version {version.name} can no longer be read: "
    problem += f"{refusal.message}."
    major, minor = contract.version.number
    field = refusal.field
    if refusal.reason is Reason.MISSING_FIELD and "." not in field and "[" not in field:
        return (
            f"{problem} A new field needs a value for older messages: add"
            f' Version(name="{major}.{minor + 1}", released=<today>, added={{"{field}": <value>}})'
            f" to the contract, or give {field!r} a default in {contract.message.__name__}; for a"
            f' renamed field, Version(name="{major + 1}.0", …, renamed={{"<old>":'
            f' "{field}"}})'
        )
    return (
        f"{problem} A field of a nested Struct needs a default; a change of type or bounds needs"
        f' Version(name="{major + 1}.0", …, lift=<function>) that converts older messages'
        " to new ones"
    )
