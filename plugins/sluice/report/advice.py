"""What to do next, said to the person who reads a load's report."""

from typing import TYPE_CHECKING, Any

from sluice.store.ledger import HELD, PUBLISHED

if TYPE_CHECKING:
    from sluice.report.reporter import Report


def is_anomaly(rule: dict[str, Any]) -> bool:
    """Whether a result says that the load is unlike those before it."""
    return rule["expectation"] == "anomaly" and not rule["success"]


def advice_on(report: "Report", database: str) -> list[str]:
    """Sentences, each about one thing that may need a person."""
    advice = []
    if report.expired:
        advice.append(
            f"{report.expired:,} offsets were gone before they could be read: retention was"
            " faster. They are counted as absent; load more often, or keep the topic longer."
        )
    if report.sum("quarantined"):
        advice.append(
            f"{report.sum('quarantined'):,} messages were refused. They are kept whole in"
            f" {database}.quarantine; the reasons are below. Once the contract is mended, replay"
            f" them: sluice quarantine replay {report.topic}"
        )
    if report.survey.get("gone"):
        advice.append(
            f"{report.survey['gone']:,} offsets of what was asked for are gone from the topic and"
            " were never loaded: retention has removed them."
        )
    if report.survey.get("elsewhere"):
        advice.append(
            f"{report.survey['elsewhere']:,} offsets of what was asked for were being loaded by"
            " another load when this one was planned. Ask again should that one fail."
        )
    if report.survey.get("unsearched"):
        advice.append(
            f"{report.survey['unsearched']:,} offsets after the range of time were not looked"
            " through for late messages of it (SLUICE_SCAN_OFFSETS); should there be any, the next"
            " load of what is new has them."
        )
    if report.outside:
        advice.append(
            f"{report.outside:,} rows have timestamps outside of the range of time that was asked"
            " for: it holds more messages than are looked through (SLUICE_SCAN_OFFSETS), and was"
            " taken from its first message to the first of the time after it."
        )
    if odd := [rule for rule in report.quality if is_anomaly(rule)]:
        said = " ".join(
            f"{rule['description'].removesuffix(' is usual for the hour')}: {rule['observed']}."
            for rule in odd[:3]
        )
        advice.append(f"This load is unusual for its hour, which held nothing back. {said}")
    if report.state == HELD and report.accounts and not report.sum("difference"):
        advice.append(
            "Nothing of this load is visible. Look at it, and publish it all the same (the run's"
            f" task 'decide', or sluice release {report.load_id}), or give it up (there, or sluice"
            " discard), so that the next load reads its offsets again. Nobody deciding, it is given"
            " up after SLUICE_HOLD_HOURS."
        )
    elif report.state == HELD:
        advice.append(
            "Nothing of this load is visible, and it cannot be published: it was not read to its"
            " end, or does not add up. Give it up once the cause is mended (sluice discard"
            f" {report.load_id}), and the next load reads its offsets again."
        )
    elif report.state != PUBLISHED:
        advice.append(
            "The load did not reach its end. Clear the failed task to go on where it stopped;"
            " or let the next load settle it."
        )
    return advice
