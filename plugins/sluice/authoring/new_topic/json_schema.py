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
    default_doc,
    optional,
    skipped_review,
)
from sluice.authoring.new_topic.json_bounds import bounds_of, has_unchecked_step, integer_column
from sluice.authoring.new_topic.json_document import (
    UNKNOWN_TYPE,
    Document,
    Refs,
    list_of,
    refused,
)
from sluice.authoring.new_topic.naming import singular, snake
from sluice.contract.docstrings import SECTIONS, attribute_docs, docstring_sections
from sluice.errors import ContractError

_UNCHECKED = ("uniqueItems", "propertyNames")
"""Keywords that a contract does not check."""

_FORMATS = {
    "date-time": "datetime",
    "date": "date",
    "time": "time",
    "duration": "timedelta",
    "uuid": "UUID",
    "decimal": "Decimal",
}
_COPIED_SECTIONS = frozenset(SECTIONS) - {"Version history", "Compatibility", "Attributes"}


def read_schema(data: bytes, name: str, skipped: SkippedFields) -> Draft:
    """The messages that a schema describes.

    Args:
        data: the schema, or a registry's response with the schema as ``schema``.
        name: the topic, which gives the message's class its name.
        skipped: fields to leave out, without reading their schemas.

    Raises:
        ContractError: a contract cannot express a part of the schema; ``field`` is its path.
    """
    document = Document(data)
    reader = _Reader(document, skipped)
    schema, _ = document.resolved(document.root, "", ())
    if not isinstance(schema.get("properties"), dict):
        raise ContractError("the schema does not describe an object with properties")
    message = reader.object(schema, "", name, ())
    skipped.check()
    docs = _Documentation.of(schema)
    sections = {
        heading: " ".join(" ".join(lines).split())
        for heading, lines in docs.sections.items()
        if heading in _COPIED_SECTIONS and any(line.strip() for line in lines)
    }
    if docs.summary:
        sections.setdefault("Purpose", docs.summary)
    return Draft(
        message=message,
        sections=sections,
        history="First version, made from a JSON Schema.",
        notes=tuple(reader.notes),
    )


class _Documentation(msgspec.Struct, frozen=True):
    """A schema's ``description``. In a schema from msgspec, it is a docstring with sections."""

    summary: str
    sections: Mapping[str, list[str]]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "_Documentation":
        text = schema.get("description")
        if not isinstance(text, str):
            return cls("", {}, {})
        documented = type("Documented", (), {"__doc__": text})
        parts = re.split(r"^[A-Z][A-Za-z ]+:$", inspect.cleandoc(text), maxsplit=1, flags=re.M)
        summary = " ".join(parts[0].split())
        return cls(summary, docstring_sections(documented), attribute_docs(documented))


class _Reader:
    """Reads the types of one document; collects notes."""

    def __init__(self, document: Document, skipped: SkippedFields) -> None:
        self._document, self._skipped = document, skipped
        self.notes: list[str] = []

    def object(self, schema: Mapping[str, Any], path: str, name: str, refs: Refs) -> Object:
        """An object with properties."""
        docs = _Documentation.of(schema)
        required = list_of(schema, "required", path)
        fields, reviews = [], []
        for key, part in schema["properties"].items():
            inner_path = f"{path}.{key}" if path else key
            if self._skipped.matches(inner_path):
                reviews.append(skipped_review(inner_path))
                continue
            doc = docs.attributes.get(key, "")
            fields.append(self._field(key, part, key in required, doc, inner_path, refs))
        if not fields:
            raise refused(path, "it has no properties")
        return Object(name, tuple(fields), docs.summary or default_doc(path), tuple(reviews))

    def _field(
        self, key: str, schema: Any, required: bool, doc: str, path: str, refs: Refs
    ) -> Field:
        resolved, refs = self._document.resolved(schema, path, refs)
        plain, nullable, refs = self._document.without_null(resolved, path, refs)
        reviews: list[str] = []
        type_ = self._type(plain, path, key, refs, reviews)
        summaries = (_Documentation.of(part).summary for part in (schema, resolved, plain))
        doc = doc or next(filter(None, summaries), TO_BE_WRITTEN)
        field = Field(key=key, type=type_, doc=doc, reviews=tuple(reviews))
        default = resolved.get("default", UNSET) if not required else UNSET
        missing = not required and default in (None, UNSET)
        if nullable or missing:
            field = optional(field, missing=missing, null=nullable)
            if nullable and not field.nullable:
                self.notes.append(f"{path}: {field.reviews[-1]}")
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
                item = singular(snake(name))
                inner, nullable = self._part(schema, "items", f"{path}[]", item, refs, reviews)
                return ListOf(inner, nullable, bounds_of(schema, "array", path))
            case "object" if isinstance(schema.get("properties"), dict) and schema["properties"]:
                title = schema.get("title")
                return self.object(schema, path, title if isinstance(title, str) else name, refs)
            case "object":
                inner, nullable = self._part(
                    schema, "additionalProperties", f"{path}{{}}", name, refs, reviews
                )
                return DictOf(inner, nullable, bounds_of(schema, "object", path))
        raise refused(path, UNKNOWN_TYPE if kind is None else f"type {kind!r} has no column")

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
            kind = "list" if isinstance(type_, ListOf) else "dict"
            text = f"messages with null among these are refused, because a {kind} cannot be null"
            reviews.append(text)
            self.notes.append(f"{path}: {reviews[-1]}")
            nullable = False
        return type_, nullable


def _choice(values: Any, path: str) -> Choice:
    if isinstance(values, list) and values:
        if all(isinstance(value, str) for value in values):
            return Choice(tuple(values))
        if all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
            return Choice(tuple(values))
    raise refused(path, "its values are neither all strings nor all 64-bit integers")


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
        reviews.append(f"limits on the text of a {python} are not checked")
    return Scalar(python)
