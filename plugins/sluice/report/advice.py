"""What to do next, for the person who reads a load's report."""

from collections.abc import Iterator

from sluice.plan.run_owners import parse_airflow_owner
from sluice.report.model import Report
from sluice.store.load_state import State

SHOWN_ANOMALIES = 3


def advise(report: Report, database: str) -> list[str]:
    """Sentences, each about one thing that may need a person."""
    return [
        *_advise_on_offsets(report, database),
        *_advise_on_anomalies(report),
        *_advise_on_state(report),
    ]


def _advise_on_offsets(report: Report, database: str) -> Iterator[str]:
    if report.expired:
        yield (
            f"{report.expired:,} offsets were removed by retention before they could be read. They"
            " are counted as absent; load more often, or keep the topic longer."
        )
    if refused := report.sum("quarantined"):
        yield (
            f"{refused:,} messages were refused. They are kept whole in {database}.quarantine; the"
            " reasons are below. Once the contract is repaired, replay them: sluice quarantine"
            f" replay {report.topic}"
        )
    if gone := report.survey.get("gone"):
        yield (
            f"{gone:,} of the requested offsets are no longer in the topic and were never loaded:"
            " retention has removed them."
        )
    if elsewhere := report.survey.get("elsewhere"):
        yield (
            f"{elsewhere:,} of the requested offsets were reserved by other loads when this one"
            " was planned, and were not read."
            + ("" if report.reservations else " Those loads have ended since: see their reports.")
        )
    yield from map(str, report.reservations)
    if postponed := report.survey.get("postponed"):
        yield (
            f"{postponed:,} offsets wait for the next load: the contract's max_offsets limits one"
            " load to fewer. The run or command that this load belongs to goes on with them."
        )
    if unsearched := report.survey.get("unsearched"):
        yield (
            f"{unsearched:,} offsets after the range of time were not searched for late messages"
            " of it (SLUICE_SCAN_OFFSETS); the next load of new messages includes any that exist."
        )
    if report.unusable_timestamps:
        yield (
            f"{report.unusable_timestamps:,} messages have a Kafka timestamp that is no time from"
            " 1970 to 2299 in milliseconds: it is absent, negative, or in another unit. They are"
            " loaded as of 1970-01-01; the timestamps as Kafka has them are in"
            f" {database}.record_timestamps."
        )
    if report.outside:
        yield (
            f"{report.outside:,} rows have timestamps outside of the requested range of time: it"
            " holds more messages than are searched (SLUICE_SCAN_OFFSETS), and was taken from its"
            " first message to the first message after it."
        )


def _advise_on_anomalies(report: Report) -> Iterator[str]:
    if anomalies := report.anomalies[:SHOWN_ANOMALIES]:
        figures = " ".join(
            f"{result.description.removesuffix(' is usual for the hour')}: {result.observed}."
            for result in anomalies
        )
        yield f"This load is unusual for its hour; it was not held for that. {figures}"


def _advise_on_state(report: Report) -> Iterator[str]:
    if report.refused_by_target:
        yield (
            "ClickHouse refused an insert into the table while this load was published:"
            f" {report.refused_by_target}. It may have kept the rows, and not what materialized"
            " views make of them: compare the views with the table."
        )
    if report.published_by and parse_airflow_owner(report.owner):
        yield (
            f"This load was published by {report.published_by}. Only the task 'publish' of its own"
            " run updates the topic's asset: clear that task, if DAGs wait for the asset."
        )
    if report.state == State.HELD and report.accounts and not report.sum("difference"):
        yield (
            "Nothing of this load is visible. Examine it, and either publish it anyway (the run's"
            f" task 'decide', or sluice release {report.load_id}), or discard it (there, or sluice"
            f" discard {report.load_id}), so that the next load reads its offsets again. Once the"
            " task 'decide' has ended, an answer there is not carried out: use the commands. If no"
            " one decides, the load is abandoned after SLUICE_HOLD_HOURS."
        )
    elif report.state == State.HELD:
        yield (
            "Nothing of this load is visible, and it cannot be published: it was not read to its"
            " end, or its counts do not add up. Discard it once the cause is repaired (sluice"
            f" discard {report.load_id}), and the next load reads its offsets again."
        )
    elif report.refused_by_target and report.state == State.PUBLISHING:
        yield (
            "Some of its rows may be visible. Remove the cause, and complete it (sluice release"
            f" {report.load_id}), or take it back (sluice discard {report.load_id})."
        )
    elif report.state == State.TAKING_BACK:
        yield (
            "A person gave the load up while it was publishing, and its visible rows are not all"
            " removed yet. The next plan of the topic completes that, and so does: sluice discard"
            f" {report.load_id}"
        )
    elif report.state != State.PUBLISHED:
        yield (
            "The load did not reach its end. Clear the failed task to continue where it stopped,"
            " or let the next load settle it."
        )
