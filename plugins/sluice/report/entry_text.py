"""What an entry of a topic's log says besides its state, for people."""

from sluice.ranges import total
from sluice.store.load_state import State
from sluice.store.topic_state import Entry

SHOWN_RANGES = 4
"""Ranges of a reservation that its entry lists."""


def describe_entry(entry: Entry) -> list[str]:
    """Lines about an entry: what a load reserved, what it published, who decided, what failed."""
    detail, ranges = entry.detail, [r for part in entry.chunks for r in part]
    lines: list[str] = []
    if entry.state is State.RESERVED:
        more = f" and {len(ranges) - SHOWN_RANGES:,} more ranges" if ranges[SHOWN_RANGES:] else ""
        listed = ", ".join(map(str, ranges[:SHOWN_RANGES]))
        lines.append(f"{entry.plan.kind}: {total(ranges):,} offsets {listed}{more}".strip())
    if detail.rows:
        lines.append(f"{detail.rows:,} rows")
    for text in (detail.decision, detail.error):
        lines += text.splitlines()
    return lines
