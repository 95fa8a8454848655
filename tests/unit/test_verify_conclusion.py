"""The last sentence of ``verify`` claims no more than was checked."""

from sluice.audit.verify.verifier import Verification
from sluice.cli.commands.verify import conclusion
from sluice.ranges import OffsetRange


def verification(*without_row: OffsetRange) -> Verification:
    return Verification(
        topic="t", partitions=[], findings=[], without_row=list(without_row), offsets=10, seconds=1
    )


def test_offsets_without_a_row_of_their_own_are_not_called_loaded() -> None:
    every = "every one of 10 published offsets is in exactly one place"
    assert conclusion(verification(), [], content=False) == every
    replaced = verification(OffsetRange(0, 3, 6))
    unchecked = conclusion(replaced, [], content=False)
    assert "7 of 10 published offsets are in exactly one place; 3 have no row" in unchecked
    assert unchecked.endswith("--content checks that a newer row of their key is there")
    checked = conclusion(replaced, [OffsetRange(0, 0, 9)], content=True)
    assert checked.endswith("and a newer row of their key is there")
    partly = conclusion(replaced, [OffsetRange(0, 0, 4)], content=True)
    assert "Of 2 it was not checked" in partly
