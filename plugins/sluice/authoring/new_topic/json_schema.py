"""Reading a JSON Schema, as msgspec, pydantic and schema registries write it (draft 7, 2020-12),
and the schema objects of OpenAPI.
"""

import inspect
import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET

from sluice.authoring.new_topic.description import (
    TO_BE_WRITTEN,
    DictOf,
    Draft,
    Field,
    ListOf,
    Object,
    SkippedFields,
    Type,
    default_doc,
    optional,
    skipped_review,
)
from sluice.authoring.new_topic.json_bounds import bounds_of
from sluice.authoring.new_topic.json_document import UNKNOWN_TYPE, Document
from sluice.authoring.new_topic.naming import singular, snake
from sluice.authoring.new_topic.scalar_types import choice, number, string
from sluice.authoring.new_topic.schema_merge import Node, Part, refused
from sluice.authoring.new_topic.schema_words import unused_words
from sluice.contract.docstrings import SECTIONS, attribute_docs, docstring_sections
from sluice.contract.pattern_dialect import pattern_review
from sluice.errors import ContractError

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
    if "openapi" in document.root or "swagger" in document.root:
        raise ContractError(
            "an OpenAPI document has several schemas: write the components and a reference to one"
            ' of them, as {"$ref": "#/components/schemas/Order", "components": …}'
        )
    reader = _Reader(document, skipped)
    node = document.node((Part(document.root),), "")
    if not node.properties:
        raise ContractError("the schema does not describe an object with properties")
    if node.words.get("type", ("object",)) != ("object",) or "enum" in node.words:
        raise refused("", "it is not an object")
    message = reader.object(node, "", name)
    skipped.check()
    docs = _Documentation.of(node)
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
        notes=(*reader.notes, *reader.unknown_words()),
    )


class _Documentation(msgspec.Struct, frozen=True):
    """A schema's ``description``. In a schema from msgspec, it is a docstring with sections."""

    summary: str
    sections: Mapping[str, list[str]]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, node: Node) -> "_Documentation":
        summary = ""
        sections: dict[str, list[str]] = {}
        attributes: dict[str, str] = {}
        for text in reversed(node.descriptions):
            documented = type("Documented", (), {"__doc__": text})
            parts = re.split(r"^[A-Z][A-Za-z ]+:$", inspect.cleandoc(text), maxsplit=1, flags=re.M)
            summary = " ".join(parts[0].split()) or summary
            sections |= docstring_sections(documented)
            attributes |= attribute_docs(documented)
        return cls(summary, sections, attributes)


class _Reader:
    """Reads the types of one document; collects notes."""

    def __init__(self, document: Document, skipped: SkippedFields) -> None:
        self._document, self._skipped = document, skipped
        self._unknown: dict[str, list[str]] = {}
        self.notes: list[str] = []

    def unknown_words(self) -> list[str]:
        """One note for each keyword that nothing is known of."""
        notes = []
        for word, paths in self._unknown.items():
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            places = ", ".join(path or "the message" for path in paths[:3])
            notes.append(f"keyword {word!r} is not understood, and ignored ({places}{more})")
        return notes

    def object(self, node: Node, path: str, name: str) -> Object:
        """An object with properties."""
        docs = _Documentation.of(node)
        fields: list[Field] = []
        reviews = self._unused(node, "object", path) if not path else []
        for key in dict.fromkeys((*node.properties, *node.required)):
            inner_path = f"{path}.{key}" if path else key
            if self._skipped.matches(inner_path):
                reviews.append(skipped_review(inner_path))
                continue
            parts = node.properties.get(key, node.additional)
            if not parts:
                raise refused(inner_path, "it is required, but no property has its name")
            fields.append(
                self._field(
                    key, parts, key in node.required, docs.attributes.get(key, ""), inner_path
                )
            )
        if not fields:
            raise refused(path, "it has no properties")
        if node.open or node.additional:
            text = "fields beyond the named ones are data of this object, and are not stored"
            reviews.append(f"{text} (additionalProperties)")
            self.notes.append(f"{path or 'the message'}: {reviews[-1]}")
        elif node.closed:
            reviews.append("the schema excludes further fields; they are accepted, and not stored")
        doc = docs.summary or default_doc(path)
        return Object(name, tuple(fields), doc, tuple(dict.fromkeys(reviews)))

    def _field(self, key: str, parts: Sequence[Part], required: bool, doc: str, path: str) -> Field:
        node = self._document.node(parts, path)
        reviews: list[str] = []
        type_ = self._type(node, path, key, reviews)
        doc = doc or _Documentation.of(node).summary or TO_BE_WRITTEN
        field = Field(key=key, type=type_, doc=doc, reviews=tuple(dict.fromkeys(reviews)))
        default = node.words.get("default", UNSET) if not required else UNSET
        missing = not required and default in (None, UNSET)
        if node.nullable or missing:
            field = optional(field, missing=missing, null=node.nullable)
            if node.nullable and not field.nullable:
                self.notes.append(f"{path}: {field.reviews[-1]}")
        if not missing and default is not UNSET:
            field = msgspec.structs.replace(field, default=default)
        return field

    def _type(self, node: Node, path: str, name: str, reviews: list[str]) -> Type:
        kind = _kind_of(node, path)
        reviews += self._unused(node, kind, path)
        match kind:
            case "choice":
                return choice(node.words, path, reviews)
            case "string":
                scalar = string(node.words, path, reviews)
                if review := pattern_review(dict(scalar.bounds).get("pattern", "")):
                    reviews.append(review)
                    self.notes.append(f"{path}: {review}")
                return scalar
            case "integer" | "number":
                return number(node.words, kind, path, reviews)
            case "boolean":
                return choice({"enum": [True, False]}, path, reviews)
            case "array":
                item = singular(snake(name))
                inner, nullable = self._part(node.items, f"{path}[]", item, reviews)
                return ListOf(inner, nullable, bounds_of(node.words, "array", path))
            case "object":
                title = node.words.get("title")
                return self.object(node, path, title if isinstance(title, str) else name)
        inner, nullable = self._part(node.additional, f"{path}{{}}", name, reviews)
        return DictOf(inner, nullable, bounds_of(node.words, "object", path))

    def _part(
        self, parts: Sequence[Part], path: str, name: str, reviews: list[str]
    ) -> tuple[Type, bool]:
        """The type of a list's items or a dict's values, and whether they may be null."""
        if not parts:
            raise refused(path, UNKNOWN_TYPE)
        node = self._document.node(parts, path)
        type_, nullable = self._type(node, path, name, reviews), node.nullable
        if nullable and isinstance(type_, ListOf | DictOf):
            kind = "list" if isinstance(type_, ListOf) else "dict"
            text = f"messages with null among these are refused, because a {kind} cannot be null"
            reviews.append(text)
            self.notes.append(f"{path}: {text}")
            nullable = False
        return type_, nullable

    def _unused(self, node: Node, kind: str, path: str) -> list[str]:
        """Reviews of what the contract does not express of a value's schema."""
        unchecked, unknown = unused_words(node.words, kind)
        for word in unknown:
            self._unknown.setdefault(word, []).append(path)
        return [
            *node.reviews,
            *(f"{word!r} is not checked" for word in unchecked),
            *(f"keyword {word!r} is not understood" for word in unknown),
        ]


def _kind_of(node: Node, path: str) -> str:
    """Which of the kinds of :data:`UNDERSTOOD` a value has."""
    if "enum" in node.words:
        return "choice"
    kinds = node.words.get("type", ())
    if not kinds:
        kinds = (
            ("object",) if node.properties or node.additional else ("array",) if node.items else ()
        )
    if set(kinds) == {"integer", "number"}:
        kinds = ("number",)
    if not kinds:
        raise refused(path, UNKNOWN_TYPE)
    if len(kinds) > 1:
        raise refused(path, "a union of several types has no column; give each type its own field")
    kind = str(kinds[0])
    if kind == "object":
        return "object" if node.properties else "dict"
    if kind not in ("string", "integer", "number", "boolean", "array"):
        raise refused(path, f"type {kind!r} has no column")
    return kind
