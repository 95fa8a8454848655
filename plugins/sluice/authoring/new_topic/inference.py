"""The types of a topic's messages, from a sample of them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from msgspec import Struct

from sluice.authoring.new_topic.description import (
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
from sluice.authoring.new_topic.json_bounds import column_for
from sluice.authoring.new_topic.naming import singular, snake
from sluice.errors import ContractError


class Seen(Struct, frozen=True):
    """A value, and the message it was in."""

    value: Any
    partition: int
    offset: int

    def part(self, value: Any) -> "Seen":
        """A part of this value."""
        return Seen(value, self.partition, self.offset)


_KINDS: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "object",
}

_LEAST_KEYS = 8
_PRESENCE = 0.25
"""An object is a dict when it has more than so many keys over all messages, and each of them is
in less than this share of them on average."""

_MOST_FIELDS = 200
"""Such an object with values of several types is still one of known fields, up to so many."""

_DATA_KEY = re.compile(r"\d+|\d{4}-\d\d-\d\d.*|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""Keys that are data by their looks: numbers, dates, UUIDs."""

_REPEATS = 10
_MOST_DISTINCT = 100
"""Strings are few when there are at most so many, each seen so often on average."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EARLIEST, _LATEST = (
    datetime(1900, 1, 1, tzinfo=UTC),
    datetime(2299, 12, 31, 23, 59, 59, tzinfo=UTC),
)


def infer(messages: Sequence[Seen], name: str, skips: SkippedFields) -> Draft:
    """What messages, all of them JSON objects, have in common.

    Args:
        messages: in the order in which fields are to be listed.
        name: the topic, after which the message's class is called.
        skips: fields to leave out.

    Raises:
        ContractError: fields that are of several types; names each, with offsets.
    """
    inference = _Inference(skips)
    message = inference.object(messages, "", name)
    if inference.problems:
        raise ContractError("; ".join(inference.problems))
    skips.check()
    text = f"made from {len(messages):,} messages; a field without a default was in each of them"
    return Draft(
        message=msgspec.structs.replace(message, reviews=(text, *message.reviews)),
        told=tuple(inference.told),
    )


class _Inference:
    """Goes down into the values; gathers what is wrong and what should be told."""

    def __init__(self, skips: SkippedFields) -> None:
        self._skips = skips
        self.problems: list[str] = []
        self.told: list[str] = []

    def object(self, seen: Sequence[Seen], path: str, name: str) -> Object:
        """An object with the fields of all that were seen."""
        by_key: dict[str, list[Seen]] = {}
        for one in seen:
            for key, value in one.value.items():
                by_key.setdefault(key, []).append(one.part(value))
        fields, reviews = [], []
        for key, values in by_key.items():
            here = f"{path}.{key}" if path else key
            if self._skips.has(here):
                reviews.append(left_out(here))
            else:
                fields.append(self._field(key, values, len(seen), here))
        if not fields:
            left = " that is not left out" if reviews else ""
            self.problems.append(f"{path or 'the message'} has no field{left}")
        return Object(name, tuple(fields), place_of(path), tuple(reviews))

    def _field(self, key: str, seen: list[Seen], objects: int, path: str) -> Field:
        reviews: list[str] = []
        values = [one for one in seen if one.value is not None]
        nulls, missing = len(seen) - len(values), objects - len(seen)
        type_ = self._type(values, path, key, reviews)
        if nulls:
            reviews.append(f"null in {nulls:,} of {objects:,}")
        if missing:
            reviews.append(f"missing from {missing:,} of {objects:,}")
        field = Field(key=key, type=type_, reviews=tuple(reviews))
        if not nulls and not missing:
            return field
        # What can be null may as well be missing, but for a list and a dict.
        loose = bool(missing) or not isinstance(type_, ListOf | DictOf)
        field = optional(field, missing=loose, null=bool(nulls))
        if nulls and not field.nullable:
            self.told.append(f"{path} is null in {nulls:,} of {objects:,}: {field.reviews[-1]}")
        return field

    def _type(self, seen: Sequence[Seen], path: str, name: str, reviews: list[str]) -> Type:
        """The one type of values that are not null."""
        if not seen:
            reviews.append("no value was seen, so its type is not known")
            return Scalar("str")
        kinds = _kinds(seen)
        if len(kinds) > 1:
            self.problems.append(_mixed(path, kinds))
            return Scalar("str")
        [kind] = kinds
        match kind:
            case "int":
                return self._integer([one.value for one in seen], path, reviews)
            case "str":
                return _text([one.value for one in seen], reviews)
            case "list":
                return self._list(seen, path, name, reviews)
            case "object":
                return self._object_or_dict(seen, path, name, reviews)
        return Scalar(kind)

    def _integer(self, values: list[int], path: str, reviews: list[str]) -> Scalar:
        low, high = min(values), max(values)
        shown = f"whole numbers from {low} to {high} were" if low < high else f"only {low} was"
        reviews.append(f"{shown} seen; its bounds are not known")
        try:
            return Scalar("int", column=column_for(low, high, path))
        except ContractError as error:
            self.problems.append(str(error))
            return Scalar("int")

    def _list(self, seen: Sequence[Seen], path: str, name: str, reviews: list[str]) -> ListOf:
        items = [one.part(item) for one in seen for item in one.value]
        type_, nullable = self._parts(items, f"{path}[]", singular(snake(name)), reviews)
        return ListOf(type_, nullable)

    def _object_or_dict(
        self, seen: Sequence[Seen], path: str, name: str, reviews: list[str]
    ) -> Type:
        counts = Counter(key for one in seen for key in one.value)
        values = [one.part(value) for one in seen for value in one.value.values()]
        kinds = _kinds(values)
        if not _keys_are_data(counts, len(seen)) or (
            len(kinds) > 1 and len(counts) <= _MOST_FIELDS
        ):
            return self.object(seen, path, name)
        if counts:
            reviews.append(f"{len(counts):,} keys in {len(seen):,} objects: taken for data")
        type_, nullable = self._parts(values, f"{path}{{}}", singular(snake(name)), reviews)
        return DictOf(type_, nullable)

    def _parts(
        self, seen: Sequence[Seen], path: str, name: str, reviews: list[str]
    ) -> tuple[Type, bool]:
        """The type of a list's items or a dict's values, and whether they may be null."""
        values = [one for one in seen if one.value is not None]
        type_ = self._type(values, path, name, reviews)
        nulls = len(seen) - len(values)
        if isinstance(type_, Scalar):
            # Few strings within a list or a dict are not worth a dictionary of their own.
            type_ = msgspec.structs.replace(type_, low_cardinality=False)
        if nulls and isinstance(type_, ListOf | DictOf):
            text = f"{nulls:,} of {len(seen):,} parts are null, and messages with those are refused"
            reviews.append(text)
            self.told.append(f"{path}: {text}")
        return type_, nulls > 0 and not isinstance(type_, ListOf | DictOf)


def _kinds(seen: Sequence[Seen]) -> dict[str, Seen]:
    """Kinds of values but null, each with the first that was seen."""
    found: dict[str, Seen] = {}
    for one in seen:
        if one.value is not None:
            found.setdefault(_KINDS[type(one.value)], one)
    if "float" in found:  # which reads whole numbers, too
        found.pop("int", None)
    return found


def _mixed(path: str, kinds: Mapping[str, Seen]) -> str:
    shown = ", ".join(
        f"{kind} (partition {one.partition}, offset {one.offset})" for kind, one in kinds.items()
    )
    plain = path.replace("[]", "").replace("{}", "")
    return f"field {path!r} is of several types: {shown}; --skip-field {plain} leaves it out"


def _keys_are_data(counts: Mapping[str, int], objects: int) -> bool:
    if all(_DATA_KEY.fullmatch(key) for key in counts):
        return True
    return len(counts) > _LEAST_KEYS and sum(counts.values()) < _PRESENCE * len(counts) * objects


def _text(values: list[str], reviews: list[str]) -> Scalar:
    """What strings stand for."""
    for python, reads in (("datetime", _is_datetime), ("date", _is_date), ("UUID", _is_uuid)):
        fitting = sum(map(reads, values))
        if fitting == len(values):
            return Scalar(python, column=_finer(values) if python == "datetime" else "")
        if fitting > len(values) / 2:
            others = len(values) - fitting
            reviews.append(
                f"{fitting:,} of {len(values):,} are a {python}; a str for the other {others:,}"
            )
    distinct = len(set(values))
    few = distinct <= _MOST_DISTINCT and distinct * _REPEATS <= len(values)
    return Scalar("str", low_cardinality=few)


def _is_datetime(text: str) -> bool:
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return False
    return _EARLIEST <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) <= _LATEST


def _is_date(text: str) -> bool:
    try:
        return _EARLIEST.date() <= msgspec.convert(text, date) <= _LATEST.date()
    except msgspec.ValidationError:
        return False


def _is_uuid(text: str) -> bool:
    # msgspec would read 32 digits without dashes, too, but those may be any hash.
    return _UUID.fullmatch(text) is not None


def _finer(values: list[str]) -> str:
    """The column for times that are finer than the usual one keeps."""
    finer = any(msgspec.convert(text, datetime).microsecond % 1000 for text in values)
    return "DateTime64(6, 'UTC')" if finer else ""
