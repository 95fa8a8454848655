"""Names and titles of the trigger forms' choices and fields. Light: DAG files import it."""

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    "new": "new messages",
    "offsets": "offsets",
    "times": "a range of time",
    "everything": "everything since the topic's beginning",
    "quarantined": "messages in quarantine",
}
"""The choices of *What to load*, and their titles."""

CHOICE_OF_FIELD: Mapping[str, tuple[str, str]] = {
    "offsets": ("offsets", "Offsets"),
    "from": ("times", "From"),
    "to": ("times", "To"),
    "reason": ("quarantined", "Reason"),
    "field": ("quarantined", "Field"),
    "version": ("quarantined", "Version"),
    "load": ("quarantined", "Load"),
}
"""Field → the only choice that it applies to, and its title."""

FIELDS = (
    "what",
    *CHOICE_OF_FIELD,
    "existing",
    "partitions",
    "max_messages",
    "dry_run",
)
"""The names that the configuration of a load DAG's run may have."""

REPLAY_FIELDS = (
    "what",
    *(name for name, (choice, _) in CHOICE_OF_FIELD.items() if choice == "quarantined"),
    "partitions",
    "max_messages",
    "dry_run",
)
"""The same of a replay DAG's run."""

_RANGE = r"[0-9]{1,9}\s*:\s*[0-9]{1,18}\s*(-|–|to)\s*[0-9]{0,18}"
OFFSETS = rf"^\s*({_RANGE}\s*([,;\n]\s*|$))*$"
"""How ranges are written, as a form checks it: ``0: 100-200, 1: 50-``."""

PARTITIONS = r"^\s*([0-9]{1,9}\s*(,\s*[0-9]{1,9}\s*)*)?$"
"""How partitions are written, as a form checks it: ``0, 3``."""
