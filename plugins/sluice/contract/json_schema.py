"""The JSON Schema of a contract's version, as a schema registry has it."""

from typing import Any

import msgspec

from sluice.contract.contract import Contract
from sluice.contract.parts import Version
from sluice.contract.versions import version_class

VERSION_KEY = "x-version"
"""Where a schema that Sluice registered names its version."""


def json_schema(contract: Contract, version: Version) -> dict[str, Any]:
    """The JSON Schema of a version, as it is registered.

    A field that came with a version is not required, since readers fill it, and objects are
    closed: registries then see that a version that only adds is backward compatible.
    """
    schema = msgspec.json.schema(version_class(contract, version))
    definitions: dict[str, Any] = schema["$defs"]
    message: dict[str, Any] = definitions.pop(schema["$ref"].rpartition("/")[2])
    names = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    filled = {names.get(n, n) for v in contract.versions for n in v.added}
    message["required"] = [name for name in message["required"] if name not in filled]
    for definition in (message, *definitions.values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    head = {"$schema": "http://json-schema.org/draft-07/schema#", VERSION_KEY: version.name}
    return {**head, **message, **({"$defs": definitions} if definitions else {})}
