"""Loads through an address with two servers, of which one lags behind; see tests/chaos/replicas.py.

Each step of a load is made by a loader of its own, as Airflow's tasks are: none has seen what the
others have read.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterator

import msgspec
import pytest

from local.stack import Stack
from sluice.contract import Contract
from sluice.errors import LoadLost, ShortRead
from sluice.loader import Loader
from sluice.publish.publisher import Slice
from sluice.settings import Connection, Settings
from sluice.store.clickhouse import connect
from sluice.store.request import RefusalFilter, Request
from sluice.store.staging import StagedRows
from tests.chaos.replicas import Mode, Replicas, second_engine
from tests.conftest import MakeLoader
from tests.loads import audited, filled, sums, target, verdict

Behind = Callable[[Mode], tuple[Replicas, Connection]]


@pytest.fixture(scope="module")
def second(
    stack: Stack, clickhouse_server: Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Another engine with the same login."""
    made = second_engine(stack, tmp_path_factory.mktemp("second"))
    yield made
    made.stop()


@pytest.fixture
def behind(stack: Stack, second: Stack, clickhouse_server: Connection) -> Iterator[Behind]:
    """Makes two replicas of a new database, and a connection to them."""
    made: list[Replicas] = []

    def make(mode: Mode) -> tuple[Replicas, Connection]:
        ports = (stack.ports.clickhouse, second.ports.clickhouse)
        replicas = Replicas(*ports, mode, seed=3, longest_lag=0.1)
        made.append(replicas)
        name = f"replicas_{uuid.uuid4().hex[:10]}"
        server = msgspec.structs.replace(clickhouse_server, port=replicas.port)
        connect(server).execute(f"CREATE DATABASE {name}")
        replicas.wait()
        return replicas, msgspec.structs.replace(server, schema=name)

    yield make
    for replicas in made:
        replicas.wait()
        replicas.close()


@pytest.fixture
def loader_of(
    make_loader: MakeLoader, contract: Contract, kafka: Connection
) -> Callable[[Connection, str], Loader]:
    """Makes a loader that has read nothing yet."""
    filled(make_loader, contract, 200, partitions=2, broken_share=0.005)

    def make(connection: Connection, owner: str) -> Loader:
        settings = Settings(database=f"{connection.schema}_sluice", chunk_offsets=100)
        return Loader(contract, kafka, connection, settings, owner, lambda _: True, False)

    return make


LoaderOf = Callable[[Connection, str], Loader]


def load_in_steps(loader_of: LoaderOf, connection: Connection, request: Request, run: str) -> str:
    """A whole load, each step by a loader of its own."""
    plan = loader_of(connection, run).plan(request)
    for number in range(len(plan.chunks)):
        loader_of(connection, run).drain(plan.load_id, number)
    loader_of(connection, run).audit(plan.load_id)
    loader_of(connection, run).publish(plan.load_id)
    assert loader_of(connection, run).report(plan.load_id).state == "published"
    return plan.load_id


@pytest.mark.parametrize("mode", ["stale reads", "stale copies"])
def test_a_load_a_reload_and_a_replay_are_exact(
    loader_of: LoaderOf, behind: Behind, clickhouse_server: Connection, mode: Mode
) -> None:
    replicas, connection = behind(mode)
    first = load_in_steps(loader_of, connection, Request(), "one")
    reload = Request(existing="replace", low="0")
    load_in_steps(loader_of, connection, reload, "two")
    replay = Request(refused=RefusalFilter(topic=loader_of(connection, "x").contract.topic))
    load_in_steps(loader_of, connection, replay, "three")
    assert replicas.stale > 0
    replicas.wait()
    direct = msgspec.structs.replace(clickhouse_server, schema=connection.schema)
    for port in replicas.ports:
        judge = loader_of(msgspec.structs.replace(direct, port=port), "judge")
        account = sums(judge, first)
        assert (account["planned"], account["difference"]) == (200, 0)
        rows = target(judge)
        assert (rows["rows"], rows["offsets"]) == (account["loaded"], account["loaded"])
        assert verdict(judge).findings == []


def test_a_copy_on_a_replica_without_all_staged_rows_copies_nothing(
    loader_of: LoaderOf, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the condition that it needs all of them, its token is used up by a part of them."""
    _, connection = behind("lag")
    loader = loader_of(connection, "run")
    load_id = audited(loader)
    load = loader.publisher.fence(load_id, loader.owner)
    rows = loader.ledger.staging.rows(load)
    loader.clickhouse.execute(
        f"DELETE FROM {rows.table} WHERE {rows.condition} AND _offset < 20",
        settings={"lightweight_deletes_sync": 2},
    )
    loader.clickhouse._lag_seconds = 1
    part = Slice(load.attempts[0], list(load.chunks[0]))
    columns = loader.publisher.columns(load)
    with pytest.raises(ShortRead):
        loader.publisher.copy(load, columns, part)
    assert target(loader)["rows"] == 0
    monkeypatch.setattr(StagedRows, "complete", lambda rows, attempts, count: rows)
    loader.publisher.copy(load, columns, part)
    assert target(loader)["rows"] > 0


def test_a_load_that_is_not_in_the_log_is_waited_for(loader_of: LoaderOf, behind: Behind) -> None:
    _, connection = behind("lag")
    loader = loader_of(connection, "run")
    loader.create_tables()
    loader.clickhouse._lag_seconds = 1
    began = time.monotonic()
    with pytest.raises(LoadLost):
        loader.known("nobody")
    assert time.monotonic() - began > 1


def test_tables_are_created_with_the_engine_that_replicates_them(
    loader_of: LoaderOf, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas, connection = behind("lag")
    created: list[str] = []
    handle = replicas.handle

    def watched(request: object) -> object:
        created.append(request.sql)  # type: ignore[attr-defined]
        return handle(request)  # type: ignore[arg-type]

    monkeypatch.setattr(replicas, "handle", watched)
    loader = loader_of(connection, "run")
    loader.plan()
    tables = [sql for sql in created if sql.startswith("CREATE TABLE") and "ENGINE" in sql]
    kept = [sql for sql in tables if "Sluice work table" not in sql]
    assert len(kept) > 10
    assert [sql for sql in kept if not re.search(r"ENGINE = Replicated\w*MergeTree", sql)] == []
    window = "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds ="
    assert [sql for sql in kept if f" {window} 2592000" not in sql] == []
