"""The local stack: what it consists of, where it keeps its state, how to reach it."""

import json
import os
import secrets
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from local import airflow, kafka, registry
from local.process import Service

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("kafka", "clickhouse", "airflow")
"""What is started when nothing else is asked for."""

ALL = ("kafka", "clickhouse", "registry", "airflow")


class Ports(BaseSettings):
    """Ports on the loopback interface: ``SLUICE_PORT_KAFKA=9092`` and so on."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_PORT_", env_file=".env", extra="ignore")

    kafka: int = 19092
    kafka_controller: int = 19093
    clickhouse: int = 18123
    airflow: int = 18080
    registry: int = 18081

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nothing listens on now; for tests beside a running stack."""
        sockets = [socket.socket() for _ in range(5)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        numbers = [probe.getsockname()[1] for probe in sockets]
        for probe in sockets:
            probe.close()
        return cls(
            kafka=numbers[0],
            kafka_controller=numbers[1],
            clickhouse=numbers[2],
            airflow=numbers[3],
            registry=numbers[4],
        )


class Stack:
    """Kafka, ClickHouse and Airflow in one folder.

    Args:
        folder: state, logs and secrets; everything the stack leaves behind.
        ports: where the services listen.

    Attributes:
        airflow_settings: environment of Airflow besides the stack's own.
        airflow_components: those that run; all when it is empty.
    """

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder, self.ports = folder, ports
        self.airflow_settings: dict[str, str] = {}
        self.airflow_components: tuple[str, ...] = ()
        self.services = {
            "kafka": Service("kafka", folder, lambda: kafka.answers(ports.kafka), 60),
            "clickhouse": Service("clickhouse", folder, self._clickhouse_answers, 60),
            "registry": Service("registry", folder, lambda: registry.answers(ports.registry), 60),
            "airflow": Service("airflow", folder, lambda: airflow.answers(ports.airflow), 240),
        }

    def start(self, names: Sequence[str] = SERVICES) -> list[str]:
        """Start what does not run yet, without waiting; gives what was started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_environment("registry" in names)
        starters: dict[str, Callable[[Service], None]] = {
            "kafka": self._start_kafka,
            "clickhouse": self._start_clickhouse,
            "registry": self._start_registry,
            "airflow": self._start_airflow,
        }
        started = []
        for name in names:
            service = self.services[name]
            if service.process() is None:
                starters[name](service)
                started.append(name)
        return started

    def up(self, *names: str) -> None:
        """Start what does not run yet of these, and wait until it answers."""
        self.start(names)
        for name in names:
            self.services[name].wait()

    def stop(self, names: Sequence[str] = ALL) -> list[str]:
        """Stop what this stack started, and nothing else."""
        return [name for name in reversed(names) if self.services[name].stop()]

    def clean(self) -> None:
        """Stop everything and remove its state."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def secrets(self) -> dict[str, str]:
        """Passwords by name, made at the first start and kept."""
        path = self.folder / "secrets.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            names = ("clickhouse", "admin", "viewer")
            path.write_text(json.dumps({name: secrets.token_urlsafe(12) for name in names}))
        found: dict[str, str] = json.loads(path.read_text())
        return found

    @property
    def connections(self) -> dict[str, str]:
        """The environment by which Airflow and the command line find the services."""
        return {
            "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps(
                {
                    "conn_type": "kafka",
                    "extra": {"bootstrap.servers": f"127.0.0.1:{self.ports.kafka}"},
                }
            ),
            "AIRFLOW_CONN_CLICKHOUSE_DEFAULT": json.dumps(
                {
                    "conn_type": "clickhouse",
                    "host": "127.0.0.1",
                    "port": self.ports.clickhouse,
                    "login": "default",
                    "password": self.secrets["clickhouse"],
                    "schema": "default",
                }
            ),
        }

    def api(self) -> airflow.Api:
        """Airflow's API as the admin."""
        return airflow.Api(self.ports.airflow, "admin", self.secrets["admin"])

    @property
    def environment(self) -> dict[str, str]:
        """What Airflow and the command line read: the connections, and the registry if it runs."""
        found = self.connections
        if self.services["registry"].process():
            found["SCHEMA_REGISTRY_URL"] = registry.url(self.ports.registry)
        return found

    def _write_environment(self, with_registry: bool) -> None:
        found = self.environment
        if with_registry:
            found["SCHEMA_REGISTRY_URL"] = registry.url(self.ports.registry)
        path = self.folder / "stack.env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}='{value}'\n" for name, value in found.items()))

    def _start_kafka(self, service: Service) -> None:
        command = kafka.prepare(
            self.folder / "kafka", self.ports.kafka, self.ports.kafka_controller
        )
        service.start(command, ROOT)

    def _start_clickhouse(self, service: Service) -> None:
        data = self.folder / "clickhouse"
        service.start(
            [
                *(sys.executable, "-m", "local.clickhouse", str(data)),
                *("--port", str(self.ports.clickhouse)),
            ],
            ROOT,
            {"CLICKHOUSE_PASSWORD": self.secrets["clickhouse"]},
        )

    def _start_airflow(self, service: Service) -> None:
        users = {"admin": self.secrets["admin"], "viewer": self.secrets["viewer"]}
        environment = airflow.environment(ROOT, self.folder / "airflow", self.ports.airflow, users)
        environment |= self.environment | self.airflow_settings
        command = [sys.executable, "-m", "local.airflow", *self.airflow_components]
        service.start(command, ROOT, environment)

    def _start_registry(self, service: Service) -> None:
        service.start(registry.prepare(self.folder / "registry", self.ports.registry), ROOT)

    def _clickhouse_answers(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports.clickhouse}/ping", timeout=2
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def default_stack() -> Stack:
    """The stack of this checkout, in ``.local``."""
    return Stack(Path(os.environ.get("SLUICE_LOCAL", ROOT / ".local")), Ports())
