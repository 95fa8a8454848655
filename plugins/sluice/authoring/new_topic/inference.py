"""Inference of field types from a sample of a topic's messages."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from sluice.authoring.new_topic.description import (
    SCALARS,
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
from sluice.authoring.new_topic.hints import NO_HINTS, Hints
from sluice.authoring.new_topic.json_bounds import column_for
from sluice.authoring.new_topic.naming import singular, snake
from sluice.authoring.new_topic.sampled_scalars import number_type, scalar_of, text_type
from sluice.errors import ContractError


class SampledValue(Struct, frozen=True):
    """A value, and the offset of its message."""

    value: Any
    partition: int
    offset: int

    def part(self, value: Any) -> "SampledValue":
        """A part of this value, at the same offset."""
        return SampledValue(value, self.partition, self.offset)


_KINDS: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "object",
    datetime: "datetime",
    date: "date",
    time: "time",
    timedelta: "timedelta",
    UUID: "UUID",
    Decimal: "Decimal",
    bytes: "bytes",
}
"""The kinds of values; those from ``datetime`` on are not in JSON, but in Avro."""

_LEAST_KEYS = 8
_PRESENCE = 0.25
"""An object is a dict when all messages together have more than ``_LEAST_KEYS`` keys, and less than
the share ``_PRESENCE`` of the messages has an average key."""

_MOST_FIELDS = 200
"""Such an object with values of several types still has fixed fields, up to this number."""

_DATA_KEY = re.compile(r"\d+|\d{4}-\d\d-\d\d.*|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""Keys that look like data: numbers, dates, UUIDs."""


def infer(
    messages: Sequence[SampledValue], name: str, skipped: SkippedFields, hints: Hints = NO_HINTS
) -> Draft:
    """The fields and types that messages, all of them JSON objects, have in common.

    Args:
        messages: their order is the order of the fields.
        name: the topic, which gives the message's class its name.
        skipped: fields to leave out.
        hints: what the schemas of the messages say.

    Raises:
        ContractError: fields with values of several types, each with offsets. ``field`` is set
            when there is one problem only.
    """
    inference = _Inference(skipped, hints)
    message = inference.object(messages, "", name)
    if len(inference.problems) == 1:
        raise inference.problems[0]
    if inference.problems:
        raise ContractError("; ".join(map(str, inference.problems)))
    skipped.check()
    text = f"made from {len(messages):,} messages; each of them has every field without a default"
    return Draft(
        message=msgspec.structs.replace(message, reviews=(text, *message.reviews)),
        notes=tuple(inference.notes),
    )


class _Inference:
    """Walks the values recursively; collects problems and notes."""

    def __init__(self, skipped: SkippedFields, hints: Hints) -> None:
        self._skipped, self._hints = skipped, hints
        self.problems: list[ContractError] = []
        self.notes: list[str] = []

    def object(self, samples: Sequence[SampledValue], path: str, name: str) -> Object:
        """An object with the fields of all samples."""
        by_key: dict[str, list[SampledValue]] = {}
        for sample in samples:
            for key, value in sample.value.items():
                by_key.setdefault(key, []).append(sample.part(value))
        fields, reviews = [], []
        for key, values in by_key.items():
            inner_path = f"{path}.{key}" if path else key
            if self._skipped.matches(inner_path):
                reviews.append(skipped_review(inner_path))
            else:
                fields.append(self._field(key, values, len(samples), inner_path))
        if not fields:
            kind = "object" if path else "message"
            text = f"the {kind} has no field" + (" that is not left out" if reviews else "")
            self.problems.append(ContractError(text, field=path))
        return Object(name, tuple(fields), default_doc(path), tuple(reviews))

    def _field(self, key: str, samples: list[SampledValue], objects: int, path: str) -> Field:
        reviews: list[str] = []
        values = [sample for sample in samples if sample.value is not None]
        nulls, missing = len(samples) - len(values), objects - len(samples)
        type_ = self._type(values, path, key, reviews)
        if nulls:
            reviews.append(f"null in {nulls:,} of {objects:,}")
        if missing:
            reviews.append(f"missing from {missing:,} of {objects:,}")
        field = Field(key=key, type=type_, reviews=tuple(reviews))
        may_be_null = bool(nulls) or path in self._hints.nullable
        may_be_missing = bool(missing) or path in self._hints.absent
        if not may_be_null and not may_be_missing:
            return field
        # A nullable field may also be missing. Lists and dicts are never nullable.
        may_be_missing = may_be_missing or not isinstance(type_, ListOf | DictOf)
        field = optional(field, missing=may_be_missing, null=may_be_null)
        if nulls and not field.nullable:
            self.notes.append(f"{path} is null in {nulls:,} of {objects:,}: {field.reviews[-1]}")
        return field

    def _type(
        self, samples: Sequence[SampledValue], path: str, name: str, reviews: list[str]
    ) -> Type:
        """The common type of values that are not null."""
        if not samples:
            reviews.append("every sample is null or missing, so its type is not known")
            return Scalar("str")
        kinds = _kinds(samples)
        if kinds.keys() == {"int", "float"}:
            if scalar := number_type([sample.value for sample in samples], reviews):
                return scalar
        elif len(kinds) == 2 and "str" in kinds:
            # JSON writes as text what Avro has a type for.
            values = [_as_text(sample.value) for sample in samples]
            text = text_type(values, [])
            if text.python in kinds and text.python != "str":
                return text
        if len(kinds) > 1:
            self.problems.append(_several_types(path, kinds))
            return Scalar("str")
        [kind] = kinds
        match kind:
            case "int":
                return self._integer([sample.value for sample in samples], path, reviews)
            case "str":
                return text_type([sample.value for sample in samples], reviews)
            case "list":
                return self._list(samples, path, name, reviews)
            case "object":
                return self._object_or_dict(samples, path, name, reviews)
        if kind not in SCALARS:
            self.problems.append(_several_types(path, kinds))
            return Scalar("str")
        return scalar_of(kind, [sample.value for sample in samples])

    def _integer(self, values: list[int], path: str, reviews: list[str]) -> Scalar:
        low, high = min(values), max(values)
        values_text = f"from {low} to {high}" if low < high else f"{low} only"
        reviews.append(f"the sample has whole numbers {values_text}; the bounds are not known")
        try:
            return Scalar("int", column=column_for(low, high, path))
        except ContractError as error:
            self.problems.append(error)
            return Scalar("int")

    def _list(
        self, samples: Sequence[SampledValue], path: str, name: str, reviews: list[str]
    ) -> ListOf:
        items = [sample.part(item) for sample in samples for item in sample.value]
        type_, nullable = self._parts(items, f"{path}[]", singular(snake(name)), reviews)
        return ListOf(type_, nullable)

    def _object_or_dict(
        self, samples: Sequence[SampledValue], path: str, name: str, reviews: list[str]
    ) -> Type:
        counts = Counter(key for sample in samples for key in sample.value)
        values = [sample.part(value) for sample in samples for value in sample.value.values()]
        kinds = _kinds(values).keys()
        several_types = len(kinds) > 1 and kinds != {"int", "float"}
        is_dict = path in self._hints.dicts
        if not is_dict and (
            not _keys_are_data(counts, len(samples))
            or (several_types and len(counts) <= _MOST_FIELDS)
        ):
            return self.object(samples, path, name)
        if counts and not is_dict:
            text = f"{len(counts):,} keys in {len(samples):,} objects: the keys are taken for data"
            reviews.append(text)
        type_, nullable = self._parts(values, f"{path}{{}}", singular(snake(name)), reviews)
        return DictOf(type_, nullable)

    def _parts(
        self, samples: Sequence[SampledValue], path: str, name: str, reviews: list[str]
    ) -> tuple[Type, bool]:
        """The type of a list's items or a dict's values, and whether they may be null."""
        values = [sample for sample in samples if sample.value is not None]
        type_ = self._type(values, path, name, reviews)
        nulls = len(samples) - len(values)
        nullable = nulls > 0 or path in self._hints.nullable
        if isinstance(type_, Scalar):
            # A dictionary is not worth its cost for strings within a list or a dict.
            type_ = msgspec.structs.replace(type_, low_cardinality=False)
        if nulls and isinstance(type_, ListOf | DictOf):
            text = f"{nulls:,} of {len(samples):,} are null, and messages with null are refused"
            reviews.append(text)
            self.notes.append(f"{path}: {text}")
        return type_, nullable and not isinstance(type_, ListOf | DictOf)


def _kinds(samples: Sequence[SampledValue]) -> dict[str, SampledValue]:
    """The types of all values that are not null, each with its first sample."""
    kinds: dict[str, SampledValue] = {}
    for sample in samples:
        if sample.value is not None:
            kind = type(sample.value)
            kinds.setdefault(_KINDS.get(kind, kind.__name__), sample)
    return kinds


def _several_types(path: str, kinds: Mapping[str, SampledValue]) -> ContractError:
    examples = ", ".join(
        f"{kind} (partition {sample.partition}, offset {sample.offset})"
        for kind, sample in kinds.items()
    )
    plain = path.replace("[]", "").replace("{}", "")
    detail = f"its values have several types: {examples}; --skip-field {plain} leaves it out"
    return ContractError(detail, field=path)


def _keys_are_data(counts: Mapping[str, int], objects: int) -> bool:
    if all(_DATA_KEY.fullmatch(key) for key in counts):
        return True
    return len(counts) > _LEAST_KEYS and sum(counts.values()) < _PRESENCE * len(counts) * objects


def _as_text(value: Any) -> str:
    """A scalar as JSON writes it."""
    text = msgspec.to_builtins(value)
    return text if isinstance(text, str) else repr(text)
