"""Loading anew what is loaded already: rows are exchanged, and at no moment is one missing."""

from random import Random
from typing import Any

import msgspec
import pytest

from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.errors import EngineError, PlanError
from sluice.loader import Loader
from sluice.publish.publisher import Slice
from sluice.ranges import OffsetRange
from sluice.settings import Connection
from sluice.store.clickhouse import UNKNOWN_TABLE
from sluice.store.load_records import Changes
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

ANEW = Request(low="0", existing="replace")


def rows_of(loader: Loader, load_id: str) -> int:
    found = loader.clickhouse.rows(
        "SELECT count() AS n FROM orders WHERE _load_id = {id:String}", {"id": load_id}
    )
    return int(found[0]["n"])


def test_rows_are_exchanged(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 900)
    first = load(loader)
    before = target(loader)["rows"]
    again = make_loader(contract)
    second = finish(again, ANEW)
    assert sums(again, second) == sums(again, first)
    assert target(again) == {"rows": before, "offsets": before, "loads": 1}
    assert rows_of(again, first) == 0
    assert verdict(again).findings == []
    assert leftovers(again) == []
    report = again.report(second)
    assert report.kind == "replace"
    assert report.changes == Changes(compared=before)


def test_a_part_is_exchanged_with_the_holes_filled(
    make_loader: MakeLoader, contract: Contract
) -> None:
    filled(make_loader, contract, 600, partitions=1)
    for low, high in (("0", "200"), ("300", "500")):
        finish(make_loader(contract), Request(low=low, high=high))
    again = make_loader(contract)
    request = Request(offsets=(OffsetRange(0, 100, 400),), existing="replace")
    survey = again.preview(request).selection
    assert (survey.ranges, survey.replaced) == ([OffsetRange(0, 100, 400)], 200)
    load_id = finish(again, request)
    assert sums(again, load_id)["planned"] == 300
    assert verdict(again).findings == []
    rest = make_loader(contract)
    assert rest.plan().offsets == 100


def test_the_report_tells_what_changed(make_loader: MakeLoader, contract: Contract) -> None:
    """The fixed contract gives older messages another value for a field they lack."""
    loader = filled(make_loader, contract, 800, broken_share=0)
    load(loader)
    upgraded = loader.clickhouse.rows(
        "SELECT countIf(_schema_version = '1.0') AS n, countIf(_schema_version != '1.2') AS older"
        " FROM orders"
    )[0]
    *older, current = contract.versions
    first, second = older
    fixed = msgspec.structs.replace(
        contract,
        versions=(
            first,
            msgspec.structs.replace(second, added={"customer_email": "unknown@example.com"}),
            current,
        ),
    )
    again = make_loader(fixed)
    changes = again.report(finish(again, ANEW)).changes
    assert changes is not None
    assert changes.changed == upgraded["n"] > 0
    assert changes.columns == {"customer_email": upgraded["n"]}
    assert verdict(again).findings == []


def test_what_is_refused_now_goes_and_what_passes_now_comes(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 800, broken_share=0.01)
    first = sums(loader, load(loader))
    breaker = msgspec.structs.replace(contract.breaker, max_refused_share=1.0)
    lenient = msgspec.structs.replace(contract, breaker=breaker)
    small = make_loader(lenient, max_message_bytes=600)
    second = sums(small, finish(small, ANEW))
    assert second["quarantined"] > first["quarantined"]
    assert target(small)["rows"] == second["loaded"]
    assert verdict(small).findings == []
    wide = make_loader(lenient)
    assert sums(wide, finish(wide, ANEW)) == first
    assert target(wide)["rows"] == first["loaded"]
    assert verdict(wide).findings == []


def test_at_no_moment_is_a_row_missing(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 900)
    load(loader)
    before = target(loader)["rows"]
    again = make_loader(contract, chunk_offsets=150)
    fewest = [before]
    after_each_statement(again, lambda: fewest.append(target(loader)["offsets"]))
    finish(again, ANEW)
    assert len(fewest) > 20
    assert min(fewest) == before


@pytest.mark.parametrize("statement", range(1, 12, 2))
def test_an_interrupted_exchange_is_settled_by_the_next_plan(
    make_loader: MakeLoader, contract: Contract, statement: int
) -> None:
    loader = filled(make_loader, contract, 300, partitions=2)
    load(loader)
    before = target(loader)["rows"]
    stopped = make_loader(contract, chunk_offsets=100)
    plan = stopped.plan(ANEW)
    for number in range(len(plan.chunks)):
        stopped.drain(plan.load_id, number)
    stopped.audit(plan.load_id)
    left = [statement]

    def count_down() -> None:
        left[0] -= 1
        if left[0] == 0:
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


def test_an_exchange_that_wakes_late_removes_nothing_of_a_later_one(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 300)
    load(loader)
    late = make_loader(contract)
    plan = late.plan(ANEW)
    late.drain(plan.load_id, 0)
    late.audit(plan.load_id)
    removed = late.clickhouse.execute
    before = target(loader)["rows"]

    def held(sql: str, *rest: Any, **named: Any) -> None:
        if sql.startswith("DELETE"):
            load(make_loader(contract))  # rolls this one forward
            finish(make_loader(contract), ANEW)
        removed(sql, *rest, **named)

    late.clickhouse.execute = held  # type: ignore[method-assign]
    late.publish(plan.load_id)
    assert target(loader) == {"rows": before, "offsets": before, "loads": 1}
    assert verdict(loader).findings == []


def test_a_row_whose_message_is_gone_stays(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    """Retention is faster than the load that was to replace the rows."""
    contract = msgspec.structs.replace(contract, on_expired="record")
    loader = filled(make_loader, contract, 400, partitions=1)
    load(loader)
    before = target(loader)["rows"]
    again = make_loader(contract)
    plan = again.plan(ANEW)
    delete_up_to(kafka, contract.topic, 100)
    again.drain(plan.load_id, 0)
    again.audit(plan.load_id)
    again.publish(plan.load_id)
    assert sums(again, plan.load_id)["absent"] == 100
    assert target(again) == {"rows": before, "offsets": before, "loads": 2}
    assert verdict(again).findings == []
    later = make_loader(contract).preview(ANEW).selection
    assert (later.ranges, later.there) == ([OffsetRange(0, 100, 400)], 100)


def test_what_another_load_is_reading_is_left_to_it(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 400, partitions=1)
    finish(loader, Request(high="300"))
    live = make_loader(contract)
    live.plan()
    again = make_loader(contract)
    again.settler.is_over = lambda _: False
    survey = again.preview(ANEW).selection
    assert (survey.ranges, survey.elsewhere) == ([OffsetRange(0, 0, 300)], 100)


def test_what_cannot_be_replaced_is_refused(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 10)
    with pytest.raises(PlanError, match="nothing to replace"):
        loader.plan(Request(existing="replace"))
    table = msgspec.structs.replace(contract.table, engine="ReplacingMergeTree(created_at)")
    newest = make_loader(msgspec.structs.replace(contract, table=table))
    with pytest.raises(PlanError, match="keeps only the newest row of a key"):
        newest.planner.survey.preview(ANEW)
    clustered = make_loader(contract, cluster="somewhere")
    with pytest.raises(PlanError, match="in a cluster"):
        clustered.planner.survey.preview(ANEW)


def test_a_load_that_publishes_between_survey_and_reservation_is_not_doubled(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """The window holds loaded and new offsets; another load takes the new ones meanwhile."""
    loader = filled(make_loader, contract, 400, partitions=1)
    finish(loader, Request(high="200"))
    slow = make_loader(contract)
    prospect = slow.planner.survey.preview

    def late(request: Request) -> Any:
        found = prospect(request)
        slow.planner.survey.preview = prospect  # type: ignore[method-assign]
        load(make_loader(contract))
        return found

    slow.planner.survey.preview = late  # type: ignore[method-assign]
    load_id = finish(slow, ANEW)
    assert sums(slow, load_id)["planned"] == 400
    rows = target(loader)
    assert rows["rows"] == rows["offsets"]
    assert rows["loads"] == 1
    assert verdict(loader).findings == []


def test_a_late_publisher_of_a_replaced_load_brings_no_row_back(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has published, and died before it dropped its table; its twin wakes when all is over."""
    loader = filled(make_loader, contract, 200)
    load(loader)
    first = make_loader(contract)
    drop = first.publisher.drop_work_table
    monkeypatch.setattr(first.publisher, "drop_work_table", lambda _: None)
    kept = finish(first, ANEW)
    attempts = first.ledger.audited_attempts(kept)
    chunks = first.ledger.chunks(kept)
    columns = first.publisher.columns(first.known(kept))
    twin = make_loader(contract)
    twin.settler.settle = lambda: None  # type: ignore[method-assign]
    finish(twin, ANEW)
    with pytest.raises(EngineError) as raised:
        first.publisher.copy(kept, columns, Slice(attempts[0], chunks[0]), replaces=True)
    assert raised.value.code == UNKNOWN_TABLE
    drop(kept)
    rows = target(loader)
    assert (rows["rows"], rows["loads"]) == (rows["offsets"], 1)
    assert verdict(loader).findings == []


def test_a_mended_contract_does_not_go_on_with_what_the_old_one_read(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = filled(make_loader, contract, 300)
    plan = loader.plan(resume=True)
    loader.drain(plan.load_id, 0)
    monkeypatch.setattr(type(contract), "digest", property(lambda _: "mended"))
    again = make_loader(contract)
    assert again.plan(resume=True).load_id != plan.load_id
    same_run = make_loader(contract, loader.owner)
    assert same_run.plan().load_id != plan.load_id
