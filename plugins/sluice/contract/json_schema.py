"""The JSON Schema of a version of a contract, as registered in a schema registry."""

from typing import Any

import msgspec

from sluice.contract.definition import Contract
from sluice.contract.parts import Version
from sluice.contract.versions import version_class

VERSION_KEY = "x-version"
"""Key under which a registered schema carries its version."""


def json_schema(contract: Contract, version: Version) -> dict[str, Any]:
    """The JSON Schema of a version, as it is registered.

    A field that a version added is not required, because readers fill it in. Objects are closed.
    Registries therefore accept a version that only adds fields as backward compatible.
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
