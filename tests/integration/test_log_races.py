"""Moments in which two writers of a topic's log meet, and a topic forgotten beside a load."""

from collections.abc import Callable

import pytest

from sluice import forget
from sluice.contract import Contract
from sluice.errors import EngineError, LoadLost, PlanError
from sluice.forget import forget_topic
from sluice.loader import Loader
from sluice.store import topic_log
from sluice.store.load_state import State
from sluice.store.topic_log import TopicLog
from sluice.store.topic_state import Entry
from tests.conftest import MakeLoader, load
from tests.loads import audited, filled, leftovers, sums, target, verdict


def after_entry(loader: Loader, state: State, act: Callable[[], object]) -> None:
    """Act once, right after the loader has inserted an entry of that state."""
    insert, done = loader.clickhouse.insert, list[bool]()

    def watched(
        table: str, rows: list[dict[str, object]], token: str, serial: bool = False
    ) -> None:
        insert(table, rows, token, serial)
        if table.endswith("topic_log") and rows[0]["state"] == state and not done:
            done.append(True)
            act()

    loader.clickhouse.insert = watched  # type: ignore[method-assign, assignment]


def check(loader: Loader, load_id: str) -> None:
    loaded = sums(loader, load_id)["loaded"]
    assert target(loader) == {"rows": loaded, "offsets": loaded, "loads": 1}
    assert verdict(loader).findings == []
    assert str(loader.known(load_id).number) not in leftovers(loader)


def test_a_publisher_is_overtaken_as_soon_as_it_has_begun(
    make_loader: MakeLoader, contract: Contract
) -> None:
    first = filled(make_loader, contract, 200)
    load_id = audited(first)
    second = make_loader(contract)
    after_entry(first, State.PUBLISHING, lambda: second.publish(load_id))
    first.publish(load_id)
    check(first, load_id)


def test_a_settled_load_is_completed_by_another_in_the_same_moment(
    make_loader: MakeLoader, contract: Contract
) -> None:
    stopped = filled(make_loader, contract, 200)
    load_id = audited(stopped)
    stopped.publisher.fence(load_id, stopped.owner)
    settling, other = make_loader(contract), make_loader(contract)
    after_entry(settling, State.PUBLISHING, lambda: other.publish(load_id))
    assert settling.plan().offsets == 0
    check(stopped, load_id)


def test_a_writer_that_has_read_before_the_topic_was_forgotten_decides_again(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_log, "PATIENCE_SECONDS", 5)
    old = filled(make_loader, contract, 100)
    plan = old.plan()
    old.ledger.record(plan.load_id, contract.topic, State.ABANDONED, old.owner)
    for _ in range(2):
        other = make_loader(contract)
        other.plan()
        other.settler.abandon(other.planner.last())  # type: ignore[arg-type]
    forget_topic(other)
    entry = Entry(load_id="x", state=State.RESERVED, owner="x")
    assert list(old.ledger.log(contract.topic).append(entry).live) == ["x"]


def die(log: TopicLog, number: int) -> None:
    raise EngineError(0, "killed")


def test_forgetting_that_was_interrupted_has_forgotten_all(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry is there, and those before it still are, too."""
    loader = filled(make_loader, contract, 100)
    load(loader)
    loader.clickhouse.execute("DROP TABLE orders SYNC")
    with monkeypatch.context() as patched:
        patched.setattr(TopicLog, "forget", die)
        with pytest.raises(EngineError):
            forget_topic(make_loader(contract))
    same_run = make_loader(contract, loader.owner)
    assert same_run.ledger.published_rows(contract.topic) == 0
    load_id = load(same_run)
    assert sums(same_run, load_id)["planned"] == 100
    forget_topic_refused(make_loader(contract))


def forget_topic_refused(loader: Loader) -> None:
    with pytest.raises(PlanError):
        forget_topic(loader)


def test_a_topic_is_not_forgotten_beside_a_load(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load begins after the check; its rows must not be left without a load."""
    loader, beside = filled(make_loader, contract, 100), make_loader(contract)
    beside.ledger.create()
    describe = forget.describe_topic

    def then_load(checked: Loader) -> forget.ForgottenTopic:
        found = describe(checked)
        load(loader)
        return found

    monkeypatch.setattr(forget, "describe_topic", then_load)
    with pytest.raises(PlanError, match="meanwhile"):
        forget_topic(beside)
    assert len(beside.ledger.loads_of(contract.topic)) == 1
    assert verdict(beside).findings == []


def test_a_topic_with_a_load_that_is_publishing_is_not_forgotten(
    make_loader: MakeLoader, contract: Contract
) -> None:
    stopped = filled(make_loader, contract, 100)
    stopped.publisher.fence(audited(stopped), stopped.owner)
    with pytest.raises(PlanError, match="may be visible"):
        forget_topic(make_loader(contract))


def test_no_load_is_not_the_newest_one(make_loader: MakeLoader, contract: Contract) -> None:
    loader = filled(make_loader, contract, 100)
    load_id = audited(loader)
    with pytest.raises(LoadLost):
        loader.audit("")
    with pytest.raises(LoadLost):
        loader.publish("")
    assert loader.known(load_id).state is State.AUDITED
