"""A schema registry on disk, for one machine, with subjects, versions and stable ids."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sluice.errors import RegistryError


class _Entry(msgspec.Struct, frozen=True):
    id: int
    schema: dict[str, Any]


_Subjects = dict[str, dict[str, _Entry]]


class LocalSchemaRegistry:
    """Schemas by subject and version in one JSON file; safe for several processes.

    Ids follow the order of registration and never change. Registering the same schema again
    returns the same id. A different schema under an existing version is refused.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self._file = self._folder / "schemas.json"

    def register_schema(self, subject: str, version: str, schema: dict[str, Any]) -> int:
        """Store a schema; returns its id.

        Raises:
            RegistryError: the version exists with a different schema, or is not numeric.
        """
        _number(version)
        with self._locked():
            subjects = self._read()
            registered = subjects.get(subject, {}).get(version)
            if registered:
                if registered.schema != schema:
                    raise RegistryError(
                        f"subject {subject!r}, version {version} is registered with a different"
                        " schema; register the change under a new version"
                    )
                return registered.id
            ids = (entry.id for versions in subjects.values() for entry in versions.values())
            entry = _Entry(max(ids, default=0) + 1, schema)
            subjects.setdefault(subject, {})[version] = entry
            self._write(subjects)
            return entry.id

    def get_schema(self, subject: str, version: str) -> dict[str, Any]:
        """The schema of a version.

        Raises:
            RegistryError: there is no such subject or version; the error lists the known ones.
        """
        versions = self._versions(subject)
        if version not in versions:
            known = ", ".join(sorted(versions, key=_number))
            raise RegistryError(f"subject {subject!r} has no version {version} (known: {known})")
        return versions[version].schema

    def get_latest_schema(self, subject: str) -> tuple[str, dict[str, Any]]:
        """The newest version and its schema; 1.10 comes after 1.9.

        Raises:
            RegistryError: there is no such subject.
        """
        versions = self._versions(subject)
        latest = max(versions, key=_number)
        return latest, versions[latest].schema

    def list_schemas(self) -> dict[str, list[str]]:
        """The versions of each subject, in numeric order."""
        return {
            subject: sorted(versions, key=_number)
            for subject, versions in sorted(self._read().items())
        }

    def _versions(self, subject: str) -> dict[str, _Entry]:
        subjects = self._read()
        if subject not in subjects:
            known = ", ".join(sorted(subjects)) or "none"
            raise RegistryError(f"no subject {subject!r} (known: {known})")
        return subjects[subject]

    def _read(self) -> _Subjects:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Subjects)
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise RegistryError(f"{self._file} is damaged: {error}") from error

    def _write(self, subjects: _Subjects) -> None:
        """Replace the file atomically: a reader sees the old file or the new one."""
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(subjects)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock out all other writers, also those in other processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _number(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparisons.

    Raises:
        RegistryError: the version does not consist of numbers and dots.
    """
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise RegistryError(f"version {version!r} does not consist of numbers, such as 1.2")
    return tuple(map(int, parts))
