"""How an older version of a message becomes the current one, and what it looked like itself.

A version says what it changed since the version before: fields added (each with the value that
older messages get), renamed, removed, or a function for all that cannot be said so. From that
follows, for every older version, a class that reads its messages as the current ones.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from sluice.contract.contract import Contract
from sluice.contract.parts import Version

CANNOT_LIFT = "cannot be lifted to version "
"""How the failure of a version's own function begins."""


class Origin(Struct, frozen=True):
    """Where the current fields are in the messages of an older version.

    Attributes:
        filled: field → the value it gets, for the fields that came later.
        renamed: field → its older name, for the fields that had another name.
        lifted: whether a function stands between the two versions.
    """

    filled: Mapping[str, Any]
    renamed: Mapping[str, str]
    lifted: bool

    @property
    def explains(self) -> frozenset[str]:
        """Fields that messages of the older version lack, under their current name."""
        return frozenset(self.filled) | frozenset(self.renamed)


def later_versions(contract: Contract, version: Version) -> list[Version]:
    """The versions after one, oldest first."""
    return [v for v in contract.versions if v.number > version.number]


def origin_of(contract: Contract, version: Version) -> Origin:
    """Follow each current field back to a version."""
    filled, renamed = {}, {}
    steps = later_versions(contract, version)
    for field in msgspec.structs.fields(contract.message):
        name = field.name
        for step in reversed(steps):
            if name in step.added:
                filled[field.name] = step.added[name]
                break
            name = next((old for old, new in step.renamed.items() if new == name), name)
        else:
            if name != field.name:
                renamed[field.name] = name
    return Origin(filled, renamed, any(step.lift for step in steps))


def reader_class(contract: Contract, origin: Origin) -> type[Struct]:
    """The current class as messages of an older version see it: later fields have a default."""
    if not origin.explains:
        return contract.message
    message = contract.message
    names = {f.name: f.encode_name for f in msgspec.structs.fields(message)}
    types = get_type_hints(message, include_extras=True)
    fields: list[tuple[str, Any, Any]] = [
        (name, types[name], msgspec.field(name=names[name], default_factory=partial(_same, value)))
        for name, value in origin.filled.items()
    ]
    fields += [
        (field.name, types[field.name], _named(field, origin.renamed[field.name]))
        for field in msgspec.structs.fields(message)
        if field.name in origin.renamed
    ]
    return msgspec.defstruct(
        f"{message.__name__}_older",
        fields,
        bases=(message,),
        frozen=True,
        gc=message.__struct_config__.gc,
        kw_only=True,
    )


def build_lift(contract: Contract, version: Version) -> Callable[..., Any]:
    """Makes current messages of a version that a function lifts, from objects, step by step.

    The result raises what msgspec raises; a function that fails counts as a message that does
    not fit, because it met one that it was not written for.
    """
    steps, message = later_versions(contract, version), contract.message
    names = {f.name: f.encode_name for f in msgspec.structs.fields(message)}

    def lift(given: dict[str, Any], strict: bool = True) -> Any:
        value = dict(given)
        for step in steps:
            for old, new in step.renamed.items():
                if old in value:
                    value[new] = value.pop(old)
            if step.lift:
                try:
                    value = step.lift(value)
                except Exception as error:
                    told = f"{type(error).__name__}: {error}"
                    raise msgspec.ValidationError(f"{CANNOT_LIFT}{step.name}: {told}") from None
            for name, filling in step.added.items():
                value.setdefault(names.get(name, name), filling)
        return msgspec.convert(value, message, strict=strict)

    return lift


def parse_number(number: str) -> Decimal:
    """A JSON number with a fraction, to its last digit; of the size that a float may have.

    Raises:
        msgspec.ValidationError: it is larger, as msgspec itself refuses it.
    """
    try:
        value = Decimal(number)
    except ArithmeticError:  # an exponent beyond all measure
        raise msgspec.ValidationError("Number out of range") from None
    if math.isinf(float(value)):
        raise msgspec.ValidationError("Number out of range")
    return value


def version_class(contract: Contract, version: Version) -> type[Struct]:
    """The Struct of a version itself, as its own consumers read it: for documentation and tests.

    Fields that were removed since are not part of it: nothing is known of them but their name.
    """
    found, message = origin_of(contract, version), contract.message
    types = get_type_hints(message, include_extras=True)
    fields = [
        (
            field.name,
            types[field.name],
            _named(field, found.renamed.get(field.name, field.encode_name)),
        )
        for field in msgspec.structs.fields(message)
        if field.name not in found.filled
    ]
    return msgspec.defstruct(message.__name__, fields, frozen=True, kw_only=True)


def _named(field: FieldInfo, name: str) -> Any:
    """A field under another name, with the default that it has."""
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(name=name, default=field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(name=name, default_factory=field.default_factory)
    return msgspec.field(name=name)


def _same(value: Any) -> Any:
    """The value itself: a filled field is known by its identity."""
    return value
