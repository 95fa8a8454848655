"""Reading a JSON Schema, as msgspec, pydantic and schema registries write it (draft 7, 2020-12)."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from sluice.authoring.new_topic.description import (
    TO_BE_WRITTEN,
    Choice,
    DictOf,
    Draft,
    Field,
    ListOf,
    Object,
    Scalar,
    SkippedFields,
    Type,
    left_out,
    optional,
    place_of,
)
from sluice.authoring.new_topic.json_bounds import bounds_of, has_unchecked_step, integer_column
from sluice.authoring.new_topic.json_document import Document, Refs, listed, refused
from sluice.authoring.new_topic.naming import singular, snake
from sluice.contract.docstrings import SECTIONS, attribute_docs, docstring_sections
from sluice.errors import ContractError

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
_CARRIED = frozenset(SECTIONS) - {"Version history", "Compatibility", "Attributes"}


def read_schema(data: bytes, name: str, skips: SkippedFields) -> Draft:
    """What a schema says of a topic's messages.

    Args:
        data: the schema, or a registry's answer that has it as ``schema``.
        name: the topic, after which the message's class is called.
        skips: fields to leave out, unread.

    Raises:
        ContractError: names the path of what a contract cannot express.
    """
    document = Document(data)
    reader = _Reader(document, skips)
    schema, _ = document.resolved(document.root, "", ())
    if not isinstance(schema.get("properties"), dict):
        raise ContractError("the schema is not of an object with properties")
    message = reader.object(schema, "", name, ())
    skips.check()
    words = _Words.of(schema)
    known = {
        heading: " ".join(" ".join(lines).split())
        for heading, lines in words.sections.items()
        if heading in _CARRIED and any(line.strip() for line in lines)
    }
    if words.summary:
        known.setdefault("Purpose", words.summary)
    return Draft(
        message=message,
        sections=known,
        history="First version, made from a JSON Schema.",
        told=tuple(reader.told),
    )


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
        return cls(summary, docstring_sections(documented), attribute_docs(documented))


class _Reader:
    """Reads the types of one document."""

    def __init__(self, document: Document, skips: SkippedFields) -> None:
        self._document, self._skips = document, skips
        self.told: list[str] = []

    def object(self, schema: Mapping[str, Any], path: str, name: str, refs: Refs) -> Object:
        """An object with properties."""
        words = _Words.of(schema)
        required = listed(schema, "required", path)
        fields, reviews = [], []
        for key, part in schema["properties"].items():
            here = f"{path}.{key}" if path else key
            if self._skips.has(here):
                reviews.append(left_out(here))
                continue
            doc = words.attributes.get(key, "")
            fields.append(self._field(key, part, key in required, doc, here, refs))
        if not fields:
            raise refused(path, "it has no properties")
        return Object(name, tuple(fields), words.summary or place_of(path), tuple(reviews))

    def _field(
        self, key: str, schema: Any, required: bool, doc: str, path: str, refs: Refs
    ) -> Field:
        resolved, refs = self._document.resolved(schema, path, refs)
        plain, nullable, refs = self._document.without_null(resolved, path, refs)
        reviews: list[str] = []
        type_ = self._type(plain, path, key, refs, reviews)
        described = next(
            (w.summary for s in (schema, resolved, plain) if (w := _Words.of(s)).summary), ""
        )
        field = Field(
            key=key, type=type_, doc=doc or described or TO_BE_WRITTEN, reviews=tuple(reviews)
        )
        default = resolved.get("default", UNSET) if not required else UNSET
        missing = not required and default in (None, UNSET)
        if nullable or missing:
            field = optional(field, missing=missing, null=nullable)
            if nullable and not field.nullable:
                self.told.append(f"{path}: {field.reviews[-1]}")
        if not missing and default is not UNSET:
            field = msgspec.structs.replace(field, default=default)
        return field

    def _type(
        self,
        schema: dict[str, Any],
        path: str,
        name: str,
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
            case "object" if isinstance(schema.get("properties"), dict) and schema["properties"]:
                title = schema.get("title")
                return self.object(schema, path, title if isinstance(title, str) else name, refs)
            case "object":
                inner, nullable = self._part(
                    schema, "additionalProperties", f"{path}{{}}", name, refs, reviews
                )
                return DictOf(inner, nullable, bounds_of(schema, "object", path))
        shown = "its type is not known; be as specific as the data allows"
        raise refused(path, shown if kind is None else f"type {kind!r} has no column")

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
        part, refs = self._document.resolved(schema.get(keyword), path, refs)
        plain, nullable, refs = self._document.without_null(part, path, refs)
        type_ = self._type(plain, path, name, refs, reviews)
        if nullable and isinstance(type_, ListOf | DictOf):
            reviews.append("messages with null among these are refused, since it cannot be null")
            self.told.append(f"{path}: {reviews[-1]}")
            nullable = False
        return type_, nullable


def _choice(values: Any, path: str) -> Choice:
    if isinstance(values, list) and values:
        if all(isinstance(value, str) for value in values):
            return Choice(tuple(values))
        if all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
            return Choice(tuple(values))
    raise refused(path, "its values are neither all strings nor all integers of 64 bits")


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
