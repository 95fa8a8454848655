"""The form in which messages are staged, where msgspec's own JSON does not fit the staged tuple.

That is so for two kinds of Structs: with ``omit_defaults``, whose defaults ClickHouse would replace
by those of its types, and with field names that the staged tuple cannot have. And it is so for
sets, whose order differs from process to process. All other messages are staged as they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import inspect as mi

from sluice.contract.inspection import struct_class, unwrap

Form = Callable[[Any], Any]
"""Turns a decoded value into what is encoded and staged."""


def null_form(form: Form | None) -> Form | None:
    """The form of a value that may be null."""
    return form and (lambda value: None if value is None else form(value))


def list_form(form: Form | None) -> Form | None:
    """The form of a collection whose items have a form."""
    return form and (lambda values: [form(value) for value in values])


def set_form(form: Form | None) -> Form:
    """The form of a set: its items in the order of their JSON."""
    item = form or _same
    return lambda values: sorted(map(item, values), key=msgspec.json.encode)


def dict_form(form: Form | None) -> Form | None:
    """The form of a dict whose values have a form."""
    return form and (lambda values: {key: form(value) for key, value in values.items()})


def tuple_form(forms: Sequence[Form | None]) -> Form | None:
    """The form of a fixed tuple whose elements have forms."""
    if not any(forms):
        return None
    every = [form or _same for form in forms]
    return lambda values: [form(value) for form, value in zip(every, values, strict=True)]


def struct_form(
    info: mi.StructType, keys: Sequence[str], forms: Sequence[Form | None], tagged: bool = False
) -> Form | None:
    """The form of a Struct: an object with every field.

    Args:
        keys: the names of the fields in the object.
        tagged: whether the object has the Struct's tag, if it has one.
    """
    names = [field.encode_name for field in info.fields]
    omits = info.cls.__struct_config__.omit_defaults
    if list(keys) == names and not omits and not any(forms):
        return None
    head = {info.tag_field: info.tag} if tagged and info.tag_field else {}
    fields = [
        (field.name, key, form or _same)
        for field, key, form in zip(info.fields, keys, forms, strict=True)
    ]
    return lambda value: head | {key: form(getattr(value, name)) for name, key, form in fields}


def _same(value: Any) -> Any:
    return value


def json_text_form(info: mi.Type) -> Form | None:
    """The form of a value that is stored as its JSON text: every field, under its own name."""
    return _text_form(info, {})


Known = dict[type, Form | None]
"""The forms of Structs so far; one that is being built is looked up when it is called."""


def _text_form(type_: mi.Type, known: Known) -> Form | None:
    inner, _, nullable = unwrap(type_)
    form = _value_form(inner, known)
    return null_form(form) if nullable else form


def _value_form(info: mi.Type, known: Known) -> Form | None:
    match info:
        case mi.StructType():
            return _text_struct_form(info, known)
        case mi.SetType(item_type=item) | mi.FrozenSetType(item_type=item):
            return set_form(_text_form(item, known))
        case mi.ListType(item_type=item) | mi.VarTupleType(item_type=item):
            return list_form(_text_form(item, known))
        case mi.TupleType(item_types=items):
            return tuple_form([_text_form(item, known) for item in items])
        case mi.DictType(value_type=value):
            return dict_form(_text_form(value, known))
        case mi.UnionType(types=types):
            structs = [t for t in types if isinstance(t, mi.StructType)]
            forms = [_text_form(struct, known) for struct in structs]
            if any(forms):
                by_class = {
                    struct_class(t): f or _same for t, f in zip(structs, forms, strict=True)
                }
                return lambda value: by_class[type(value)](value)
    return None


def _text_struct_form(info: mi.StructType, known: Known) -> Form | None:
    cls: type = info.cls
    if cls not in known:
        known[cls] = None
        forms = [_text_form(field.type, known) for field in info.fields]
        names = [field.encode_name for field in info.fields]
        known[cls] = struct_form(info, names, forms, tagged=True)
        return known[cls]

    def form_known(value: Any) -> Any:
        form = known[cls]
        return form(value) if form else value

    return form_known
