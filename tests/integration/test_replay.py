"""Messages in quarantine, validated again: what passes is loaded, what fails keeps its history."""

from random import Random
from typing import Any

import msgspec
import pytest

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


def lenient(contract: Contract) -> Contract:
    """A contract that publishes whatever was refused."""
    breaker = msgspec.structs.replace(contract.breaker, max_refused_share=1.0)
    return msgspec.structs.replace(contract, breaker=breaker)


def again(contract: Contract, **narrowed: Any) -> Request:
    return Request(refused=RefusalFilter(topic=contract.topic, **narrowed))


def partly_refused(
    make_loader: MakeLoader, contract: Contract, count: int, limit: int, **choices: Any
) -> Loader:
    """A loader that refuses messages of more than so many bytes; its topic holds samples."""

    def make(contract: Contract, **changed: Any) -> Loader:
        return make_loader(contract, max_message_bytes=limit, **changed)

    return filled(make, contract, count, **choices)


def statuses(loader: Loader) -> dict[str, int]:
    rows = loader.clickhouse.rows(
        f"SELECT q.status AS status, count() AS n FROM {loader.ledger.database}.quarantine AS q"
        " GROUP BY status"
    )
    return {row["status"]: row["n"] for row in rows}


def test_what_passes_now_is_loaded_with_its_offset(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """Too large for the setting then; no other message is touched."""
    contract = lenient(contract)
    small = partly_refused(
        make_loader,
        contract,
        600,
        500,
        broken_share=0.02,
    )
    first = sums(small, load(small))
    broken = sum(k.count for k in kinds(small) if k.reason != "too_large")
    assert 0 < broken < first["quarantined"]
    replaying = make_loader(contract)
    load_id = finish(replaying, again(contract))
    account = sums(replaying, load_id)
    still = account["quarantined"]  # what is broken, whether it was also too large or not
    assert broken <= still < account["planned"] == first["quarantined"]
    assert account["loaded"] == first["quarantined"] - still
    everything = first["loaded"] + account["loaded"]
    assert target(replaying) == {"rows": everything, "offsets": everything, "loads": 2}
    assert statuses(replaying) == {
        "loaded": account["loaded"],
        "superseded": still,
        "quarantined": still,
    }
    assert verdict(replaying).findings == []
    assert leftovers(replaying) == []
    report = replaying.report(load_id)
    assert report.kind == "replay"
    assert "messages in quarantine" in report.asked


def kinds(loader: Loader) -> Any:
    store = Quarantine(loader.clickhouse, loader.ledger.database)
    return store.kinds(RefusalFilter(topic=loader.contract.topic))


def test_repeating_a_replay_is_harmless(make_loader: MakeLoader, contract: Contract) -> None:
    contract = lenient(contract)
    loader = filled(make_loader, contract, 500, broken_share=0.05)
    refused = sums(loader, load(loader))["quarantined"]
    before = target(loader)
    for _ in range(3):
        replaying = make_loader(contract)
        account = sums(replaying, finish(replaying, again(contract)))
        assert (account["planned"], account["quarantined"]) == (refused, refused)
        assert statuses(replaying)["quarantined"] == refused
        assert target(replaying) == before
    assert verdict(loader).findings == []


def test_filters_narrow_a_replay(make_loader: MakeLoader, contract: Contract) -> None:
    contract = lenient(contract)
    loader = filled(make_loader, contract, 1500, broken_share=0.05)
    load_id = load(loader)
    for kind in kinds(loader):
        request = again(contract, reason=kind.reason, field=kind.field, version=kind.version)
        assert make_loader(contract).preview(request).selection.offsets == kind.count
    whole = sum(kind.count for kind in kinds(loader))
    preview = make_loader(contract).preview
    assert preview(again(contract, load_id=load_id)).selection.offsets == whole
    assert preview(again(contract, load_id="another")).selection.offsets == 0
    first = loader.clickhouse.rows(
        "SELECT q.partition AS p, min(q.offset) AS o"
        f" FROM {loader.ledger.database}.quarantine AS q GROUP BY p ORDER BY p LIMIT 1"
    )[0]
    one = again(contract, low=first["o"], high=first["o"] + 1)
    asked = msgspec.structs.replace(one, partitions=(first["p"],))
    assert preview(asked).selection.offsets == 1
    few = msgspec.structs.replace(again(contract), max_messages=3)
    assert preview(few).selection.offsets == 3
    with pytest.raises(UnknownPartition):
        preview(msgspec.structs.replace(again(contract), partitions=(9,)))
    with pytest.raises(PlanError, match="not loaded yet"):
        preview(msgspec.structs.replace(again(contract), existing="replace"))


def mended(value: bytes) -> bytes:
    """Takes the zero bytes off the end; fails for what is no JSON at all."""
    if value.startswith(b"<"):
        raise ValueError("not an order")
    return value.rstrip(b"\x00")


def test_a_repair_function_mends_what_it_can(make_loader: MakeLoader, contract: Contract) -> None:
    contract = lenient(contract)
    loader = filled(make_loader, contract, 1500, broken_share=0.05)
    load(loader)
    trailing = sum(k.count for k in kinds(loader) if k.reason == "trailing_bytes")
    refused = sum(k.count for k in kinds(loader))
    repairing = make_loader(msgspec.structs.replace(contract, repair=mended))
    account = sums(repairing, finish(repairing, again(contract)))
    assert (account["loaded"], account["quarantined"]) == (trailing, refused - trailing)
    assert trailing > 0
    found = repairing.clickhouse.rows(
        "SELECT countIf(q.repaired) AS repaired, countIf(q.message LIKE '%not an order%') AS raised"
        f" FROM {repairing.ledger.database}.quarantine AS q"
    )[0]
    assert found["repaired"] == trailing
    assert found["raised"] > 0
    kept = repairing.clickhouse.rows(
        "SELECT countIf(endsWith(base64Decode(r.value), '}')) AS good, count() AS n,"
        " countIf(base64Decode(q.value) = concat(base64Decode(r.value), '\\0\\0')) AS original"
        f" FROM {repairing.ledger.database}.load_repairs AS r"
        f" INNER JOIN {repairing.ledger.database}.quarantine_rows AS q"
        " ON q.partition = r.partition AND q.offset = r.offset AND q.load_id != r.load_id"
    )[0]
    assert kept == {"good": trailing, "n": trailing, "original": trailing}
    assert verdict(repairing).findings == []


def test_a_message_that_is_gone_from_the_topic_is_replayed(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    contract = lenient(contract)
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
    assert sums(replaying, finish(replaying, again(contract)))["loaded"] == refused > 0
    assert verdict(replaying).findings == []


def test_an_interrupted_replay_is_settled(make_loader: MakeLoader, contract: Contract) -> None:
    contract = lenient(contract)
    small = partly_refused(make_loader, contract, 300, 500)
    load(small)
    stopped = make_loader(contract)
    plan = stopped.plan(again(contract))
    stopped.drain(plan.load_id, 0)
    stopped.audit(plan.load_id)
    stopped.publisher.fence(plan.load_id)
    produce(contract, small.broker, make_samples(contract, 40, Random(3), 0, 0))
    load(make_loader(contract))
    assert verdict(small).findings == []
    assert (
        make_loader(contract).preview(again(contract)).selection.offsets
        == sums(stopped, plan.load_id)["quarantined"]
    )


def test_a_replace_of_what_was_replayed(make_loader: MakeLoader, contract: Contract) -> None:
    contract = lenient(contract)
    small = partly_refused(make_loader, contract, 300, 500)
    load(small)
    replaying = make_loader(contract)
    finish(replaying, again(contract))
    rows = target(replaying)["rows"]
    anew = make_loader(contract)
    account = sums(anew, finish(anew, Request(low="0", existing="replace")))
    assert (account["loaded"], account["planned"]) == (rows, 300)
    assert target(anew) == {"rows": rows, "offsets": rows, "loads": 1}
    assert verdict(anew).findings == []


def test_messages_that_clickhouse_refuses_again_are_kept_again(
    make_loader: MakeLoader, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of them, with others between, so that they are read out of quarantine once more."""
    contract = lenient(contract)
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
    staging = replaying.clickhouse.insert_lines
    refused = [2, 3, 17, 40]

    def refusing(table: str, columns: Any, body: bytes, *rest: Any) -> None:
        if "staging_" in table:
            found = {msgspec.json.decode(line)[2] for line in body.splitlines()}
            if found & set(refused):
                raise EngineError(117, "INCORRECT_DATA")
        staging(table, columns, body, *rest)

    monkeypatch.setattr(replaying.clickhouse, "insert_lines", refusing)
    account = sums(replaying, finish(replaying, again(contract)))
    assert (account["loaded"], account["quarantined"]) == (56, 4)
    assert verdict(replaying).findings == []


def test_a_replay_of_many_takes_those_first_that_were_refused_first(
    make_loader: MakeLoader, contract: Contract
) -> None:
    contract = lenient(contract)
    loader = filled(make_loader, contract, 400, broken_share=0.1, partitions=1)
    refused = sums(loader, load(loader))["quarantined"]
    seen = set()
    for _ in range(2):
        some = msgspec.structs.replace(again(contract), max_messages=refused // 2)
        replaying = make_loader(contract)
        plan = replaying.plan(some)
        seen |= {(r.partition, o) for part in plan.chunks for r in part for o in offsets(r)}
        finish(replaying, some)
    assert len(seen) == 2 * (refused // 2)


def offsets(r: OffsetRange) -> range:
    return range(r.low, r.high)


def test_a_replay_into_a_table_that_keeps_the_newest_row(
    make_loader: MakeLoader, contract: Contract
) -> None:
    """The message of a key was refused, and a newer one of that key is in the table already."""
    table = msgspec.structs.replace(
        contract.table, engine="ReplacingMergeTree(created_at)", order_by=("order_id",)
    )
    contract = lenient(msgspec.structs.replace(contract, table=table))
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, 1)
    order = contract.example(Random(3))
    older: Any = msgspec.to_builtins(order)
    producer = loader.broker.producer()
    long_ago = older | {"notes": "x" * 900, "created_at": "2020-01-01T00:00:00Z"}
    for value in (long_ago, older):
        producer.produce(contract.topic, msgspec.json.encode(value))
    producer.flush()
    size = len(msgspec.json.encode(long_ago)) - 1
    first = make_loader(contract, max_message_bytes=size)
    assert sums(first, load(first))["quarantined"] == 1
    replaying = make_loader(contract)
    finish(replaying, again(contract))
    assert statuses(replaying) == {"loaded": 1}
    assert verdict(replaying).findings == []


def test_a_replay_does_not_hide_that_a_topic_was_recreated(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> None:
    loader = filled(make_loader, contract, 100)
    load(loader)
    delete_topic(kafka, contract.topic)
    filled(make_loader, contract, 200)
    for request in (again(contract), Request()):
        with pytest.raises(TopicRecreated):
            make_loader(contract).plan(request)


def test_the_command_replays(run: Run) -> None:
    run("produce-samples", "payments", "--count", "3000", "--partitions", "4")
    assert run("load", "payments").exit_code == 0
    shown = run("quarantine", "replay", "payments", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "would read: messages in quarantine" in shown.output
    done = run("quarantine", "replay", "payments", "--reason", "not_json")
    assert done.exit_code == 0, done.output
    assert "published" in done.output
    assert run("verify", "payments", "--content").exit_code == 0
    assert (
        "0 offsets" in run("quarantine", "replay", "payments", "--field", "x", "--dry-run").output
    )
