"""The fields of the trigger forms.

A form checks types; combinations are checked by :mod:`.form_request` when the run plans.
"""

from airflow.sdk import Param

from sluice.airflow.form_fields import OFFSETS, PARTITIONS, TITLES
from sluice.contract import Contract
from sluice.refusals import Reason

PART = "A part of the topic"
MORE = "More"


def load_form(contract: Contract) -> dict[str, Param]:
    """The form of a load DAG."""
    topic = contract.topic
    return {
        "what": Param(
            "new",
            type="string",
            enum=list(TITLES),
            values_display={name: title.capitalize() for name, title in TITLES.items()},
            title="What to load",
            description_md=f"*New messages*: all messages of `{topic}` that no load has loaded yet."
            " The other choices load the part of the topic that you enter under *A part of the"
            " topic*, or messages in quarantine.",
        ),
        "offsets": Param(
            None,
            type=["null", "string"],
            pattern=OFFSETS,
            title="Offsets",
            section=PART,
            description_md="For *offsets*: partition, first offset, and the offset to stop before,"
            " separated by commas: `0: 100-200, 1: 50-`",
        ),
        "from": _time("From", "the first moment", "the topic's beginning"),
        "to": _time("To", "the moment to stop before", "the topic's end"),
        "existing": Param(
            "skip",
            type="string",
            enum=["skip", "replace"],
            values_display={"skip": "Leave it alone", "replace": "Load it again"},
            title="What is loaded already",
            section=PART,
            description_md="*Load it again* reads it again under today's contract and replaces the"
            " rows: the new rows become visible, then the old ones are removed.",
        ),
        **_common(contract),
    }


def replay_form(contract: Contract) -> dict[str, Param]:
    """The form of a replay DAG."""
    return {
        "reason": Param(
            None,
            type=["null", "string"],
            enum=[None, *(str(reason) for reason in Reason)],
            title="Reason",
            description_md="Only messages that were refused for this reason.",
        ),
        "field": _filter("Field", "refused because of this field, such as `order_id`"),
        "version": Param(
            None,
            type=["null", "string"],
            enum=[None, *(version.name for version in contract.versions)],
            title="Version",
            description_md="Only messages that are nearest to this version.",
        ),
        "load": _filter("Load", "refused by this load"),
        **_common(contract),
    }


def _common(contract: Contract) -> dict[str, Param]:
    return {
        "partitions": Param(
            None,
            type=["null", "string"],
            pattern=PARTITIONS,
            title="Partitions",
            section=MORE,
            description_md=f"Only these partitions of `{contract.topic}`, such as `0, 3`;"
            " all when empty.",
        ),
        "max_messages": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Maximum number of offsets",
            section=MORE,
            description_md="Shared between the partitions; no limit when empty.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            section=MORE,
            description_md="Only report what would be read: in the log of *plan* and the report.",
        ),
    }


def _time(title: str, what: str, default: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        format="date-time",
        title=title,
        section=PART,
        description_md=f"For *a range of time*: {what}, by the messages' timestamps, such as"
        f" `2026-01-31T14:00:00Z`; {default} when empty.",
    )


def _filter(title: str, what: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        title=title,
        description_md=f"Only messages {what}.",
    )
