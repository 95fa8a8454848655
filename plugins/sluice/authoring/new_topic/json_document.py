"""A JSON Schema document: what its references lead to, and where null is allowed."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from sluice.errors import ContractError

Refs = tuple[str, ...]
"""References that are being followed, to notice a circle."""

_REFUSED = (
    "not",
    "if",
    "patternProperties",
    "prefixItems",
    "additionalItems",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "$dynamicRef",
    "$recursiveRef",
    "discriminator",
)
"""Keywords that say something of the data which a contract cannot say."""

_ANNOTATIONS = ("description", "default")


class Document:
    """One document, which its references are within.

    Args:
        data: the schema, or a registry's answer that has it as ``schema``.

    Raises:
        ContractError: it is not a JSON object, or the registry says that it is no JSON Schema.
    """

    def __init__(self, data: bytes) -> None:
        self.root = _root(data)

    def resolved(self, schema: Any, path: str, refs: Refs) -> tuple[dict[str, Any], Refs]:
        """A schema with what it refers to in place; its own words come first.

        Raises:
            ContractError: a reference leads nowhere, elsewhere, or back to itself.
        """
        if not isinstance(schema, dict):
            raise refused(path, "its type is not known; be as specific as the data allows")
        while True:
            for keyword in _REFUSED:
                if keyword in schema:
                    raise refused(path, f"a contract cannot express {keyword!r}")
            if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
                # An older way of giving a reference words of its own.
                [target] = schema["allOf"]
                own = {k: v for k, v in schema.items() if k != "allOf"}
            elif "allOf" in schema:
                raise refused(path, "a contract cannot express 'allOf' of several schemas")
            elif "$ref" in schema:
                ref = schema["$ref"]
                if ref in refs:
                    raise refused(path, f"{ref} contains itself")
                refs = (*refs, ref)
                target = self._target(ref, path)
                own = {k: v for k, v in schema.items() if k != "$ref"}
            else:
                return schema, refs
            if not isinstance(target, dict):
                raise refused(path, "its type is not known; be as specific as the data allows")
            schema = {**target, **own}

    def _target(self, ref: Any, path: str) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise refused(path, f"{ref!r} is in another document; put it under $defs")
        found: Any = self.root
        step = ""
        for part in ref[1:].strip("/").split("/") if ref != "#" else ():
            step = unquote(part).replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or step not in found:
                raise refused(path, f"{ref!r} leads nowhere")
            found = found[step]
        # Objects without a title are called as they are defined.
        named = isinstance(found, dict) and "properties" in found
        return {"title": step, **found} if named else found

    def without_null(
        self, schema: dict[str, Any], path: str, refs: Refs
    ) -> tuple[dict[str, Any], bool, Refs]:
        """The schema of what is not null, and whether null is allowed, too."""
        own = {k: v for k, v in schema.items() if k in _ANNOTATIONS}
        for keyword in ("anyOf", "oneOf"):
            if keyword not in schema:
                continue
            options = listed(schema, keyword, path)
            rest = [option for option in options if not _is_null(option)]
            if len(rest) != 1:
                raise refused(path, "a union of several types; give each its own field")
            inner, refs = self.resolved(rest[0], path, refs)
            plain, deeper, refs = self.without_null({**inner, **own}, path, refs)
            return plain, deeper or len(rest) < len(options), refs
        nullable = False
        if isinstance(schema.get("type"), list):
            kinds = [kind for kind in schema["type"] if kind != "null"]
            nullable = len(kinds) < len(schema["type"])
            if kinds in (["integer", "number"], ["number", "integer"]):
                kinds = ["number"]
            if len(kinds) != 1:
                raise refused(path, "a union of several types; give each its own field")
            schema = {**schema, "type": kinds[0]}
        if None in (values := listed(schema, "enum", path)):
            nullable = True
            schema = {**schema, "enum": [value for value in values if value is not None]}
        return schema, nullable, refs


def _root(data: bytes) -> dict[str, Any]:
    try:
        root = msgspec.json.decode(data)
        if isinstance(root, dict) and isinstance(root.get("schema"), str):
            kind = root.get("schemaType", "AVRO" if "subject" in root else "JSON")
            if kind != "JSON":
                raise ContractError(f"the registry's schema is of type {kind}, not JSON")
            root = msgspec.json.decode(root["schema"])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContractError(f"the schema is not JSON: {error}") from error
    if not isinstance(root, dict):
        raise ContractError("the schema is not a JSON object")
    return root


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        schema.get("type") == "null"
        or schema.get("enum") == [None]
        or schema.get("const", 0) is None
    )


def listed(schema: Mapping[str, Any], keyword: str, path: str) -> list[Any]:
    """A keyword's value that must be a list; empty when it is not there."""
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise refused(path, f"{keyword!r} must be a list")
    return value


def refused(path: str, why: str) -> ContractError:
    """The error for what a contract cannot express, naming its path."""
    if not path:
        return ContractError(f"the message: {why}")
    plain = path.replace("[]", "").replace("{}", "")
    return ContractError(f"field {path!r}: {why}; --skip-field {plain} leaves it out")
