"""Checks of a contract's versions: together they must lead from the first one to the message.

Each refusal shows what to write instead.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from sluice.contract.parts import Version
from sluice.errors import ContractError


def check_history(message: type[Struct], versions: tuple[Version, ...]) -> None:
    """Refuse versions that contradict each other or the message.

    Raises:
        ContractError: without the topic; ``field`` names the field, if there is one.
    """
    _check_names(versions)
    history = _History(message)
    for before, version in reversed(list(pairwise(versions))):
        history.step_back(before, version)


def implied_fields(message: type[Struct], versions: Iterable[Version]) -> dict[str, Any]:
    """The optional fields that no version lists, with their defaults; any version may have added
    them. A default that a function makes is ``msgspec.NODEFAULT``.
    """
    listed: set[str] = set()
    for version in versions:
        listed = {version.renamed.get(name, name) for name in listed}
        listed |= {*version.added, *version.renamed.values()}
    fields = msgspec.structs.fields(message)
    return {f.name: f.default for f in fields if not f.required and f.name not in listed}


def changes_nothing(version: Version) -> bool:
    """Whether a version declares no change."""
    return not (version.added or version.renamed or version.removed or version.lift)


def _check_names(versions: tuple[Version, ...]) -> None:
    if not versions:
        _refuse(
            "`versions` is empty; its last entry must be the current version:"
            ' versions=(Version(name="1.0", released=date(…)),)'
        )
    for version in versions:
        if not re.fullmatch(r"\d+\.\d+", version.name):
            numbers = [*re.findall(r"\d+", version.name), "1", "0"]
            right = ".".join(numbers[:2]) if len(numbers) > 3 else f"{numbers[0]}.0"
            _refuse(
                f"version {version.name!r} does not have the form major.minor: write"
                f" {_text(version, name=right)}"
            )
    numbered = {version.number: version.name for version in versions}
    if [version.number for version in versions] != sorted(numbered):
        order = ", ".join(numbered[number] for number in sorted(numbered))
        _refuse(f"`versions` must list each version once, oldest first: {order}")
    first = versions[0]
    if not changes_nothing(first):
        nothing: Mapping[str, Any] = {"added": {}, "renamed": {}, "removed": (), "lift": None}
        _refuse(
            f"the first version, {first.name}, has no older version to change: put the older one"
            f" before it, or write {_text(first, **nothing)}"
        )


class _History:
    """The fields of the message, followed back from the current version to the first."""

    def __init__(self, message: type[Struct]) -> None:
        self._message = message.__name__
        self._fields = {field.name: field for field in msgspec.structs.fields(message)}
        self._known = set(self._fields)
        self._added: dict[str, str] = {}  # field → the later version that added it

    def step_back(self, before: Version, version: Version) -> None:
        """Check what a version changes, and continue with the fields before it."""
        breaking = version.renamed or version.removed or version.lift
        if breaking and version.number[0] == before.number[0]:
            _refuse(
                f"version {version.name} renames, removes or lifts fields, which breaks older"
                f" readers: make it version {version.number[0] + 1}.0, as"
                f" {_text(version, name=f'{version.number[0] + 1}.0')}"
            )
        self._check_contradictions(version)
        for field, value in version.added.items():
            self._check_added(version, field, value)
        for old, new in version.renamed.items():
            self._check_renamed(version, old, new)
        for field in version.removed:
            if field in self._known:
                rest = tuple(name for name in version.removed if name != field)
                _refuse(
                    f"version {version.name} removes this field, but it still exists: delete it"
                    f" from {self._message}, or write {_text(version, removed=rest)}",
                    field,
                )
        for old, new in version.renamed.items():
            self._known.discard(new)
            self._known.add(old)
        self._known.update(version.removed)
        self._known.difference_update(version.added)
        self._added |= dict.fromkeys(version.added, version.name)

    def _check_contradictions(self, version: Version) -> None:
        """Refuse a version that does two things to one field."""
        targets: dict[str, str] = {}
        for old, new in version.renamed.items():
            if new in targets:
                rest = _without(version.renamed, old)
                _refuse(
                    f"version {version.name} renames {targets[new]!r} and {old!r} to this field,"
                    f" but only one can become it: write {_text(version, renamed=rest)}, and let"
                    " `lift` do the rest",
                    new,
                )
            targets[new] = old
            if new in version.added:
                rest = _without(version.added, new)
                _refuse(
                    f"version {version.name} adds this field and renames {old!r} to it: write"
                    f" {_text(version, added=rest)}",
                    new,
                )
            if old in version.removed:
                kept = tuple(name for name in version.removed if name != old)
                _refuse(
                    f"version {version.name} removes this field and renames it to {new!r}: write"
                    f" {_text(version, removed=kept)}",
                    old,
                )

    def _check_added(self, version: Version, field: str, value: Any) -> None:
        rest = _without(version.added, field)
        if field not in self._known:
            if later := self._added.get(field):
                _refuse(
                    f"version {version.name} adds this field, and so does version {later}: only the"
                    " first version that has it lists it in `added`",
                    field,
                )
            self._refuse_unknown(
                f"version {version.name} adds this field",
                field,
                lambda name: _text(version, added={**rest, name: value}),
                _text(version, added=rest),
            )
        if not _is_immutable(value):
            right = f"write {_text(version, added={**rest, field: tuple(value)})}"
            if not isinstance(value, list):
                right = "such as a tuple, a frozenset or a frozen Struct"
            if field in self._fields and not self._fields[field].required:
                right = f"a field with a default need not be listed: {_text(version, added=rest)}"
            _refuse(
                f"its value in `added` of version {version.name} must be immutable: {right}", field
            )
        self._check_default(version, field, value)

    def _check_default(self, version: Version, field: str, value: Any) -> None:
        """An optional field may be missing in any version, and must then mean the same."""
        info = self._fields.get(field)
        if info is None or info.required:
            return
        default = _default(info)
        if type(value) is not type(default) or value != default:
            rest = {**version.added, field: default}
            _refuse(
                f"a message without this field gets its default in {self._message}, {default!r}, so"
                f" version {version.name} cannot give it another value: write"
                f" {_text(version, added=rest)}, or remove the default from {self._message}",
                field,
            )

    def _check_renamed(self, version: Version, old: str, new: str) -> None:
        rest = _without(version.renamed, old)
        if new not in self._known:
            if later := self._added.get(new):
                _refuse(
                    f"version {version.name} renames {old!r} to this field, but version {later}"
                    f" adds it: remove it from `added` of version {later}",
                    new,
                )
            self._refuse_unknown(
                f"version {version.name} renames {old!r} to this field",
                new,
                lambda name: _text(version, renamed={**rest, old: name}),
                _text(version, renamed=rest),
            )
        if old in self._known:
            _refuse(
                f"version {version.name} renames this field, but it still exists: delete it from"
                f" {self._message}, or write {_text(version, renamed=rest)}",
                old,
            )

    def _refuse_unknown(
        self, claim: str, field: str, named: Callable[[str], str], without: str
    ) -> NoReturn:
        """Refuse a change that leads to a field which no later version has."""
        near = get_close_matches(field, sorted(self._known), 1, 0.7)
        right = named(near[0]) if near else without
        _refuse(
            f"{claim}, but {self._message} does not have it: write {right}. If a later version"
            f' renamed or removed it, state it there: renamed={{"{field}": …}} or'
            f' removed=("{field}",)',
            field,
        )


def _default(field: FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _is_immutable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _text(version: Version, **changes: Any) -> str:
    """A version as it is written in a contract."""
    values = msgspec.structs.asdict(version) | changes
    day = values["released"]
    parts = [
        f'name="{values["name"]}"',
        f"released=date({day.year}, {day.month}, {day.day})",
        *(f"{n}={values[n]!r}" for n in ("added", "renamed", "removed") if values[n]),
    ]
    if values["lift"]:
        parts.append(f"lift={getattr(values['lift'], '__name__', '…')}")
    return f"Version({', '.join(parts)})"


def _refuse(detail: str, field: str = "") -> NoReturn:
    raise ContractError(detail, field=field)
