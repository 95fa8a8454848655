"""What a load reads in a database that many topics have used for long."""

import uuid
from typing import Any

import msgspec

from benchmarks import history
from sluice.contract import Contract
from sluice.loader import Loader
from sluice.store.clickhouse import ClickHouse
from sluice.store.request import RefusalFilter, Request
from tests.conftest import MakeLoader, load
from tests.loads import filled, finish, verdict

TOPICS, LOADS = 100, 1_300
MOST_ROWS = 100_000
"""Rows that one statement may read; each table that a load reads has more of other topics."""


def watch(clickhouse: ClickHouse, read: dict[str, int]) -> None:
    """Collect the rows that each statement of a client reads."""

    def watched(call: Any) -> Any:
        def wrapped(statement: str, *arguments: Any, **named: Any) -> Any:
            result = call(statement, *arguments, **named)
            summary = getattr(result, "summary", {})
            rows = int(summary.get("read_rows", 0))
            read[statement] = max(rows, read.get(statement, 0))
            return result

        return wrapped

    client: Any = clickhouse.client
    client.query, client.command = watched(client.query), watched(client.command)


def test_no_statement_of_a_load_reads_the_records_of_other_topics(
    make_loader: MakeLoader, contract: Contract
) -> None:
    topics = [f"other-{uuid.uuid4().hex[:8]}-{number}" for number in range(TOPICS)]
    other = make_loader(msgspec.structs.replace(contract, topic=topics[0]))
    history.fill(other, topics, LOADS)
    breaker = msgspec.structs.replace(contract.breaker, max_refused_share=1)
    contract = msgspec.structs.replace(contract, breaker=breaker)
    read: dict[str, int] = {}

    def watched() -> Loader:
        loader = make_loader(contract)
        watch(loader.clickhouse, read)
        return loader

    filled(make_loader, contract, 600, broken_share=0.05)
    first = watched()
    first.report(load(first))
    assert not load(watched())
    for request in (
        Request(low="0", existing="replace"),
        Request(refused=RefusalFilter(topic=contract.topic, status="quarantined")),
    ):
        loader = watched()
        loader.report(finish(loader, request))
    assert verdict(loader).findings == []
    assert len(read) > 50
    assert {statement: rows for statement, rows in read.items() if rows > MOST_ROWS} == {}

    # That a statement which reads all of them would be found.
    log = f"{loader.ledger.database}.topic_log"
    loader.clickhouse.rows(f"SELECT uniq(owner) AS owners FROM {log}")
    assert max(read.values()) > MOST_ROWS
