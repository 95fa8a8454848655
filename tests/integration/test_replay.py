"""Replays: messages in quarantine that pass are loaded; the others keep their history."""

from random import Random
from typing import Any

import msgspec
import pytest

from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.errors import EngineError, PlanError, TopicRecreated, UnknownPartition
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.settings import Connection
from sluice.store.quarantine import Quarantine
from sluice.store.request import RefusalFilter, Request
from tests.commands import Run
from tests.conftest import MakeLoader, load
from tests.loads import delete_topic, delete_up_to, filled, finish, leftovers, sums, target, verdict


def disable_breaker(contract: Contract) -> Contract:
    """The contract with a breaker that never trips."""
    breaker = msgspec.structs.replace(contract.breaker, max_refused_share=1.0)
    return msgspec.structs.replace(contract, breaker=breaker)


def replay_of(contract: Contract, **filters: Any) -> Request:
    return Request(refused=RefusalFilter(topic=contract.topic, **filters))


def partly_refused(
    make_loader: MakeLoader, contract: Contract, count: int, limit: int, **choices: Any
) -> Loader:
    """A loader that refuses messages above a size limit, and whose topic holds samples."""

    def make(contract: Contract, **changed: Any) -> Loader:
        return make_loader(contract, max_message_bytes=limit, **changed)

    return filled(make, contract, count, **choices)


def statuses(loader: Loader) -> dict[str, int]:
    rows = loader.clickhouse.rows(
        f"SELECT q.status AS status, count() AS n FROM {loader.ledger.database}.quarantine AS q"
        " GROUP BY status"
    )
    return {row["status"]: row["n"] for row in rows}


def test_messages_that_pass_are_loaded_with_their_offsets(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """They were too large for the setting before; no other message changes."""
    contract = disable_breaker(contract)
    small = partly_refused(
        make_loader,
        contract,
        600,
        500,
        broken_share=0.02,
    )
    first = sums(small, load(small))
    broken = sum(g.count for g in groups(small) if g.reason != "too_large")
    assert 0 < broken < first["quarantined"]
    replaying = make_loader(contract)
    load_id = finish(replaying, replay_of(contract))
    account = sums(replaying, load_id)
    remaining = account["quarantined"]  # broken, whether also too large or not
    assert broken <= remaining < account["planned"] == first["quarantined"]
    assert account["loaded"] == first["quarantined"] - remaining
    total = first["loaded"] + account["loaded"]
    assert target(replaying) == {"rows": total, "offsets": total, "loads": 2}
    assert statuses(replaying) == {
        "loaded": account["loaded"],
        "superseded": remaining,
        "quarantined": remaining,
    }
    assert verdict(replaying).findings == []
    assert leftovers(replaying) == []
    report = replaying.report(load_id)
    assert report.kind == "replay"
    assert "messages in quarantine" in report.asked


def groups(loader: Loader) -> Any:
    store = Quarantine(loader.clickhouse, loader.ledger.database)
    return store.groups(RefusalFilter(topic=loader.contract.topic))


def test_repeating_a_replay_is_harmless(make_loader: MakeLoader, contract: Contract) -> None:
    contract = disable_breaker(contract)
    loader = filled(make_loader, contract, 500, broken_share=0.05)
    refused = sums(loader, load(loader))["quarantined"]
    before = target(loader)
    for _ in range(3):
        replaying = make_loader(contract)
        account = sums(replaying, finish(replaying, replay_of(contract)))
        assert (account["planned"], account["quarantined"]) == (refused, refused)
        assert statuses(replaying)["quarantined"] == refused
        assert target(replaying) == before
    assert verdict(loader).findings == []


def test_filters_narrow_a_replay(make_loader: MakeLoader, contract: Contract) -> None:
    contract = disable_breaker(contract)
    loader = filled(make_loader, contract, 1500, broken_share=0.05)
    load_id = load(loader)
    for group in groups(loader):
        request = replay_of(contract, reason=group.reason, field=group.field, version=group.version)
        assert make_loader(contract).preview(request).selection.offsets == group.count
    total = sum(group.count for group in groups(loader))
    preview = make_loader(contract).preview
    assert preview(replay_of(contract, load_id=load_id)).selection.offsets == total
    assert preview(replay_of(contract, load_id="another")).selection.offsets == 0
    first = loader.clickhouse.rows(
        "SELECT q.partition AS p, min(q.offset) AS o"
        f" FROM {loader.ledger.database}.quarantine AS q GROUP BY p ORDER BY p LIMIT 1"
    )[0]
    one = replay_of(contract, low=first["o"], high=first["o"] + 1)
    one = msgspec.structs.replace(one, partitions=(first["p"],))
    assert preview(one).selection.offsets == 1
    few = msgspec.structs.replace(replay_of(contract), max_messages=3)
    assert preview(few).selection.offsets == 3
    with pytest.raises(UnknownPartition) as unknown:
        preview(msgspec.structs.replace(replay_of(contract), partitions=(9,)))
    assert unknown.value.partition == 9
    with pytest.raises(PlanError) as raised:
        preview(msgspec.structs.replace(replay_of(contract), existing="replace"))
    assert "nothing to replace" in raised.value.detail


def strip_zeros(value: bytes) -> bytes:
    """Strip zero bytes from the end; raise an error for a value that is not JSON at all."""
    if value.startswith(b"<"):
        raise ValueError("not an order")
    return value.rstrip(b"\x00")


def test_a_repair_function_repairs_messages(make_loader: MakeLoader, contract: Contract) -> None:
    contract = disable_breaker(contract)
    loader = filled(make_loader, contract, 1500, broken_share=0.05)
    load(loader)
    trailing = sum(g.count for g in groups(loader) if g.reason == "trailing_bytes")
    refused = sum(g.count for g in groups(loader))
    repairing = make_loader(msgspec.structs.replace(contract, repair=strip_zeros))
    account = sums(repairing, finish(repairing, replay_of(contract)))
    assert (account["loaded"], account["quarantined"]) == (trailing, refused - trailing)
    assert trailing > 0
    counts = repairing.clickhouse.rows(
        "SELECT countIf(q.repaired) AS repaired, countIf(q.message LIKE '%not an order%') AS raised"
        f" FROM {repairing.ledger.database}.quarantine AS q"
    )[0]
    assert counts["repaired"] == trailing
    assert counts["raised"] > 0
    kept = repairing.clickhouse.rows(
        "SELECT countIf(endsWith(base64Decode(r.value), '}')) AS good, count() AS n,"
        " countIf(base64Decode(q.value) = concat(base64Decode(r.value), '\\0\\0')) AS original"
        f" FROM {repairing.ledger.database}.load_repairs AS r"
        f" INNER JOIN {repairing.ledger.database}.quarantine_rows AS q"
        " ON q.partition = r.partition AND q.offset = r.offset AND q.load_id != r.load_id"
    )[0]
    assert kept == {"good": trailing, "n": trailing, "original": trailing}
    assert verdict(repairing).findings == []


def test_a_message_that_has_expired_from_the_topic_is_replayed(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    contract = disable_breaker(contract)
    loader = partly_refused(
        make_loader,
        contract,
        200,
        500,
        partitions=1,
        broken_share=0,
    )
    refused = sums(loader, load(loader))["quarantined"]
    delete_up_to(kafka, contract.topic, 200)
    replaying = make_loader(contract)
    assert sums(replaying, finish(replaying, replay_of(contract)))["loaded"] == refused > 0
    assert verdict(replaying).findings == []


def test_the_next_load_settles_an_interrupted_replay(
    make_loader: MakeLoader, contract: Contract
) -> None:
    contract = disable_breaker(contract)
    small = partly_refused(make_loader, contract, 300, 500)
    load(small)
    stopped = make_loader(contract)
    plan = stopped.plan(replay_of(contract))
    stopped.drain(plan.load_id, 0)
    stopped.audit(plan.load_id)
    stopped.publisher.fence(plan.load_id, stopped.owner)
    produce(contract, small.broker, make_samples(contract, 40, Random(3), 0, 0))
    load(make_loader(contract))
    assert verdict(small).findings == []
    assert (
        make_loader(contract).preview(replay_of(contract)).selection.offsets
        == sums(stopped, plan.load_id)["quarantined"]
    )


def test_replayed_messages_can_be_reloaded(make_loader: MakeLoader, contract: Contract) -> None:
    contract = disable_breaker(contract)
    small = partly_refused(make_loader, contract, 300, 500)
    load(small)
    replaying = make_loader(contract)
    finish(replaying, replay_of(contract))
    rows = target(replaying)["rows"]
    reloading = make_loader(contract)
    account = sums(reloading, finish(reloading, Request(low="0", existing="replace")))
    assert (account["loaded"], account["planned"]) == (rows, 300)
    assert target(reloading) == {"rows": rows, "offsets": rows, "loads": 1}
    assert verdict(reloading).findings == []


def test_messages_that_clickhouse_refuses_again_stay_in_quarantine(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of them, with others in between, so that they are read from quarantine again."""
    contract = disable_breaker(contract)
    small = partly_refused(
        make_loader,
        contract,
        60,
        10,
        partitions=1,
        broken_share=0,
        tombstone_share=0,
    )
    load(small)
    replaying = make_loader(contract)
    insert_lines = replaying.clickhouse.insert_lines
    refused = [2, 3, 17, 40]

    def refuse(table: str, columns: Any, body: bytes, *rest: Any, **more: Any) -> None:
        if "staging_" in table:
            staged = {msgspec.json.decode(line)[3] for line in body.splitlines()}
            if staged & set(refused):
                raise EngineError(117, "INCORRECT_DATA")
        insert_lines(table, columns, body, *rest, **more)

    monkeypatch.setattr(replaying.clickhouse, "insert_lines", refuse)
    account = sums(replaying, finish(replaying, replay_of(contract)))
    assert (account["loaded"], account["quarantined"]) == (56, 4)
    assert verdict(replaying).findings == []


def test_limited_replays_take_each_message_once_before_repeating_any(
    make_loader: MakeLoader, contract: Contract
) -> None:
    contract = disable_breaker(contract)
    loader = filled(make_loader, contract, 400, broken_share=0.1, partitions=1)
    refused = sums(loader, load(loader))["quarantined"]
    replayed = set()
    for _ in range(2):
        some = msgspec.structs.replace(replay_of(contract), max_messages=refused // 2)
        replaying = make_loader(contract)
        plan = replaying.plan(some)
        replayed |= {(r.partition, o) for part in plan.chunks for r in part for o in offsets(r)}
        finish(replaying, some)
    assert len(replayed) == 2 * (refused // 2)


def offsets(r: OffsetRange) -> range:
    return range(r.low, r.high)


def test_a_replay_into_a_replacing_table(make_loader: MakeLoader, contract: Contract) -> None:
    """A message was refused, and the table already holds a newer message with the same key."""
    table = msgspec.structs.replace(
        contract.table,
        engine="ReplacingMergeTree(created_at)",
        order_by=("order_id",),
        partition_by="",
    )
    contract = disable_breaker(msgspec.structs.replace(contract, table=table))
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    order: Any = msgspec.to_builtins(example_message(contract, Random(3)))
    producer = loader.broker.producer()
    long_order = order | {"notes": "x" * 900, "created_at": "2020-01-01T00:00:00Z"}
    for value in (long_order, order):
        producer.produce(contract.topic, msgspec.json.encode(value))
    producer.flush()
    size = len(msgspec.json.encode(long_order)) - 1
    first = make_loader(contract, max_message_bytes=size)
    assert sums(first, load(first))["quarantined"] == 1
    replaying = make_loader(contract)
    finish(replaying, replay_of(contract))
    assert statuses(replaying) == {"loaded": 1}
    assert verdict(replaying).findings == []


def test_a_replay_of_a_recreated_topic_is_refused(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100)
    load(loader)
    delete_topic(kafka, contract.topic)
    filled(make_loader, contract, 200)
    for request in (replay_of(contract), Request()):
        with pytest.raises(TopicRecreated):
            make_loader(contract).plan(request)


def test_the_replay_command(run: Run) -> None:
    sent = run("produce-samples", "payments", "--count", "3000", "--partitions", "4")
    assert sent.exit_code == 0, sent.output
    loaded = run("load", "payments")
    assert loaded.exit_code == 0, loaded.output
    preview = run("quarantine", "replay", "payments", "--dry-run")
    assert preview.exit_code == 0, preview.output
    assert "would read: messages in quarantine" in preview.output
    done = run("quarantine", "replay", "payments", "--reason", "not_json")
    assert done.exit_code == 0, done.output
    assert "published" in done.output
    assert run("verify", "payments", "--content").exit_code == 0
    assert (
        "0 offsets" in run("quarantine", "replay", "payments", "--field", "x", "--dry-run").output
    )
