"""A filled-in trigger form as a request. Pure; errors say what to change.

A form checks types, but no combinations, and Airflow's API does not check dates: everything is
validated again here.
"""

from collections.abc import Mapping
from typing import Any, get_args

from sluice.airflow.form_fields import CHOICE_OF_FIELD, TITLES
from sluice.errors import PlanError
from sluice.store.request import (
    Existing,
    RefusalFilter,
    Request,
    is_offset,
    parse_offsets,
    parse_partitions,
    parse_window,
)


def parse_request(topic: str, params: Mapping[str, Any]) -> Request:
    """The request of a filled-in form.

    Raises:
        PlanError: a field cannot be read, or contradicts another; ``field`` is its name.
    """
    fields = {name: _text(params.get(name)) for name in CHOICE_OF_FIELD}
    what = _text(params.get("what")) or "new"
    if what not in TITLES:
        raise PlanError(f"the choices are {', '.join(TITLES)}; not {what!r}", field="what")
    for name, (choice, title) in CHOICE_OF_FIELD.items():
        if fields[name] and what != choice:
            raise PlanError(
                f"'{title}' is filled in ({fields[name]}), but what to load is {TITLES[what]}:"
                f" clear the field, or choose '{TITLES[choice]}'",
                field=name,
            )
    existing = _text(params.get("existing")) or "skip"
    if existing not in get_args(Existing):
        choices = " or ".join(get_args(Existing))
        raise PlanError(f"the choices are {choices}; not {existing!r}", field="existing")
    request = Request(
        partitions=parse_partitions(_text(params.get("partitions"))),
        max_messages=_count(params.get("max_messages")),
        existing="replace" if existing == "replace" else "skip",
        **_window(topic, what, fields),
    )
    request.check()
    return request


def _window(topic: str, what: str, fields: Mapping[str, str]) -> dict[str, Any]:
    if what == "offsets":
        if not fields["offsets"]:
            raise PlanError("name the offsets, such as 0: 100-200, 1: 50-", field="offsets")
        return {"offsets": tuple(parse_offsets(fields["offsets"]))}
    if what == "times":
        return _times(fields["from"], fields["to"])
    if what == "everything":
        return {"low": "0"}
    if what == "quarantined":
        refused = RefusalFilter(
            topic=topic,
            reason=fields["reason"],
            field=fields["field"],
            version=fields["version"],
            load_id=fields["load"],
        )
        return {"refused": refused}
    return {}


def _times(low: str, high: str) -> dict[str, Any]:
    if not low and not high:
        raise PlanError(
            "a range of time needs a From or a To, such as 2026-01-31T14:00Z", field="from"
        )
    for name, text in (("from", low), ("to", high)):
        if is_offset(text):
            raise PlanError(
                f"{text} is a number, and what to load is a range of time: choose 'offsets', or"
                " write a time such as 2026-01-31T14:00Z",
                field=name,
            )
    parse_window(low, high)
    return {"low": low, "high": high}


def _text(value: Any) -> str:
    return str(value).strip() if value is not None else ""


def _count(value: Any) -> int:
    text = _text(value)
    if not text:
        return 0
    if not is_offset(text) or int(text) < 1:
        raise PlanError(
            f"it must be a whole number of 1 or more, not {text!r}", field="max_messages"
        )
    return int(text)
