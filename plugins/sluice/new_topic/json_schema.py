"""Reading a JSON Schema, as msgspec, pydantic and schema registries write it (draft 7, 2020-12)."""

import inspect
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import NODEFAULT

from sluice.errors import ContractError
from sluice.new_topic.description import (
    TO_BE_WRITTEN,
    Choice,
    DictOf,
    Field,
    Found,
    ListOf,
    Object,
    Scalar,
    Skips,
    Type,
    left_out,
    optional,
)
from sluice.new_topic.json_bounds import bounds_of, has_unchecked_step, integer_column
from sluice.new_topic.naming import singular, snake
from sluice.schema_docs import SECTIONS, attribute_docs, sections

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

_UNCHECKED = ("uniqueItems", "propertyNames")
"""Keywords that a contract does not check, though the data may be held to them."""

_FORMATS = {
    "date-time": "datetime",
    "date": "date",
    "time": "time",
    "duration": "timedelta",
    "uuid": "UUID",
    "decimal": "Decimal",
}
_ANNOTATIONS = ("description", "default")
_CARRIED = frozenset(SECTIONS) - {"Version history", "Compatibility", "Attributes"}


def read_schema(data: bytes, name: str, skips: Skips) -> Found:
    """What a schema says of a topic's messages.

    Args:
        data: the schema, or a registry's answer that has it as ``schema``.
        name: the topic, after which the message's class is called.
        skips: fields to leave out, unread.

    Raises:
        ContractError: names the path of what a contract cannot express.
    """
    root = _root(data)
    reader = _Reader(root, skips)
    schema, _ = reader.resolved(root, "", ())
    if not isinstance(schema.get("properties"), dict):
        raise ContractError("the schema is not of an object with properties")
    message = reader.object(schema, "", name, False, ())
    skips.check()
    words = _Words.of(schema)
    known = {
        heading: " ".join(" ".join(lines).split())
        for heading, lines in words.sections.items()
        if heading in _CARRIED and any(line.strip() for line in lines)
    }
    if words.summary:
        known.setdefault("Purpose", words.summary)
    return Found(
        message=message,
        sections=known,
        history="First version, made from a JSON Schema.",
        told=tuple(reader.told),
    )


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


class _Words(msgspec.Struct, frozen=True):
    """A description, which from msgspec is a docstring with sections."""

    summary: str
    sections: Mapping[str, list[str]]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "_Words":
        text = schema.get("description")
        if not isinstance(text, str):
            return cls("", {}, {})
        documented = type("Documented", (), {"__doc__": text})
        before = re.split(r"^[A-Z][A-Za-z ]+:$", inspect.cleandoc(text), maxsplit=1, flags=re.M)
        summary = " ".join(before[0].split())
        return cls(summary, sections(documented), attribute_docs(documented))


Refs = tuple[str, ...]
"""References that are being followed, to notice a circle."""


class _Reader:
    """Reads one schema; knows its definitions."""

    def __init__(self, root: dict[str, Any], skips: Skips) -> None:
        self._root, self._skips = root, skips
        self.told: list[str] = []

    def object(
        self, schema: Mapping[str, Any], path: str, name: str, inside: bool, refs: Refs
    ) -> Object:
        """An object with properties; ``inside`` a list or a dict it is not flattened."""
        words = _Words.of(schema)
        required = _listed(schema, "required", path)
        fields, reviews = [], []
        for key, part in schema["properties"].items():
            here = f"{path}.{key}" if path else key
            if self._skips.has(here):
                reviews.append(left_out(here))
                continue
            doc = words.attributes.get(key, "")
            fields.append(self._field(key, part, key in required, doc, here, inside, refs))
        if not fields:
            raise _refused(path, "it has no properties")
        return Object(name, tuple(fields), words.summary, tuple(reviews))

    def _field(
        self, key: str, schema: Any, required: bool, doc: str, path: str, inside: bool, refs: Refs
    ) -> Field:
        resolved, refs = self.resolved(schema, path, refs)
        plain, nullable, refs = self._without_null(resolved, path, refs)
        reviews: list[str] = []
        type_ = self._type(plain, path, key, inside, refs, reviews)
        described = next(
            (w.summary for s in (schema, resolved, plain) if (w := _Words.of(s)).summary), ""
        )
        field = Field(
            key=key, type=type_, doc=doc or described or TO_BE_WRITTEN, reviews=tuple(reviews)
        )
        default = resolved.get("default", NODEFAULT) if not required else NODEFAULT
        missing = not required and default in (None, NODEFAULT)
        if nullable or missing:
            field = optional(field, missing=missing, null=nullable, inside=inside)
            if nullable and not field.nullable:
                self.told.append(f"{path}: {field.reviews[-1]}")
        if not missing and default is not NODEFAULT:
            field = msgspec.structs.replace(field, default=default)
        return field

    def resolved(self, schema: Any, path: str, refs: Refs) -> tuple[dict[str, Any], Refs]:
        """A schema with what it refers to in place; its own words come first.

        Raises:
            ContractError: a reference leads nowhere, elsewhere, or back to itself.
        """
        if not isinstance(schema, dict):
            raise _refused(path, "its type is not known; be as specific as the data allows")
        while True:
            for keyword in _REFUSED:
                if keyword in schema:
                    raise _refused(path, f"a contract cannot express {keyword!r}")
            if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
                # An older way of giving a reference words of its own.
                [target] = schema["allOf"]
                own = {k: v for k, v in schema.items() if k != "allOf"}
            elif "allOf" in schema:
                raise _refused(path, "a contract cannot express 'allOf' of several schemas")
            elif "$ref" in schema:
                ref = schema["$ref"]
                if ref in refs:
                    raise _refused(path, f"{ref} contains itself")
                refs = (*refs, ref)
                target = self._target(ref, path)
                own = {k: v for k, v in schema.items() if k != "$ref"}
            else:
                return schema, refs
            if not isinstance(target, dict):
                raise _refused(path, "its type is not known; be as specific as the data allows")
            schema = {**target, **own}

    def _target(self, ref: Any, path: str) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise _refused(path, f"{ref!r} is in another document; put it under $defs")
        found: Any = self._root
        for part in ref[1:].strip("/").split("/") if ref != "#" else ():
            step = unquote(part).replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or step not in found:
                raise _refused(path, f"{ref!r} leads nowhere")
            found = found[step]
        # Objects without a title are called as they are defined.
        named = isinstance(found, dict) and "properties" in found
        return {"title": ref.rpartition("/")[2], **found} if named else found

    def _without_null(
        self, schema: dict[str, Any], path: str, refs: Refs
    ) -> tuple[dict[str, Any], bool, Refs]:
        """The schema of what is not null, and whether null is allowed, too."""
        own = {k: v for k, v in schema.items() if k in _ANNOTATIONS}
        for keyword in ("anyOf", "oneOf"):
            if keyword not in schema:
                continue
            options = _listed(schema, keyword, path)
            rest = [option for option in options if not _is_null(option)]
            if len(rest) != 1:
                raise _refused(path, "a union of several types; give each its own field")
            inner, refs = self.resolved(rest[0], path, refs)
            plain, deeper, refs = self._without_null({**inner, **own}, path, refs)
            return plain, deeper or len(rest) < len(options), refs
        nullable = False
        if isinstance(schema.get("type"), list):
            kinds = [kind for kind in schema["type"] if kind != "null"]
            nullable = len(kinds) < len(schema["type"])
            if set(kinds) == {"integer", "number"}:
                kinds = ["number"]
            if len(kinds) != 1:
                raise _refused(path, "a union of several types; give each its own field")
            schema = {**schema, "type": kinds[0]}
        if None in (values := _listed(schema, "enum", path)):
            nullable = True
            schema = {**schema, "enum": [value for value in values if value is not None]}
        return schema, nullable, refs

    def _type(
        self,
        schema: dict[str, Any],
        path: str,
        name: str,
        inside: bool,
        refs: Refs,
        reviews: list[str],
    ) -> Type:
        reviews += [f"{word!r} is not checked" for word in _UNCHECKED if schema.get(word)]
        if has_unchecked_step(schema):
            reviews.append("'multipleOf' is not checked")
        if "enum" in schema or "const" in schema:
            return _choice(schema.get("enum", [schema.get("const")]), path)
        kind = schema.get("type")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else None
        match kind:
            case "string":
                return _string(schema, path, reviews)
            case "integer":
                bounds = bounds_of(schema, "integer", path)
                return Scalar("int", bounds, integer_column(schema, path))
            case "number":
                return Scalar("float", bounds_of(schema, "number", path))
            case "boolean":
                return Scalar("bool")
            case "array":
                one = singular(snake(name))
                inner, nullable = self._part(schema, "items", f"{path}[]", one, refs, reviews)
                return ListOf(inner, nullable, bounds_of(schema, "array", path))
            case "object" if schema.get("properties"):
                title = schema.get("title")
                return self.object(
                    schema, path, title if isinstance(title, str) else name, inside, refs
                )
            case "object":
                inner, nullable = self._part(
                    schema, "additionalProperties", f"{path}{{}}", name, refs, reviews
                )
                return DictOf(inner, nullable, bounds_of(schema, "object", path))
        shown = "its type is not known; be as specific as the data allows"
        raise _refused(path, shown if kind is None else f"type {kind!r} has no column")

    def _part(
        self,
        schema: dict[str, Any],
        keyword: str,
        path: str,
        name: str,
        refs: Refs,
        reviews: list[str],
    ) -> tuple[Type, bool]:
        """The type of a list's items or a dict's values, and whether they may be null."""
        part, refs = self.resolved(schema.get(keyword), path, refs)
        plain, nullable, refs = self._without_null(part, path, refs)
        type_ = self._type(plain, path, name, True, refs, reviews)
        if nullable and not isinstance(type_, Scalar | Choice):
            reviews.append("messages with null among these are refused, since it cannot be null")
            self.told.append(f"{path}: {reviews[-1]}")
            nullable = False
        return type_, nullable


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        schema.get("type") == "null"
        or schema.get("enum") == [None]
        or schema.get("const", 0) is None
    )


def _choice(values: Any, path: str) -> Choice:
    if isinstance(values, list) and values:
        if all(isinstance(value, str) for value in values):
            return Choice(tuple(values))
        if all(type(value) is int for value in values):
            return Choice(tuple(values))
    raise _refused(path, "its values are neither all strings nor all integers")


def _string(schema: dict[str, Any], path: str, reviews: list[str]) -> Scalar:
    bounds = bounds_of(schema, "string", path)
    form = schema.get("format")
    if schema.get("contentEncoding") == "base64":
        return Scalar("bytes")
    python = _FORMATS.get(form) if isinstance(form, str) else None
    if python is None:
        if form is not None:
            reviews.append(f"format {form!r} is not checked")
        return Scalar("str", bounds)
    if bounds:
        reviews.append(f"what restricts the text of a {python} is not checked")
    return Scalar(python)


def _listed(schema: Mapping[str, Any], keyword: str, path: str) -> list[Any]:
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise _refused(path, f"{keyword!r} must be a list")
    return value


def _refused(path: str, why: str) -> ContractError:
    if not path:
        return ContractError(f"the message: {why}")
    plain = path.replace("[]", "").replace("{}", "")
    return ContractError(f"field {path!r}: {why}; --skip-field {plain} leaves it out")
