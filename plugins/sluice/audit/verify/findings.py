"""What an audit of loaded data reports when something is wrong."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from sluice.ranges import OffsetRange, merge, total

FindingKind = Literal[
    "missing", "doubled", "unexplained", "ledger", "leftover", "broker", "content"
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong.

    Attributes:
        kind: *missing*: published by the ledger, and in no table; *doubled*: in two places, or
            twice in one; *unexplained*: a row that no load accounts for; *ledger*: records that
            contradict each other or the tables; *leftover*: a staging table without a live load;
            *broker*: a message that the topic has and no table has; *content*: a row that differs
            from its message.
        text: what is wrong, as a sentence.
        ranges: the offsets, if it is about offsets.
    """

    kind: FindingKind
    text: str
    ranges: tuple[OffsetRange, ...] = ()


def offset_finding(kind: FindingKind, text: str, ranges: Iterable[OffsetRange]) -> Finding:
    """A finding about some offsets.

    Args:
        text: what is wrong with them; it follows their number.
    """
    found = tuple(merge(ranges))
    return Finding(kind=kind, text=f"{total(found):,} offsets {text}", ranges=found)
