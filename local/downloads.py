"""Lock for Maven's caches: jgo links files there, and two processes at once would clash."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock_maven_caches() -> Iterator[None]:
    """Wait until no other process of this user resolves jars; the lock ends with its process."""
    with (Path(tempfile.gettempdir()) / f"sluice-maven-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
