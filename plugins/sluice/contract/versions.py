"""Reading messages of older versions as the current version, and the classes of the older ones.

Each version declares its changes since the previous one: fields added (with the value that older
messages get), renamed or removed, or a function for any other change. From these, every older
version gets a class that reads its messages as current ones.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from sluice.contract.definition import Contract
from sluice.contract.lossless import FineTimes
from sluice.contract.parts import Version
from sluice.contract.struct_options import type_hints
from sluice.contract.time_cut import TimeCut

CANNOT_LIFT = "cannot be lifted to version "
"""Start of the text of a validation error that a version's ``lift`` function caused."""


class _Absent:
    """The value of a field that a message of an older version does not have, until it is filled."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Any = _Absent()


class Origin(Struct, frozen=True):
    """Where the values of the current fields come from in messages of an older version.

    Attributes:
        filled: field that was added later → the value that it gets.
        renamed: field that was renamed later → its older name.
        removed: names, in messages, of the fields that were removed later.
        lifted: whether the older messages are converted as objects, step by step: a ``lift``
            function lies between the two versions, or an older name now belongs to another field.
    """

    filled: Mapping[str, Any]
    renamed: Mapping[str, str]
    removed: frozenset[str]
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
    steps, fields = later_versions(contract, version), msgspec.structs.fields(contract.message)
    for field in fields:
        name = field.name
        for step in reversed(steps):
            if name in step.added:
                filled[field.name] = step.added[name]
                break
            name = next((old for old, new in step.renamed.items() if new == name), name)
        else:
            if name != field.name:
                renamed[field.name] = name
    removed = frozenset(name for step in steps for name in step.removed)
    older = removed | {old for step in steps for old in step.renamed}
    reused = any(f.name in filled and f.encode_name in older for f in fields)
    return Origin(filled, renamed, removed, reused or any(step.lift for step in steps))


def reader_class(contract: Contract, origin: Origin) -> type[Struct]:
    """The class that reads messages of an older version: the current class or a subclass of it.

    In the subclass, fields that were added later are :data:`ABSENT` where the message does not have
    them, fields that were renamed later have their older name, and fields that were removed later
    are allowed.
    """
    message = contract.message
    config = message.__struct_config__
    forbids = config.forbid_unknown_fields and not origin.removed
    if not origin.absent_fields and forbids == config.forbid_unknown_fields:
        return message
    names = {f.name: f.encode_name for f in msgspec.structs.fields(message)}
    types = type_hints(message)
    fields: list[tuple[str, Any, Any]] = [
        (name, types[name], msgspec.field(name=names[name], default_factory=_absent))
        for name in origin.filled
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
        gc=config.gc,
        kw_only=True,
        tag=config.tag,
        tag_field=config.tag_field,
        forbid_unknown_fields=forbids,
        namespace={"__post_init__": _later} if hasattr(message, "__post_init__") else None,
    )


def _later(message: Struct) -> None:
    """Takes the place of ``__post_init__``, which is called when the message has been filled."""


def _absent() -> Any:
    return ABSENT


def build_lift(contract: Contract, version: Version) -> Callable[[dict[str, Any]], Any]:
    """A function that converts objects of an older version to current messages, step by step.

    The function raises what msgspec raises. If a version's ``lift`` fails, that is a validation
    error of the message too: it is not of the form that ``lift`` was written for.
    """
    steps, message = later_versions(contract, version), contract.message
    names = {f.name: f.encode_name for f in msgspec.structs.fields(message)}
    times, cut = FineTimes(message), TimeCut(message)

    def lift(fields: dict[str, Any]) -> Any:
        # Lift functions may change what they get, and another version may read the same object.
        value = copy.deepcopy(fields)
        for step in steps:
            for old, new in step.renamed.items():
                if old in value:
                    value[names.get(new, new)] = value.pop(old)
            if step.lift:
                try:
                    value = step.lift(value)
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    raise msgspec.ValidationError(f"{CANNOT_LIFT}{step.name}: {reason}") from None
            for name in step.removed:
                value.pop(name, None)
            for name, filling in step.added.items():
                value.setdefault(names.get(name, name), filling)
        value = cut.cut_in(value)
        if violation := times.find_in(value):
            raise msgspec.ValidationError(f"{violation.text} - at `$.{violation.path}`")
        return msgspec.convert(value, message, str_keys=True)

    return lift


def version_class(contract: Contract, version: Version) -> type[Struct]:
    """The Struct of a version as its own consumers read it, for documentation and tests.

    It lacks fields that were removed since, because only their names are known.
    """
    origin, message = origin_of(contract, version), contract.message
    types, config = type_hints(message), message.__struct_config__
    fields = [
        (
            field.name,
            types[field.name],
            _named(field, origin.renamed.get(field.name, field.encode_name)),
        )
        for field in msgspec.structs.fields(message)
        if field.name not in origin.filled
    ]
    return msgspec.defstruct(
        message.__name__,
        fields,
        frozen=True,
        kw_only=True,
        tag=config.tag,
        tag_field=config.tag_field,
    )


def _named(field: FieldInfo, name: str) -> Any:
    """A field under another name, with its own default."""
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(name=name, default=field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(name=name, default_factory=field.default_factory)
    return msgspec.field(name=name)
