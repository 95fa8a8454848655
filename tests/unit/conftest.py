"""What unit tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.new_topics import Written


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """Writes contract files; they are held to the project's rules when the test is over."""
    made = Written(tmp_path)
    yield made
    made.check()
