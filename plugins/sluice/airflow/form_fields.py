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

OFFSETS = r"^\s*(\d+\s*:\s*\d+\s*(-|–|to)\s*\d*\s*([,;\n]\s*|$))*$"
"""How ranges are written, as a form checks it: ``0: 100-200, 1: 50-``."""
