"""Loading offsets again: rows are replaced, and no row is missing at any moment."""

from random import Random
from typing import Any

import msgspec
import pytest

from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.errors import NothingToReplace, ReplaceUnsupported
from sluice.loader import Loader
from sluice.publish.publisher import Slice
from sluice.ranges import OffsetRange
from sluice.settings import Connection
from sluice.store.load_state import Changes
from sluice.store.request import Request
from tests.conftest import MakeLoader, load
from tests.loads import (
    after_each_statement,
    delete_up_to,
    filled,
    finish,
    leftovers,
    sums,
    target,
    verdict,
)

RELOAD = Request(low="0", existing="replace")


def count_rows(loader: Loader, load_id: str) -> int:
    result = loader.clickhouse.rows(
        "SELECT count() AS n FROM orders WHERE _load_id = {id:String}", {"id": load_id}
    )
    return int(result[0]["n"])


def test_a_reload_replaces_all_rows(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 900)
    first = load(loader)
    before = target(loader)["rows"]
    again = make_loader(contract)
    second = finish(again, RELOAD)
    assert sums(again, second) == sums(again, first)
    assert target(again) == {"rows": before, "offsets": before, "loads": 1}
    assert count_rows(again, first) == 0
    assert verdict(again).findings == []
    assert leftovers(again) == []
    report = again.report(second)
    assert report.kind == "replace"
    assert report.changes == Changes(compared=before)


def test_reloading_a_part_fills_its_gaps(make_loader: MakeLoader, contract: Contract) -> None:
    filled(make_loader, contract, 600, partitions=1)
    for low, high in (("0", "200"), ("300", "500")):
        finish(make_loader(contract), Request(low=low, high=high))
    again = make_loader(contract)
    request = Request(offsets=(OffsetRange(0, 100, 400),), existing="replace")
    selection = again.preview(request).selection
    assert (selection.ranges, selection.replaced) == ([OffsetRange(0, 100, 400)], 200)
    load_id = finish(again, request)
    assert sums(again, load_id)["planned"] == 300
    assert verdict(again).findings == []
    rest = make_loader(contract)
    assert rest.plan().offsets == 100


def test_the_report_counts_changed_rows_and_columns(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """The corrected contract adds another default for a field that older messages lack."""
    loader = filled(make_loader, contract, 800, broken_share=0)
    load(loader)
    upgraded = loader.clickhouse.rows(
        "SELECT countIf(_schema_version = '1.0') AS n, countIf(_schema_version != '1.2') AS older"
        " FROM orders"
    )[0]
    *older, current = contract.versions
    first, second = older
    corrected = msgspec.structs.replace(
        contract,
        versions=(
            first,
            msgspec.structs.replace(second, added={"customer_email": "unknown@example.com"}),
            current,
        ),
    )
    again = make_loader(corrected)
    changes = again.report(finish(again, RELOAD)).changes
    assert changes is not None
    assert changes.changed == upgraded["n"] > 0
    assert changes.columns == {"customer_email": upgraded["n"]}
    assert verdict(again).findings == []


def test_a_reload_removes_newly_refused_and_adds_newly_accepted_messages(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 800, broken_share=0.01)
    first = sums(loader, load(loader))
    breaker = msgspec.structs.replace(contract.breaker, max_refused_share=1.0)
    lenient = msgspec.structs.replace(contract, breaker=breaker)
    small = make_loader(lenient, max_message_bytes=600)
    second = sums(small, finish(small, RELOAD))
    assert second["quarantined"] > first["quarantined"]
    assert target(small)["rows"] == second["loaded"]
    assert verdict(small).findings == []
    wide = make_loader(lenient)
    assert sums(wide, finish(wide, RELOAD)) == first
    assert target(wide)["rows"] == first["loaded"]
    assert verdict(wide).findings == []


def test_no_row_is_missing_at_any_moment_of_a_reload(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 900)
    load(loader)
    before = target(loader)["rows"]
    again = make_loader(contract, chunk_offsets=150)
    counts = [before]
    after_each_statement(again, lambda: counts.append(target(loader)["offsets"]))
    finish(again, RELOAD)
    assert len(counts) > 20
    assert min(counts) == before


@pytest.mark.parametrize("statement", range(1, 12, 2))
def test_the_next_plan_settles_an_interrupted_reload(
    make_loader: MakeLoader, contract: Contract, statement: int
) -> None:
    loader = filled(make_loader, contract, 300, partitions=2)
    load(loader)
    before = target(loader)["rows"]
    stopped = make_loader(contract, chunk_offsets=100)
    plan = stopped.plan(RELOAD)
    for number in range(len(plan.chunks)):
        stopped.drain(plan.load_id, number)
    stopped.audit(plan.load_id)
    remaining = [statement]

    def count_down() -> None:
        remaining[0] -= 1
        if remaining[0] == 0:
            raise KeyboardInterrupt

    after_each_statement(stopped, count_down)
    with pytest.raises(KeyboardInterrupt):
        stopped.publish(plan.load_id)
    assert target(loader)["offsets"] == before
    produce(contract, loader.broker, make_samples(contract, 50, Random(3), 0, 0))
    load(make_loader(contract))
    assert target(loader) == {"rows": before + 50, "offsets": before + 50, "loads": 2}
    assert verdict(loader).findings == []
    assert leftovers(loader) == []


def test_a_delayed_reload_removes_no_row_of_a_later_one(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 300)
    load(loader)
    late = make_loader(contract)
    plan = late.plan(RELOAD)
    late.drain(plan.load_id, 0)
    late.audit(plan.load_id)
    execute = late.clickhouse.execute
    before = target(loader)["rows"]

    def delay_delete(sql: str, *rest: Any, **named: Any) -> None:
        if sql.startswith("DELETE"):
            load(make_loader(contract))  # rolls the delayed reload forward
            finish(make_loader(contract), RELOAD)
        execute(sql, *rest, **named)

    late.clickhouse.execute = delay_delete  # type: ignore[method-assign]
    late.publish(plan.load_id)
    assert target(loader) == {"rows": before, "offsets": before, "loads": 1}
    assert verdict(loader).findings == []


def test_a_row_whose_message_has_expired_is_kept(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    """Retention removes messages between plan and drain of the load that replaces their rows."""
    contract = msgspec.structs.replace(contract, on_expired="record")
    loader = filled(make_loader, contract, 400, partitions=1)
    load(loader)
    before = target(loader)["rows"]
    again = make_loader(contract)
    plan = again.plan(RELOAD)
    delete_up_to(kafka, contract.topic, 100)
    again.drain(plan.load_id, 0)
    again.audit(plan.load_id)
    again.publish(plan.load_id)
    assert sums(again, plan.load_id)["absent"] == 100
    assert target(again) == {"rows": before, "offsets": before, "loads": 2}
    assert verdict(again).findings == []
    selection = make_loader(contract).preview(RELOAD).selection
    assert (selection.ranges, selection.there) == ([OffsetRange(0, 100, 400)], 100)


def test_a_reload_leaves_out_offsets_of_a_live_load(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 400, partitions=1)
    finish(loader, Request(high="300"))
    live = make_loader(contract)
    live.plan()
    again = make_loader(contract)
    again.settler.is_over = lambda _: False
    selection = again.preview(RELOAD).selection
    assert (selection.ranges, selection.elsewhere) == ([OffsetRange(0, 0, 300)], 100)


def test_requests_that_cannot_be_replaced_are_refused(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 10)
    with pytest.raises(NothingToReplace):
        loader.plan(Request(existing="replace"))
    table = msgspec.structs.replace(contract.table, engine="ReplacingMergeTree(created_at)")
    newest = make_loader(msgspec.structs.replace(contract, table=table))
    with pytest.raises(ReplaceUnsupported) as unsupported:
        newest.planner.survey.preview(RELOAD)
    assert unsupported.value.topic == contract.topic
    assert table.engine in unsupported.value.detail
    clustered = make_loader(contract, cluster="somewhere")
    with pytest.raises(ReplaceUnsupported) as unsupported:
        clustered.planner.survey.preview(RELOAD)
    assert unsupported.value.topic == contract.topic
    assert "cluster" in unsupported.value.detail


def test_rows_published_between_survey_and_reservation_are_not_duplicated(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """The window holds loaded and new offsets; another load takes the new ones meanwhile."""
    loader = filled(make_loader, contract, 400, partitions=1)
    finish(loader, Request(high="200"))
    slow = make_loader(contract)
    preview = slow.planner.survey.preview

    def preview_then_load(request: Request) -> Any:
        result = preview(request)
        slow.planner.survey.preview = preview  # type: ignore[method-assign]
        load(make_loader(contract))
        return result

    slow.planner.survey.preview = preview_then_load  # type: ignore[method-assign]
    load_id = finish(slow, RELOAD)
    assert sums(slow, load_id)["planned"] == 400
    rows = target(loader)
    assert rows["rows"] == rows["offsets"]
    assert rows["loads"] == 1
    assert verdict(loader).findings == []


def test_a_late_publisher_of_a_replaced_load_restores_no_row(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load published but did not drop its staged rows, and was then replaced by another."""
    loader = filled(make_loader, contract, 200)
    load(loader)
    first = make_loader(contract)
    with monkeypatch.context() as patch:
        patch.setattr(first.ledger.staging, "drop", lambda _: None)
        replaced_id = finish(first, RELOAD)
    replaced = first.known(replaced_id)
    columns = first.publisher.columns(replaced)
    other = make_loader(contract)
    other.settler.settle = lambda fresh=True: None  # type: ignore[method-assign]
    finish(other, RELOAD)
    part = Slice(replaced.attempts[0], list(replaced.chunks[0]))
    first.publisher.copy(replaced, columns, part, replaces=True)
    rows = target(loader)
    assert (rows["rows"], rows["loads"]) == (rows["offsets"], 1)
    assert verdict(loader).findings == []


def test_a_load_under_an_older_contract_is_not_resumed(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 300)
    plan = loader.plan(resume=True)
    loader.drain(plan.load_id, 0)
    monkeypatch.setattr(type(contract), "digest", property(lambda _: "changed"))
    again = make_loader(contract)
    assert again.plan(resume=True).load_id != plan.load_id
    same_run = make_loader(contract, loader.owner)
    assert same_run.plan().load_id != plan.load_id
