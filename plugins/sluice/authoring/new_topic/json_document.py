"""A JSON Schema document: resolves its references, and separates null from other types."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from sluice.errors import ContractError

Refs = tuple[str, ...]
"""References that are being resolved, to detect a cycle."""

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
"""Keywords that a contract cannot express."""

_ANNOTATIONS = ("description", "default")

UNKNOWN_TYPE = "its type is not known; make the schema as specific as the data allows"
SEVERAL_TYPES = "a union of several types has no column; give each type its own field"


class Document:
    """One document; its references point into itself.

    Args:
        data: the schema, or a registry's response with the schema as ``schema``.

    Raises:
        ContractError: it is not a JSON object, or its type in the registry is not JSON Schema.
    """

    def __init__(self, data: bytes) -> None:
        self.root = _root(data)

    def resolved(self, schema: Any, path: str, refs: Refs) -> tuple[dict[str, Any], Refs]:
        """A schema with its references resolved; its own keywords take precedence.

        Raises:
            ContractError: a reference has no target, is in another document, or is a cycle.
        """
        if not isinstance(schema, dict):
            raise refused(path, UNKNOWN_TYPE)
        while True:
            for keyword in _REFUSED:
                if keyword in schema:
                    raise refused(path, f"a contract cannot express {keyword!r}")
            if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
                # Draft 7 adds keywords to a reference in this way.
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
                raise refused(path, UNKNOWN_TYPE)
            schema = {**target, **own}

    def _target(self, ref: Any, path: str) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise refused(path, f"{ref!r} is in another document; move it to $defs")
        target: Any = self.root
        step = ""
        for part in ref[1:].strip("/").split("/") if ref != "#" else ():
            step = unquote(part).replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or step not in target:
                raise refused(path, f"{ref!r} has no target")
            target = target[step]
        # An object without a title has the name of its definition.
        is_object = isinstance(target, dict) and "properties" in target
        return {"title": step, **target} if is_object else target

    def without_null(
        self, schema: dict[str, Any], path: str, refs: Refs
    ) -> tuple[dict[str, Any], bool, Refs]:
        """The schema without null, and whether it allows null."""
        own = {k: v for k, v in schema.items() if k in _ANNOTATIONS}
        for keyword in ("anyOf", "oneOf"):
            if keyword not in schema:
                continue
            options = list_of(schema, keyword, path)
            rest = [option for option in options if not _is_null(option)]
            if len(rest) != 1:
                raise refused(path, SEVERAL_TYPES)
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
                raise refused(path, SEVERAL_TYPES)
            schema = {**schema, "type": kinds[0]}
        if None in (values := list_of(schema, "enum", path)):
            nullable = True
            schema = {**schema, "enum": [value for value in values if value is not None]}
        return schema, nullable, refs


def _root(data: bytes) -> dict[str, Any]:
    try:
        root = msgspec.json.decode(data)
        if isinstance(root, dict) and isinstance(root.get("schema"), str):
            kind = root.get("schemaType", "AVRO" if "subject" in root else "JSON")
            if kind != "JSON":
                raise ContractError(f"the schema's type in the registry is {kind}, not JSON")
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


def list_of(schema: Mapping[str, Any], keyword: str, path: str) -> list[Any]:
    """A keyword's value, which must be a list; empty when the keyword is missing."""
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise refused(path, f"{keyword!r} must be a list")
    return value


def refused(path: str, why: str) -> ContractError:
    """The error for a field, or the message itself, that a contract cannot express."""
    if not path:
        return ContractError(f"the message: {why}")
    plain = path.replace("[]", "").replace("{}", "")
    return ContractError(f"{why}; --skip-field {plain} leaves it out", field=path)
