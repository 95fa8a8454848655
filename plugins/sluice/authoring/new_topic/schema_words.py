"""The keywords of JSON Schema and OpenAPI, by what a contract makes of them."""

from collections.abc import Mapping

from sluice.contract.json_schema import VERSION_KEY

REFUSED = (
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
    "extends",
    "disallow",
)
"""Keywords that a contract cannot express."""

ANNOTATIONS = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "$vocabulary",
        "components",
        "default",
        "definitions",
        "deprecated",
        "description",
        "example",
        "examples",
        "externalDocs",
        "id",
        "readOnly",
        "title",
        "type",
        "writeOnly",
        VERSION_KEY,
    }
)
"""Keywords that are read for every type, or that say nothing about the values of a message."""

_NUMBER = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format"}
)

UNDERSTOOD: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding"}),
    "integer": _NUMBER,
    "number": _NUMBER,
    "boolean": frozenset(),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "dict": frozenset({"additionalProperties", "minProperties", "maxProperties"}),
    "choice": frozenset({"enum"}),
}
"""The keywords that become a part of the contract, by kind of type. A ``dict`` is an object without
properties, a ``choice`` has an enum."""

_VALIDATION = (
    frozenset().union(*UNDERSTOOD.values())
    | {"uniqueItems", "propertyNames", "minContains", "maxContains", "contentMediaType"}
    | {"contentSchema", "unevaluatedItems", "unevaluatedProperties", "divisibleBy"}
)
"""Keywords that restrict values: where a contract does not use one, it accepts more messages."""


def unused_words(words: Mapping[str, object], kind: str) -> tuple[list[str], list[str]]:
    """The keywords that a type of this kind does not check, and those that nothing is known of."""
    rest = sorted(set(words) - ANNOTATIONS - UNDERSTOOD[kind])
    unchecked = [word for word in rest if word in _VALIDATION and words[word] is not False]
    return unchecked, [word for word in rest if word not in _VALIDATION]
