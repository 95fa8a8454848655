"""A JSON Schema document: resolves references, and joins all schemas that apply to a value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from sluice.authoring.new_topic.schema_merge import Node, Part, Refs, is_in, merge, refused
from sluice.authoring.new_topic.schema_words import ANNOTATIONS, REFUSED
from sluice.errors import ContractError

UNKNOWN_TYPE = "its type is not known; make the schema as specific as the data allows"
SEVERAL_TYPES = "a union of several types has no column; give each type its own field"

_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_APPLICATORS = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
"""Keywords that are replaced by the schemas they name."""


class _Conjunct(msgspec.Struct, frozen=True):
    """One of the schemas that apply to a value.

    Attributes:
        node: its own keywords.
        null: whether it allows null; None if it says nothing about null.
        forced: whether it is marked as nullable, whatever other schemas say.
        named: whether its title is only the name of its definition.
    """

    node: Node
    null: bool | None = None
    forced: bool = False
    named: bool = False


class Document:
    """One document; its references point into itself.

    Args:
        data: the schema, or a registry's response with the schema as ``schema``.

    Raises:
        ContractError: it is not a JSON object, or its type in the registry is not JSON Schema.
    """

    def __init__(self, data: bytes) -> None:
        self.root = _root(data)

    def node(self, parts: Sequence[Part], path: str) -> Node:
        """What all schemas of a value say together, with references and unions resolved.

        Raises:
            ContractError: a reference has no target, is in another document or is a cycle; the
                schemas contradict each other; a contract cannot express a keyword.
        """
        conjuncts = [
            conjunct for part in parts for conjunct in self._conjuncts(part.schema, path, part.refs)
        ]
        objects = sum(bool(conjunct.node.properties) for conjunct in conjuncts)
        for conjunct in conjuncts:
            if conjunct.named and objects > 1:
                conjunct.node.words.pop("title", None)
        node = merge((conjunct.node for conjunct in conjuncts), path)
        nulls = [conjunct.null for conjunct in conjuncts]
        node.nullable = any(c.forced for c in conjuncts) or (True in nulls and False not in nulls)
        return node

    def _conjuncts(self, schema: Any, path: str, refs: Refs) -> Iterator[_Conjunct]:
        if schema is True:
            return
        if not isinstance(schema, dict):
            raise refused(path, UNKNOWN_TYPE)
        for keyword in REFUSED:
            if keyword in schema:
                raise refused(path, f"a contract cannot express {keyword!r}")
        yield _own(schema, path, refs)
        if "$ref" in schema:
            yield from self._referenced(schema["$ref"], path, refs)
        for option in list_of(schema, "allOf", path):
            yield from self._conjuncts(option, path, refs)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                yield from self._union(keyword, list_of(schema, keyword, path), path, refs)

    def _referenced(self, ref: Any, path: str, refs: Refs) -> Iterator[_Conjunct]:
        if ref in refs:
            raise refused(path, f"{ref} contains itself")
        target, name = self._target(ref, path)
        for number, conjunct in enumerate(self._conjuncts(target, path, (*refs, ref))):
            words = conjunct.node.words
            named = number == 0 and bool(conjunct.node.properties) and "title" not in words
            if named:
                # An object without a title has the name of its definition.
                words["title"] = name
            yield msgspec.structs.replace(conjunct, named=named or conjunct.named)

    def _target(self, ref: Any, path: str) -> tuple[Any, str]:
        """The schema that a reference points to, and the last step of the way."""
        if not isinstance(ref, str):
            raise refused(path, f"{ref!r} is not a reference")
        base, _, fragment = ref.partition("#")
        target: Any = (
            self.root if base in ("", self.root.get("$id")) else _find(self.root, "$id", base)
        )
        if target is None:
            raise refused(path, f"{ref!r} is in another document; move it to $defs")
        if fragment and not fragment.startswith("/"):
            if (found := _find(target, "$anchor", fragment)) is None:
                raise refused(path, f"{ref!r} has no target")
            return found, fragment
        step = base.rpartition("/")[2].removesuffix(".json")
        for part in fragment.strip("/").split("/") if fragment.strip("/") else ():
            step = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
                target = target[int(step)]
            elif isinstance(target, dict) and step in target:
                target = target[step]
            else:
                raise refused(path, f"{ref!r} has no target")
        return target, step

    def _union(
        self, keyword: str, options: list[Any], path: str, refs: Refs
    ) -> Iterator[_Conjunct]:
        """A union of one type with null, or of constants."""
        rest = [option for option in options if not _is_null(option)]
        null = True if len(rest) < len(options) else None
        if len(rest) == 1:
            yield _Conjunct(Node(), null)
            for conjunct in self._conjuncts(rest[0], path, refs):
                # Beside an option of null, this one does not exclude null.
                silent = null and conjunct.null is False
                yield msgspec.structs.replace(conjunct, null=None) if silent else conjunct
            return
        if not rest:
            yield _own({"type": "null"}, path, refs)
            return
        nodes = [self.node((Part(option, refs),), path) for option in rest]
        joined = _joined(keyword, nodes)
        if joined is None:
            raise refused(path, SEVERAL_TYPES)
        yield _Conjunct(joined, True if null or any(node.nullable for node in nodes) else None)


def _joined(keyword: str, nodes: Sequence[Node]) -> Node | None:
    """One node for the values of any of several; None if they are of several types."""
    if all("enum" in node.words for node in nodes):
        values = [value for node in nodes for value in node.words["enum"]]
        return Node(words={"enum": values})
    bare = [set(node.words) - ANNOTATIONS for node in nodes]
    structured = any(n.properties or n.items or n.additional for n in nodes)
    if all(
        words == {"required"} and "type" not in n.words
        for words, n in zip(bare, nodes, strict=True)
    ):
        return Node(reviews=[f"{keyword!r} of required names is not checked"])
    types = {kind for node in nodes for kind in node.words.get("type", ("",))}
    if types == {"integer", "number"}:
        types = {"number"}
    if structured or len(types) > 1 or not types <= _SCALARS:
        return None
    reviews = []
    if known := [value for node in nodes for value in node.words.get("enum", ())]:
        reviews.append(f"its known values are {', '.join(map(repr, known))}")
    if limits := sorted(set().union(*bare) - {"enum"}):
        names = ", ".join(map(repr, limits))
        reviews.append(f"{names} of the options of {keyword!r} are not checked")
    return Node(words={"type": tuple(types)}, reviews=reviews)


def _own(schema: Mapping[str, Any], path: str, refs: Refs) -> _Conjunct:
    """A schema's own keywords, without those that name other schemas."""
    words = {k: v for k, v in schema.items() if k not in _APPLICATORS}
    null: bool | None = None
    if "type" in words:
        kinds = words["type"] if isinstance(words["type"], list) else [words["type"]]
        if not all(isinstance(kind, str) for kind in kinds):
            raise refused(path, f"type {words['type']!r} is not a name")
        null = "null" in kinds
        # A schema of null alone keeps its type, and is refused.
        words["type"] = tuple(kind for kind in kinds if kind != "null") or ("null",)
    if "enum" in words or "const" in words:
        values = list_of(words, "enum", path) if "enum" in words else [words["const"]]
        if "const" in words:
            constant = words.pop("const")
            if not is_in(constant, values):
                raise refused(path, "its const is not in its enum")
            values = [constant]
        null = bool(null) or None in values
        words["enum"] = [value for value in values if value is not None]
    for limit, exclusive in (
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ):
        # In draft 4 and OpenAPI 3.0 it says what the limit is.
        if words.get(exclusive) is False:
            del words[exclusive]
        elif words.get(exclusive) is True and limit in words:
            words[exclusive] = words.pop(limit)
    node = Node(words=words)
    if isinstance(properties := words.pop("properties", {}), dict):
        node.properties = {name: (Part(part, refs),) for name, part in properties.items()}
    else:
        raise refused(path, "'properties' must be an object")
    if "items" in words:
        node.items = (Part(words.pop("items"), refs),)
    further = words.pop("additionalProperties", None)
    node.closed = further is False
    # Unlike these, unevaluated properties are further ones of all schemas together.
    unevaluated = words.pop("unevaluatedProperties", False)
    node.open = further is True or further == {} or unevaluated is not False
    if further not in (None, True, False, {}):
        node.additional = (Part(further, refs),)
    if "required" in words:
        names = list_of(words, "required", path)
        if not all(isinstance(name, str) for name in names):
            raise refused(path, "'required' must be a list of names")
    if isinstance(text := words.get("description"), str):
        node.descriptions = (text,)
    words.pop("description", None)
    forced = words.get("nullable") is True or words.get("x-nullable") is True
    for keyword in ("nullable", "x-nullable"):
        if isinstance(words.get(keyword), bool):
            del words[keyword]
    return _Conjunct(node, null, forced)


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


def _find(schema: Any, keyword: str, value: str) -> Any:
    """The schema within another one that has a keyword with a value; None if there is none."""
    if isinstance(schema, dict):
        if schema.get(keyword) == value:
            return schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            if (found := _find(part, keyword, value)) is not None:
                return found
    return None


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        schema.get("type") in ("null", ["null"])
        or schema.get("enum") == [None]
        or schema.get("const", 0) is None
    )


def list_of(schema: Mapping[str, Any], keyword: str, path: str) -> list[Any]:
    """A keyword's value, which must be a list; empty when the keyword is missing."""
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise refused(path, f"{keyword!r} must be a list")
    return value
