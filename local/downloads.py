"""One process at a time in the caches of Maven: jgo links files there, and two of it clash."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other process of this user resolves jars; a dead one holds nobody up."""
    with (Path(tempfile.gettempdir()) / f"sluice-maven-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
