"""Keeping values of sensitive fields out of what is shown of refused messages."""

import re

from sluice.contract import Contract
from sluice.errors import Reason

MASKED = "(not shown: the field is sensitive)"


def masked(contract: Contract, reason: str, field: str, message: str) -> str:
    """What was said of a refused message, unless it may repeat a value that is sensitive.

    Args:
        field: path of the field, ``shipping_address.street`` or ``line_items[0].price``; empty when
            it is about the message as a whole.
        message: what was said, often with the value.
    """
    if not contract.sensitive:
        return message
    names = set(contract.sensitive)
    for version in reversed(contract.versions):
        names |= {old for old, new in version.renamed.items() if new in names}
    # ClickHouse names no field, and repeats what it could not read.
    if reason == Reason.REFUSED_BY_CLICKHOUSE or re.split(r"[.\[]", field)[0] in names:
        return MASKED
    return message
