"""Loads in tests: topics filled with samples, and what a load left in ClickHouse."""

from collections.abc import Callable
from random import Random
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from sluice.audit.verify.verifier import Verification, Verifier
from sluice.authoring.sample_messages import make_samples, produce
from sluice.contract import Contract
from sluice.loader import Loader
from sluice.settings import Connection
from sluice.store.request import Request
from tests.conftest import MakeLoader


def filled(
    make_loader: MakeLoader,
    contract: Contract,
    count: int,
    partitions: int = 4,
    broken_share: float = 0.004,
    tombstone_share: float = 0.004,
) -> Loader:
    """A loader whose topic holds samples."""
    loader = make_loader(contract)
    loader.broker.create_topic(contract.topic, partitions)
    made = make_samples(contract, count, Random(5), broken_share, tombstone_share)
    produce(contract, loader.broker, made)
    return loader


def finish(loader: Loader, request: Request) -> str:
    """A whole load of a request; gives its id, which is empty if there was nothing new."""
    plan = loader.plan(request)
    if not plan.load_id:
        return ""
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    return plan.load_id


def audited(loader: Loader) -> str:
    """A load up to its audit; gives its id."""
    plan = loader.plan()
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    return plan.load_id


def verdict(loader: Loader) -> Verification:
    """What the audit of everything finds."""
    return Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger).run()


def target(loader: Loader) -> dict[str, Any]:
    return loader.clickhouse.rows(
        "SELECT count() AS rows, uniqExact(_partition, _offset) AS offsets,"
        f" uniqExact(_load_id) AS loads FROM {loader.contract.table.name}"
    )[0]


def sums(loader: Loader, load_id: str) -> dict[str, int]:
    accounts = loader.ledger.attempts.accounts(loader.contract.topic, load_id)
    terms = ("planned", "loaded", "upgraded", "quarantined", "tombstones", "absent", "difference")
    return {term: sum(getattr(a, term) for a in accounts) for term in terms}


def leftovers(loader: Loader) -> list[str]:
    """Temporary tables, and the numbers of loads that have staged rows."""
    rows = loader.clickhouse.rows(
        "SELECT name FROM system.tables WHERE database = {db:String} AND match(name,"
        " '^(audit|trial|content)_')"
        " UNION ALL SELECT DISTINCT partition FROM system.parts WHERE active"
        " AND database = {db:String} AND startsWith(table, 'staging_')",
        {"db": loader.ledger.database},
    )
    return [row["name"] for row in rows]


def after_each_statement(loader: Loader, look: Callable[[], None]) -> None:
    """Call something after each statement and insert of a loader; what it raises is raised."""

    def looking(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            answer = call(*arguments, **named)
            look()
            return answer

        return wrapped

    for name in ("execute", "insert_lines"):
        setattr(loader.clickhouse, name, looking(getattr(loader.clickhouse, name)))


def delete_up_to(kafka: Connection, topic: str, offset: int) -> None:
    """Have retention remove what is before an offset of partition 0."""
    admin = AdminClient(dict(kafka.extra))
    for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(20)


def delete_topic(kafka: Connection, topic: str) -> None:
    """Remove a topic, so that one of its name can be made anew."""
    admin = AdminClient(dict(kafka.extra))
    admin.delete_topics([topic])[topic].result(20)
