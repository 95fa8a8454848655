"""Keeping values of sensitive fields out of what is shown of refused messages."""

import re

import msgspec

from sluice.contract.contract import Contract
from sluice.errors import Reason

MASKED = "(not shown: it may repeat a sensitive value)"

_WITHOUT_VALUES = frozenset(
    {
        Reason.EMPTY_VALUE,
        Reason.NOT_JSON,
        Reason.BAD_ENCODING,
        Reason.TRAILING_BYTES,
        Reason.TOO_DEEP,
        Reason.MISSING_FIELD,
        Reason.UNKNOWN_VERSION,
        Reason.UNKNOWN_WIRE_FORMAT,
        Reason.TOO_LARGE,
    }
)
"""Reasons whose words never repeat a value, but for those of a contract's own code."""


def mask(contract: Contract, reason: str, field: str, message: str) -> str:
    """What was said of a refused message, unless it may repeat a value that is sensitive.

    Args:
        field: path of the field, ``shipping_address.street`` or ``line_items[0].price``; empty when
            it is about the message as a whole, or when a contract's own code refused it.
        message: what was said, often with the value.
    """
    if not contract.sensitive:
        return message
    by_hand = " (repair failed: " in message
    first = re.split(r"[.\[]", field)[0]
    unknown = not first and reason not in _WITHOUT_VALUES
    return MASKED if by_hand or unknown or first in _names(contract) else message


def _names(contract: Contract) -> set[str]:
    """What the sensitive fields are and were called, in Python and in messages."""
    names = set(contract.sensitive)
    for version in reversed(contract.versions):
        names |= {old for old, new in version.renamed.items() if new in names}
    encoded = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    return names | {encoded[name] for name in names & encoded.keys()}
