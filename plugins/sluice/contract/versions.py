"""Reading messages of older versions as the current version, and the classes of the older ones.

Each version declares its changes since the previous one: fields added (with the value that older
messages get), renamed or removed, or a function for any other change. From these, every older
version gets a class that reads its messages as current ones.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from sluice.contract.definition import Contract
from sluice.contract.parts import Version

CANNOT_LIFT = "cannot be lifted to version "
"""Start of the text of a validation error that a version's ``lift`` function caused."""


class Origin(Struct, frozen=True):
    """Where the values of the current fields come from in messages of an older version.

    Attributes:
        filled: field that was added later → the value that it gets.
        renamed: field that was renamed later → its older name.
        lifted: whether a ``lift`` function lies between the two versions.
    """

    filled: Mapping[str, Any]
    renamed: Mapping[str, str]
    lifted: bool

    @property
    def absent_fields(self) -> frozenset[str]:
        """Current names of the fields that messages of the older version do not have."""
        return frozenset(self.filled) | frozenset(self.renamed)


def later_versions(contract: Contract, version: Version) -> list[Version]:
    """The versions after ``version``, oldest first."""
    return [v for v in contract.versions if v.number > version.number]


def origin_of(contract: Contract, version: Version) -> Origin:
    """Trace each current field back to ``version``."""
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
    """The class that reads messages of an older version: the current class or a subclass of it.

    In the subclass, fields that were added later default to their filling value, and fields that
    were renamed later have their older name.
    """
    if not origin.absent_fields:
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
    """A function that converts objects of an older version to current messages, step by step.

    The function raises what msgspec raises. If a version's ``lift`` fails, that is a validation
    error of the message too: it is not of the form that ``lift`` was written for.
    """
    steps, message = later_versions(contract, version), contract.message
    names = {f.name: f.encode_name for f in msgspec.structs.fields(message)}

    def lift(fields: dict[str, Any], strict: bool = True) -> Any:
        value = dict(fields)
        for step in steps:
            for old, new in step.renamed.items():
                if old in value:
                    value[new] = value.pop(old)
            if step.lift:
                try:
                    value = step.lift(value)
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    raise msgspec.ValidationError(f"{CANNOT_LIFT}{step.name}: {reason}") from None
            for name, filling in step.added.items():
                value.setdefault(names.get(name, name), filling)
        return msgspec.convert(value, message, strict=strict)

    return lift


def parse_number(number: str) -> Decimal:
    """A JSON number with a fraction, with all its digits.

    Raises:
        msgspec.ValidationError: it is larger than a float can be; msgspec refuses it the same way.
    """
    try:
        value = Decimal(number)
    except ArithmeticError:  # the exponent is too large even for Decimal
        raise msgspec.ValidationError("Number out of range") from None
    if math.isinf(float(value)):
        raise msgspec.ValidationError("Number out of range")
    return value


def version_class(contract: Contract, version: Version) -> type[Struct]:
    """The Struct of a version as its own consumers read it, for documentation and tests.

    It lacks fields that were removed since, because only their names are known.
    """
    origin, message = origin_of(contract, version), contract.message
    types = get_type_hints(message, include_extras=True)
    fields = [
        (
            field.name,
            types[field.name],
            _named(field, origin.renamed.get(field.name, field.encode_name)),
        )
        for field in msgspec.structs.fields(message)
        if field.name not in origin.filled
    ]
    return msgspec.defstruct(message.__name__, fields, frozen=True, kw_only=True)


def _named(field: FieldInfo, name: str) -> Any:
    """A field under another name, with its own default."""
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(name=name, default=field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(name=name, default_factory=field.default_factory)
    return msgspec.field(name=name)


def _same(value: Any) -> Any:
    """The value itself, not a copy: readers recognise a filled field by identity."""
    return value
