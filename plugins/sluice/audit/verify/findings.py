"""What an audit says when something is not as it must be."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from sluice.ranges import OffsetRange, merge, total

FindingKind = Literal[
    "missing", "doubled", "unexplained", "ledger", "leftover", "broker", "content"
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it must be.

    Attributes:
        kind: *missing*: published by the ledger, and nowhere; *doubled*: in two places, or twice
            in one; *unexplained*: a row that no load accounts for; *ledger*: records that
            contradict each other or the tables; *leftover*: a staging table of no live load;
            *broker*: a message that the topic has and the tables deny; *content*: a row that is
            not what its message says.
        ranges: the offsets, when it is about offsets.
        text: what it is, as a sentence.
    """

    kind: FindingKind
    text: str
    ranges: tuple[OffsetRange, ...] = ()


def offset_finding(kind: FindingKind, text: str, ranges: Iterable[OffsetRange]) -> Finding:
    """A finding about some offsets, of which the text says what is wrong."""
    found = tuple(merge(ranges))
    return Finding(kind=kind, text=f"{total(found):,} offsets {text}", ranges=found)
