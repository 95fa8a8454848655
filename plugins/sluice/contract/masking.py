"""Masking of sensitive values in what is displayed about refused messages."""

import re

import msgspec

from sluice.contract.definition import Contract
from sluice.refusals import Reason

MASKED = "(masked: it may contain a sensitive value)"

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
"""Reasons whose text never repeats a value, unless a contract's own code wrote it."""


def mask(contract: Contract, reason: str, field: str, message: str) -> str:
    """The text of a refusal, or :data:`MASKED` if it may repeat a sensitive value.

    Args:
        reason: why the message was refused.
        field: path of the field, ``shipping_address.street`` or ``line_items[0].price``; empty if
            the refusal concerns the whole message, or came from a contract's own code.
        message: the text of the refusal, which often contains the value.
    """
    if not contract.sensitive:
        return message
    from_repair = " (repair failed: " in message
    first = re.split(r"[.\[]", field)[0]
    unknown = not first and reason not in _WITHOUT_VALUES
    return MASKED if from_repair or unknown or first in _sensitive_names(contract) else message


def _sensitive_names(contract: Contract) -> set[str]:
    """Names of the sensitive fields in all versions, in Python and in messages."""
    names = set(contract.sensitive)
    for version in reversed(contract.versions):
        names |= {old for old, new in version.renamed.items() if new in names}
    encoded = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    return names | {encoded[name] for name in names & encoded.keys()}
