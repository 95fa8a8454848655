"""The names and values in the configuration of a run, checked before any of it is obeyed. Pure.

Airflow's API accepts names that no form has, and ignores them: a misspelt ``dry_run`` would be a
real load.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

from sluice.airflow.form_fields import FIELDS, REPLAY_FIELDS
from sluice.contract import Contract
from sluice.errors import PlanError
from sluice.refusals import Reason

OF_AIRFLOW = ("openlineage",)
"""Names that Airflow and its providers add to a configuration themselves, besides ``airflow/…``."""

SYNONYMS: Mapping[str, str] = {
    "after": "from",
    "before": "to",
    "begin": "from",
    "count": "max_messages",
    "end": "to",
    "limit": "max_messages",
    "max": "max_messages",
    "maxoffsets": "max_messages",
    "mode": "what",
    "overwrite": "existing",
    "preview": "dry_run",
    "replace": "existing",
    "simulate": "dry_run",
    "since": "from",
    "start": "from",
    "until": "to",
}
"""Words that people write for a field, and that are spelt unlike its name."""


def check_conf(contract: Contract, conf: Mapping[str, Any], what: str = "") -> None:
    """Refuse a configuration that names a field which does not exist, or a value out of range.

    What is left to :func:`.form_request.parse_request` is how fields go together.

    Args:
        what: what the DAG loads; empty when its form has the choice.

    Raises:
        PlanError: ``field`` is the name; the detail has the nearest one that exists.
    """
    known = REPLAY_FIELDS if what else FIELDS
    for name in conf:
        if name not in known and name not in OF_AIRFLOW and not name.startswith("airflow/"):
            raise PlanError(_unknown(name, known), topic=contract.topic, field=name)
    if what and conf.get("what") not in (None, what):
        raise PlanError(
            f"this DAG loads only {what} messages, not {conf['what']!r}: trigger"
            f" load_{contract.topic} for other messages",
            topic=contract.topic,
            field="what",
        )
    if conf.get("dry_run") not in (None, True, False) or _is_number(conf.get("dry_run")):
        raise PlanError(
            f"it must be true or false, not {conf['dry_run']!r}",
            topic=contract.topic,
            field="dry_run",
        )
    _check_choice(contract, conf, "reason", list(Reason))
    _check_choice(contract, conf, "version", [version.name for version in contract.versions])


def _unknown(name: str, known: Collection[str]) -> str:
    nearest = nearest_name(name, known)
    hint = f"did you mean {nearest!r}? " if nearest else ""
    return f"the configuration has no such field: {hint}The fields are {', '.join(known)}"


def nearest_name(name: str, known: Collection[str]) -> str:
    """The known name that a misspelt one most probably stands for; empty if none is near."""
    plain = {_plain(each): each for each in known}
    word = _plain(name)
    if (synonym := SYNONYMS.get(word)) in known:
        return str(synonym)
    near = difflib.get_close_matches(word, plain, n=1)
    return plain[near[0]] if near else ""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _check_choice(
    contract: Contract, conf: Mapping[str, Any], name: str, choices: Collection[str]
) -> None:
    value = conf.get(name)
    if value in (None, "") or str(value) in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise PlanError(
        f"{value!r} is none of {', '.join(choices)}{hint}", topic=contract.topic, field=name
    )


def _is_number(value: Any) -> bool:
    """Whether it is a number: Python considers 1 and 0 equal to true and false."""
    return isinstance(value, int | float) and not isinstance(value, bool)
