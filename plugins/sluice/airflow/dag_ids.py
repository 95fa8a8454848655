"""The ids of a topic's DAGs. Light: DAG files import it."""

import hashlib
from typing import Literal

Kind = Literal["load", "replay"]

LONGEST = 250
"""Characters of a DAG's id in Airflow."""


def dag_id(topic: str, kind: Kind = "load") -> str:
    """``load_orders``; the end of a topic that is too long gives way to a digest of it."""
    plain = f"{kind}_{topic}"
    if len(plain) <= LONGEST:
        return plain
    digest = hashlib.sha256(topic.encode()).hexdigest()[:16]
    return f"{plain[: LONGEST - len(digest) - 1]}_{digest}"
