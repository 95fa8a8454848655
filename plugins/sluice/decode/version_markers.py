"""Guesses the version of a JSON message by the names of fields that occur in it."""

from collections.abc import Container
from typing import Any

import msgspec
from msgspec import Struct

from sluice.contract import Contract
from sluice.contract.version_history import changes_nothing, implied_fields
from sluice.decode.version_readers import VersionReader


class Marker(Struct, frozen=True):
    """The name of a field that messages of some version have and older ones do not.

    Attributes:
        name: the name in messages.
        text: the same as JSON.
        older: the reader of the previous version; None if other markers must be missing too.
    """

    name: str
    text: bytes
    older: VersionReader | None


class VersionMarkers:
    """The markers of one contract's versions, the newest first.

    Args:
        readers: the readers of the versions, the newest first.
    """

    def __init__(self, contract: Contract, readers: list[VersionReader]) -> None:
        fields = {f.name: f for f in msgspec.structs.fields(contract.message)}
        implied = implied_fields(contract.message, contract.versions)
        self._markers: list[Marker] = []
        self._optional: list[tuple[str, Any]] = []
        steps = zip(reversed(contract.versions), readers, readers[1:], strict=False)
        for version, own, older in steps:
            if older.origin.lifted:
                break
            new = [name for name in (*version.added, *version.renamed.values()) if name in fields]
            # A required field decides; an optional one may be missing in any version.
            new = sorted(new, key=lambda name: not fields[name].required)[:1]
            if changes_nothing(version) and version.number[1] > 0:
                # Any optional field that no version lists may be what it has added: only a message
                # that has none of them is of the previous version.
                new = list(implied)
            guesses = [own if own is not readers[0] else None] * (len(new) - 1) + [older]
            for name, guess in zip(new, guesses, strict=False):
                encoded = fields[name].encode_name
                self._markers.append(Marker(encoded, msgspec.json.encode(encoded), guess))
                if not fields[name].required:
                    self._optional.append((name, _default(fields[name])))

    def guess(self, data: bytes) -> VersionReader | None:
        """The reader of an older version, if the JSON does not contain the names of later fields
        anywhere.
        """
        guess: VersionReader | None = None
        for marker in self._markers:
            if marker.text in data:
                break
            guess = marker.older
        return guess

    def reader_by_keys(self, message: Struct, data: bytes) -> VersionReader | None:
        """The reader of an older version, if the names of later fields occur in the JSON, but not
        as names of its fields.

        Args:
            message: what the current reader has read.
        """
        if not any(getattr(message, name) == default for name, default in self._optional):
            return None
        keys: Container[str] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        guess: VersionReader | None = None
        for marker in self._markers:
            if marker.name in keys:
                break
            guess = marker.older
        return guess


def _default(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default
