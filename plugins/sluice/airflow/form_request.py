"""What a person filled into a form, as a request. Pure; says what to change when it is wrong.

A form can refuse a wrong type, not a wrong combination, and the API checks no date: everything is
looked at again here.
"""

from collections.abc import Mapping
from typing import Any, get_args

from sluice.airflow.form_fields import BELONGS, TITLES
from sluice.errors import PlanError
from sluice.store.request import (
    Existing,
    RefusalFilter,
    Request,
    parse_offsets,
    parse_partitions,
    parse_window,
)


def parse_request(topic: str, params: Mapping[str, Any]) -> Request:
    """The request that a filled-in form stands for.

    Raises:
        PlanError: a field cannot be read, or does not go together with the others.
    """
    given = {name: _text(params.get(name)) for name in BELONGS}
    what = _text(params.get("what")) or "new"
    if what not in TITLES:
        raise PlanError(f"what to load is one of {', '.join(TITLES)}; not {what!r}")
    for name, (choice, title) in BELONGS.items():
        if given[name] and what != choice:
            raise PlanError(
                f"'{title}' is filled in ({given[name]}), and what to load is"
                f" {TITLES[what]}: empty the field, or choose '{TITLES[choice]}'"
            )
    existing = _text(params.get("existing")) or "skip"
    if existing not in get_args(Existing):
        raise PlanError(f"what is loaded already is skipped or replaced; not {existing!r}")
    request = Request(
        partitions=parse_partitions(_text(params.get("partitions"))),
        max_messages=_count(params.get("max_messages")),
        existing="replace" if existing == "replace" else "skip",
        **_window(topic, what, given),
    )
    request.check()
    return request


def _window(topic: str, what: str, given: Mapping[str, str]) -> dict[str, Any]:
    if what == "offsets":
        if not given["offsets"]:
            raise PlanError("say which offsets, such as 0: 100-200, 1: 50-")
        return {"offsets": tuple(parse_offsets(given["offsets"]))}
    if what == "times":
        return _times(given["from"], given["to"])
    if what == "everything":
        return {"low": "0"}
    if what == "quarantined":
        narrowed = RefusalFilter(
            topic=topic,
            reason=given["reason"],
            field=given["field"],
            version=given["version"],
            load_id=given["load"],
        )
        return {"refused": narrowed}
    return {}


def _times(low: str, high: str) -> dict[str, Any]:
    if not low and not high:
        raise PlanError("a range of time needs a From or a To, such as 2026-01-31T14:00Z")
    for text in (low, high):
        if text.isascii() and text.isdigit():
            raise PlanError(
                f"{text} is a number, and a range of time was asked for: choose 'offsets', or write"
                " a time such as 2026-01-31T14:00Z"
            )
    parse_window(low, high)
    return {"low": low, "high": high}


def _text(value: Any) -> str:
    return str(value).strip() if value is not None else ""


def _count(value: Any) -> int:
    text = _text(value)
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise PlanError(f"at most so many offsets: a whole number of 1 or more, not {text!r}")
    return int(text)
