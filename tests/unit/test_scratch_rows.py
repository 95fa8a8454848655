"""A comparison of content holds a bounded number of bytes."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from sluice.audit.verify.content import ScratchRows
from sluice.drain.row_insert import RowInsert
from sluice.ranges import OffsetRange
from sluice.refusals import Reason, Refusal


class Inserts:
    """Keeps the sizes of the inserts, and refuses the row at offset 7."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, lines: Sequence[bytes], token: str) -> list[tuple[Any, Refusal]]:
        self.sizes.append(sum(map(len, lines)))
        refused = any(b"[0,7," in line for line in lines)
        return [((0, 7), Refusal(Reason.REFUSED_BY_CLICKHOUSE, "no"))] if refused else []


def test_rows_are_inserted_when_they_have_enough_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.audit.verify.content.BATCH_BYTES", 1000)
    inserts = Inserts()
    rows = ScratchRows(cast(RowInsert, inserts))
    for offset in range(10):
        rows.add((0, offset, "x" * 400))
    rows.flush()
    rows.flush()
    assert len(inserts.sizes) == 4
    assert max(inserts.sizes) < 1500
    assert rows.left_out == [OffsetRange(0, 7, 8)]
