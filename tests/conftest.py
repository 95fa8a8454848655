"""The real broker and the real engine, started once on free ports; a database a test."""

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from xdist.scheduler import LoadScopeScheduling

import sluice.settings
from include.schemas.orders import contract as orders
from local import registry
from local.stack import Ports, Stack
from sluice.contract import Contract, discover
from sluice.kafka.broker import Broker
from sluice.kafka.schema_registry import SchemaRegistryConfig
from sluice.loader import Loader
from sluice.settings import Connection, Settings, parse_connection
from sluice.store.clickhouse import ClickHouse, connect
from tests.commands import Run
from tests.databases import Databases

MakeLoader = Callable[..., Loader]


class OneAirflow(LoadScopeScheduling):  # type: ignore[misc]
    """Runs all tests that need Airflow in one process, which starts it; others in any process.

    xdist's own groups (``xdist_group``) are ignored under pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "airflow" if nodeid.startswith("tests/end_to_end") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneAirflow:
    return OneAirflow(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write the golden files again")


AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="sluice-tests-airflow-")
"""For the tests that import Airflow; the real one has its home in the stack's folder."""


def pytest_configure(config: pytest.Config) -> None:
    """No setting of the machine, of .env or of a running stack reaches the tests."""
    for name in list(os.environ):
        if name.startswith(("SLUICE_", "AIRFLOW", "SCHEMA_")):
            del os.environ[name]
    os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME.name
    # Brokers of tests live for minutes: the optimizing compiler costs more than it saves.
    os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1"
    Settings.model_config["env_file"] = ()
    sluice.settings.ENV_FILES = ()
    SchemaRegistryConfig.model_config["env_file"] = ()
    Ports.model_config["env_file"] = ()


def pytest_unconfigure(config: pytest.Config) -> None:
    AIRFLOW_HOME.cleanup()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need Airflow have precedence on the processors: theirs is the longest chain."""
    beside = "PYTEST_XDIST_WORKER" in os.environ and not item.nodeid.startswith("tests/end_to_end")
    if beside and os.nice(0) == 0:
        os.nice(3)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What a command configured for its log is of that test alone."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the tests' own; its services are started by those who need them.

    Its folder is in memory, where that is large enough: the services wait for the disk otherwise.
    Their logs stay.
    """
    logs, memory = tmp_path_factory.mktemp("stack"), Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    with tempfile.TemporaryDirectory(
        prefix="sluice-tests-", dir=memory if in_memory else logs, ignore_cleanup_errors=True
    ) as folder:
        made = Stack(Path(folder), Ports.free())
        try:
            yield made
        finally:
            made.stop()
            for log in made.folder.rglob("*.log"):
                kept = logs / log.relative_to(made.folder)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(log, kept)


@pytest.fixture(scope="session")
def kafka(stack: Stack) -> Connection:
    """Connection to the real broker."""
    stack.up("kafka")
    connection = parse_connection(stack.connections["AIRFLOW_CONN_KAFKA_DEFAULT"])
    # Clients return soon to a broker that a test has killed and started again.
    extra = connection.extra | {"reconnect.backoff.max.ms": 500}
    return msgspec.structs.replace(connection, extra=extra)


@pytest.fixture(scope="session")
def clickhouse_server(stack: Stack) -> Connection:
    """Connection to the real engine, in the database ``default``."""
    stack.up("clickhouse")
    return parse_connection(stack.connections["AIRFLOW_CONN_CLICKHOUSE_DEFAULT"])


@pytest.fixture(scope="session")
def registry_url(stack: Stack) -> str:
    """The Confluent API of the real schema registry."""
    stack.up("registry")
    return registry.url(stack.ports.registry)


@pytest.fixture(scope="session")
def databases(clickhouse_server: Connection) -> Databases:
    """The databases of this server."""
    return Databases(connect(clickhouse_server))


@pytest.fixture
def database(clickhouse_server: Connection, databases: Databases) -> Iterator[Connection]:
    """Connection to an empty database that no other test uses at the time."""
    name = databases.take()
    yield msgspec.structs.replace(clickhouse_server, schema=name)
    databases.give_back(name)


@pytest.fixture
def clickhouse(database: Connection) -> ClickHouse:
    return connect(database)


@pytest.fixture
def settings(database: Connection) -> Settings:
    """Settings whose ledger is in a database of the test's own."""
    return Settings(database=f"{database.schema}_sluice", stall_seconds=15)


@pytest.fixture
def broker(kafka: Connection, settings: Settings) -> Broker:
    return Broker(kafka, settings)


@pytest.fixture
def contract() -> Contract:
    """The contract of orders, for a topic of the test's own."""
    return with_topic(orders)


@pytest.fixture
def make_loader(kafka: Connection, database: Connection, settings: Settings) -> MakeLoader:
    """Makes a loader for a contract, by default as a run of its own that others consider over.

    Its audit runs the quality rules only where a test is about them: importing and running Great
    Expectations takes seconds.
    """

    def make(
        contract: Contract, owner: str = "", quality_rules: bool = False, **changed: Any
    ) -> Loader:
        return Loader(
            contract,
            kafka,
            database,
            settings.model_copy(update=changed),
            owner or f"test/{uuid.uuid4().hex}",
            lambda _: True,
            quality_rules,
        )

    return make


@pytest.fixture
def environment(
    stack: Stack, kafka: Connection, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names the real broker and the test's own databases."""
    for name, value in stack.connections.items():
        monkeypatch.setenv(name, value.replace('"default"}', f'"{database.schema}"}}'))
    monkeypatch.setenv("SLUICE_DATABASE", f"{database.schema}_sluice")


@pytest.fixture
def run(environment: None, kafka: Connection) -> Run:
    """Runs commands in that environment, where the project's topics have no messages of others."""
    admin = AdminClient(dict(kafka.extra))
    for deleted in admin.delete_topics(list(discover("include.schemas"))).values():
        try:
            deleted.result(20)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return Run()


@pytest.fixture
def project_with_topic(
    environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A topic of the test's own, in a package of contracts that the environment names."""
    package, topic = f"contracts_{uuid.uuid4().hex[:8]}", f"orders-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "orders.py").write_text(
        "import msgspec\n"
        "from include.schemas.orders import contract as orders\n"
        "from sluice.contract import Breaker\n"
        "breaker = Breaker(min_refused=10)\n"
        f"contract = msgspec.structs.replace(orders, topic={topic!r}, breaker=breaker)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SLUICE_CONTRACTS", package)
    yield topic
    for module in (package, f"{package}.orders"):
        sys.modules.pop(module, None)


def with_topic(contract: Contract) -> Contract:
    """The same contract for a topic with a random name."""
    return msgspec.structs.replace(contract, topic=f"{contract.topic}-{uuid.uuid4().hex[:8]}")


def load(loader: Loader) -> str:
    """A whole load; gives its id, which is empty if there was nothing new."""
    plan = loader.plan()
    if not plan.load_id:
        return ""
    for number in range(len(plan.chunks)):
        loader.drain(plan.load_id, number)
    loader.audit(plan.load_id)
    loader.publish(plan.load_id)
    return plan.load_id
