"""Lost connections, crashes and overload of ClickHouse; nothing is lost or duplicated."""

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from local.stack import Stack
from sluice.audit.verify.verifier import Verifier
from sluice.contract import Contract
from sluice.errors import EngineError
from sluice.loader import Loader
from sluice.plan.range_pinning import Plan
from sluice.publish.publisher import Publisher
from sluice.settings import Connection, Settings
from sluice.store.clickhouse import ClickHouse, connect
from tests.chaos.proxy import Fault, Proxy
from tests.conftest import MakeLoader, load
from tests.loads import filled, sums


@pytest.fixture
def proxy(stack: Stack, clickhouse_server: Connection) -> Iterator[Proxy]:
    proxy = Proxy(stack.ports.clickhouse)
    yield proxy
    proxy.close()


@pytest.fixture
def proxied_loader(
    proxy: Proxy, kafka: Connection, database: Connection, settings: Settings
) -> "MakeProxiedLoader":
    return MakeProxiedLoader(proxy, kafka, database, settings)


class MakeProxiedLoader:
    """Makes loaders that connect to ClickHouse through the proxy."""

    def __init__(
        self, proxy: Proxy, kafka: Connection, database: Connection, settings: Settings
    ) -> None:
        self._kafka, self._settings = kafka, settings
        self._database = msgspec.structs.replace(database, host="127.0.0.1", port=proxy.port)

    def __call__(self, contract: Contract) -> Loader:
        settings = self._settings.model_copy(update={"batch_rows": 100, "chunk_offsets": 1000})
        return Loader(contract, self._kafka, self._database, settings, "proxied", lambda _: True)


def findings(loader: Loader) -> list[str]:
    verifier = Verifier(loader.contract, loader.broker, loader.clickhouse, loader.ledger)
    return [f.text for f in [*verifier.run().findings, *verifier.against_broker()]]


def run_steps(loader: Loader, plan: Plan) -> None:
    """Drain, audit and publish a planned load."""
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)


@pytest.mark.parametrize("fault", ["lose response", "cut request"])
def test_connections_lost_before_and_after_inserts_are_applied(
    make_loader: MakeLoader,
    proxied_loader: MakeProxiedLoader,
    proxy: Proxy,
    contract: Contract,
    fault: Fault,
) -> None:
    filled(make_loader, contract, 1500, partitions=2)
    loader = proxied_loader(contract)
    plan = loader.plan()
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            proxy.plan(fault)
            time.sleep(0.7)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        run_steps(loader, plan)
    finally:
        stop.set()
        disturber.join()
    assert proxy.injected > 3
    undisturbed = make_loader(contract)
    assert sums(undisturbed, plan.load_id)["difference"] == 0
    assert findings(undisturbed) == []


def test_a_server_that_is_killed_during_an_insert_and_restarted(
    stack: Stack, make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 20_000, partitions=2)
    loader.settings.batch_rows = 2000
    plan = loader.plan()

    def kill() -> None:
        time.sleep(0.25)
        stack.services["clickhouse"].kill()
        stack.start(("clickhouse",))

    killer = threading.Thread(target=kill)
    killer.start()
    run_steps(loader, plan)
    killer.join()
    stack.services["clickhouse"].wait()
    assert sums(loader, plan.load_id)["difference"] == 0
    assert findings(loader) == []


def limited_connection(database: Connection, **settings: object) -> ClickHouse:
    """A connection with a short timeout and settings that make the engine fail."""
    return connect(msgspec.structs.replace(database, extra={"settings": settings}), 1.5)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_memory_usage": 1_000_000}, 241),
        ({"max_execution_time": 0.000001, "timeout_before_checking_execution_speed": 0}, 159),
    ],
)
def test_a_step_that_exceeds_memory_or_time_fails_and_can_be_repeated(
    make_loader: MakeLoader,
    database: Connection,
    contract: Contract,
    limits: dict[str, object],
    code: int,
) -> None:
    loader = filled(make_loader, contract, 3000, partitions=2)
    plan = loader.plan()
    loader.drain(plan.load_id, 0)
    loader.audit(plan.load_id)
    limited = Publisher(contract, limited_connection(database, **limits), loader.ledger)
    with pytest.raises(EngineError) as raised:
        limited.publish(plan.load_id, loader.owner)
    assert raised.value.code == code
    loader.publish(plan.load_id)
    assert findings(loader) == []


def test_an_insert_refused_for_too_many_parts_is_retried_without_duplicates(
    make_loader: MakeLoader, contract: Contract
) -> None:
    loader = filled(make_loader, contract, 1000, partitions=2)
    load(loader)
    filled(make_loader, contract, 500, partitions=2)
    loader.clickhouse.execute("SYSTEM STOP MERGES orders")
    loader.clickhouse.execute(
        "ALTER TABLE orders MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1"
    )
    second = make_loader(contract, clickhouse_retry_seconds=1)
    plan = second.plan()
    second.drain(plan.load_id, 0)
    second.audit(plan.load_id)
    with pytest.raises(EngineError) as raised:
        second.publish(plan.load_id)
    assert raised.value.code == 252

    def raise_limit() -> None:
        time.sleep(1)
        loader.clickhouse.execute("ALTER TABLE orders MODIFY SETTING parts_to_throw_insert = 3000")

    second = make_loader(contract, second.owner, clickhouse_retry_seconds=60)
    raiser = threading.Thread(target=raise_limit)
    raiser.start()
    second.publish(plan.load_id)
    raiser.join()
    loader.clickhouse.execute("SYSTEM START MERGES orders")
    assert findings(loader) == []


def test_a_server_that_does_not_respond_yet_is_waited_for(
    proxy: Proxy, database: Connection
) -> None:
    """As an idle service of ClickHouse Cloud: its address accepts connections and drops them."""
    proxied = msgspec.structs.replace(database, host="127.0.0.1", port=proxy.port)
    proxy.plan("refuse", times=6)
    assert connect(proxied, retry_seconds=30).rows("SELECT 1 AS one") == [{"one": 1}]
    assert proxy.injected == 6


def test_an_address_where_nothing_listens_is_an_error_at_once(database: Connection) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match="refused"):
        connect(msgspec.structs.replace(database, host="127.0.0.1", port=1), retry_seconds=30)
    assert time.monotonic() - began < 10
