"""One sample of each released version, kept for good: what has been readable stays readable.

A sample is ``samples/<topic>/<version>.json`` beside the contracts, committed with its version. It is
never written again: a contract that can no longer read one would make messages in Kafka unreadable.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec

from sluice.authoring.sample_messages import as_version
from sluice.contract import Contract, Version
from sluice.contract.discovery import contracts_folder
from sluice.decode.decoder import Decoder
from sluice.errors import Reason, Refusal


def samples_folder() -> Path:
    """Where the samples of all contracts are kept."""
    return contracts_folder() / "samples"


def sample_path(contract: Contract, version: Version, folder: Path) -> Path:
    """Where a version's sample lies."""
    return folder / contract.topic / f"{version.name}.json"


def write_missing(contract: Contract, folder: Path) -> list[Path]:
    """Write a sample of each version that has none; gives their paths.

    A version that a function lifts cannot be made from the current one: its sample must be
    written when it is current.
    """
    written = []
    message = msgspec.to_builtins(contract.example(Random(1)), str_keys=True)
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
    """What today's contract cannot read any more, a sentence each, with what to do about it."""
    decoder = Decoder(contract)
    for version in contract.versions:
        path = sample_path(contract, version, folder)
        if not path.exists():
            yield (
                f"{contract.topic}: version {version.name} has no sample;"
                " 'sluice schema samples --write' makes it, to be committed with the version"
            )
            continue
        data = path.read_bytes()
        for named in (version.name, ""):
            found = decoder.decode(data, named)
            if isinstance(found, Refusal):
                yield _advice(contract, version, found)
                break
    known = {version.name for version in contract.versions}
    for path in sorted((folder / contract.topic).glob("*.json")):
        if path.stem not in known:
            yield (
                f"{contract.topic}: there is a sample of version {path.stem}, which the contract"
                " does not know any more; every released version stays readable"
            )


def _advice(contract: Contract, version: Version, refusal: Refusal) -> str:
    said = f"{contract.topic}: messages of version {version.name} cannot be read any more: "
    said += f"{refusal.message}."
    major, minor = contract.version.number
    field = refusal.field
    if refusal.reason is Reason.MISSING_FIELD and "." not in field and "[" not in field:
        return (
            f"{said} A new field needs the value that older messages get: add"
            f' Version(name="{major}.{minor + 1}", released=<today>, added={{"{field}": <value>}})'
            f" to the contract, or give {field!r} a default in {contract.message.__name__}; for a"
            f' field that was renamed, Version(name="{major + 1}.0", …, renamed={{"<old>":'
            f' "{field}"}})'
        )
    return (
        f"{said} A field of a nested Struct needs a default; a change of type or bounds needs"
        f' Version(name="{major + 1}.0", …, lift=<function>) that turns older messages into new'
        " ones"
    )
