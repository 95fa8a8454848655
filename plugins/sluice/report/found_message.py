"""What a search for a message returns, and the sentence for each status."""

from datetime import datetime

import msgspec

SENTENCES = {
    "loaded": "It is loaded: its row is in the table.",
    "quarantined": "It was refused, and is in quarantine.",
    "pending": "It was refused by a load that is not published yet.",
    "dropped": "It was refused by a load that was given up; another load reads the offset.",
    "superseded": "It was refused, and a later load has read it again.",
    "tombstone": "Its value is null (a tombstone): there is nothing to load.",
    "absent": (
        "The broker returns no message here: the offset belongs to a transaction, or compaction has"
        " removed the message."
    ),
    "expired": "Retention had removed it before the load read it.",
    "newer": (
        "It is published, and has no row: the table keeps only the newest row of a key. 'sluice"
        " verify --content' checks that a newer row of its key is there."
    ),
    "missing": (
        "It is published, but its row is gone from the table: a TTL or a person has removed it."
        " 'sluice verify --content' lists such offsets."
    ),
    "held": (
        "It is staged by a load that its audit holds: nothing is visible until a person releases or"
        " discards the load."
    ),
    "staged": "It is read and staged; the load has not published it yet.",
    "publishing": "Its load is being published at this moment, or was interrupted while it was.",
    "reserved": "It is planned by an unfinished load, which has not read it to the end.",
    "not loaded": "The topic has it, and no load has loaded it: the next load reads it.",
    "removed": "The topic no longer has it: it was removed, and no load had loaded it.",
    "beyond the end": "The topic does not have this offset yet.",
    "no partition": "The topic has no such partition.",
    "unknown": "No load holds it. The broker does not respond, so the topic may have it or not.",
}
"""Status of a message or an offset → what it means."""

GOOD = ("loaded", "newer", "tombstone", "absent")
"""Statuses that need nobody's attention."""


class FoundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message that matches a search, or the state of one offset.

    Attributes:
        status: a key of :data:`SENTENCES`. *Quarantined*, *pending*, *dropped* and *superseded*
            are the statuses of refused messages.
        load_id: the load that the status is about; empty if it is about none.
        run: the DAG run or process of its load.
        at: when its row became visible, when it was refused, or when its load last recorded
            anything.
        timestamp: Kafka's timestamp of the message, if it is known.
        reason: why it was refused; empty when it was not.
        note: what else is known, as a sentence.
    """

    topic: str
    partition: int
    offset: int
    status: str
    load_id: str = ""
    run: str = ""
    at: datetime | None = None
    timestamp: datetime | None = None
    correlation_id: str = ""
    reason: str = ""
    field: str = ""
    message: str = ""
    note: str = ""

    @property
    def sentence(self) -> str:
        """The status in words."""
        return f"{SENTENCES[self.status]} {self.note}".strip()
