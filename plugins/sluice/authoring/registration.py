"""Registers a contract's versions in a schema registry, as JSON Schemas."""

import msgspec

from sluice.contract import Contract
from sluice.contract.json_schema import json_schema
from sluice.kafka.schema_registry import SchemaRegistry


def register_versions(registry: SchemaRegistry, contract: Contract) -> dict[str, int]:
    """Register the versions from the last breaking one (renames, removals, lifts) to the current.

    After the first version, the subject gets backward compatibility: readers fill missing fields.
    Repeatable. Returns the ids by version.

    Raises:
        RegistryError: a version breaks compatibility, or the registry does not respond.
    """
    breaking = [n for n, v in enumerate(contract.versions) if v.renamed or v.removed or v.lift]
    ids: dict[str, int] = {}
    for version in contract.versions[breaking[-1] if breaking else 0 :]:
        text = msgspec.json.encode(json_schema(contract, version)).decode()
        ids[version.name] = registry.register(contract.subject, text)
        if len(ids) == 1:
            registry.set_compatibility(contract.subject, "BACKWARD")
    return ids
