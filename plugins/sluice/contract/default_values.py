"""Checks of the values that a contract itself supplies: defaults, and fillings of older versions.

msgspec accepts any default without looking at it. One that its type, bounds or column does not
hold would make every message without the field fail, or be loaded as another value.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as mi

from sluice.contract.checks import Violation, unless_null
from sluice.contract.inspection import unwrap, walk_structs
from sluice.contract.lossless import build_value_check
from sluice.contract.parts import Version
from sluice.contract.type_map import column_type_of, message_type
from sluice.errors import ContractError


def check_supplied_values(message: type[Struct], versions: Sequence[Version]) -> None:
    """Refuse defaults and fillings that a message could not have had.

    Raises:
        ContractError: ``field`` names the field.
    """
    for struct in walk_structs(message):
        types = _fields(struct)
        for field in msgspec.structs.fields(struct):
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if default is not msgspec.NODEFAULT:
                _check(default, field, types[field.name], f"its default in {struct.__name__}")
    types = _fields(message)
    fields = {field.name: field for field in msgspec.structs.fields(message)}
    for position, version in enumerate(versions):
        for added, value in version.added.items():
            name = added
            for later in versions[position + 1 :]:
                name = later.renamed.get(name, name)
            if name in fields:
                source = f"its value in `added` of version {version.name}"
                _check(value, fields[name], types[name], source)


def _fields(struct: type[Struct]) -> dict[str, mi.Type]:
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return {field.name: field.type for field in info.fields}


def _check(value: Any, field: msgspec.structs.FieldInfo, type_: mi.Type, source: str) -> None:
    try:
        msgspec.convert(msgspec.to_builtins(value), field.type)
    except (msgspec.ValidationError, TypeError) as error:
        raise ContractError(f"{source} is not valid: {error}", field=field.encode_name) from None
    if violation := _violation(value, type_):
        where = f" at {violation.path}" if violation.path else ""
        raise ContractError(f"{source}{where} {violation.text}", field=field.encode_name)


def _violation(value: Any, type_: mi.Type) -> Violation | None:
    inner, options, nullable = unwrap(type_)
    if isinstance(inner, mi.StructType) and not options.type:
        limits = message_type(inner.cls).check
    else:
        limits = column_type_of(type_, ("value",)).check
    for check in (limits, build_value_check(inner)):
        checked = unless_null(check) if nullable else check
        if checked and (violation := checked(value)):
            return violation
    return None
