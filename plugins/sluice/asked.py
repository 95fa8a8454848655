"""What a person filled into a form, as a request. Pure; says what to change when it is wrong.

A form can refuse a wrong type, not a wrong combination, and the API checks no date: everything is
looked at again here.
"""

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from sluice.bounds import window_of
from sluice.errors import PlanError
from sluice.form_fields import BELONGS, TITLES
from sluice.planning import EVER, Existing, Request, parse_partitions
from sluice.quarantine import Filter
from sluice.ranges import OffsetRange

_RANGE = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,18})\s*(?:-|–|to)\s*(\d{0,18})\s*", re.A)


def request_of(topic: str, params: Mapping[str, Any]) -> Request:
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
        narrowed = Filter(
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
    window_of(low, high)
    return {"low": low, "high": high}


def parse_offsets(text: str) -> list[OffsetRange]:
    """Ranges as a person writes them: ``0: 100-200, 1: 50-``; an open end is the topic's.

    Raises:
        PlanError: names the part that is none.
    """
    found = []
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        match = _RANGE.fullmatch(part)
        if match is None:
            raise PlanError(
                f"{part.strip()!r} is not a range of offsets: write partition, first offset and the"
                " one to stop before, such as 0: 100-200"
            )
        high = int(match[3]) if match[3] else EVER
        found.append(OffsetRange(int(match[1]), int(match[2]), high))
    return found


def words(request: Request) -> str:
    """A request as a person would say it."""
    if request.refused is not None:
        asked = msgspec.structs.asdict(request.refused)
        narrowed = [f"{n} {v}" for n, v in asked.items() if v and n not in ("topic", "status")]
        said = ", ".join(["messages in quarantine", *narrowed])
    elif request.offsets:
        said = f"offsets {', '.join(map(_shown, request.offsets))}"
    elif (request.low, request.high) == ("0", ""):
        said = "everything since the topic's beginning"
    elif request.windowed:
        said = f"from {request.low or 'the beginning'} to {request.high or 'the end'}"
    else:
        said = "everything new"
    if request.partitions:
        said += f", partitions {', '.join(map(str, request.partitions))}"
    if request.max_messages:
        said += f", at most {request.max_messages:,} offsets"
    if request.existing == "replace":
        said += ", loaded anew where it is loaded already"
    return said


def _shown(r: OffsetRange) -> str:
    return f"{r.partition}: {r.low}-{r.high if r.high < EVER else ''}"


def _text(value: Any) -> str:
    return str(value).strip() if value is not None else ""


def _count(value: Any) -> int:
    text = _text(value)
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise PlanError(f"at most so many offsets: a whole number of 1 or more, not {text!r}")
    return int(text)
