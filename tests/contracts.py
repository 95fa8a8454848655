"""Small contracts for tests that need what the real ones do not have."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec

from sluice.contract import Contract, Table, Version


def contract_of(
    struct: type[msgspec.Struct],
    *,
    topic: str = "things",
    versions: Sequence[Version] = (Version(name="1.0", released=date(2026, 1, 1)),),
    **choices: Any,
) -> Contract:
    """A contract around one Struct, ordered and keyed by its first field."""
    first = struct.__struct_fields__[0]
    choices.setdefault("table", Table(name=topic, order_by=(first,)))

    return Contract(
        topic=topic,
        subject=f"{topic}-value",
        message=struct,
        versions=tuple(versions),
        key=first,
        owner="tests",
        **choices,
    )
