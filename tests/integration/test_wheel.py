"""The installed wheel is enough: contracts of one's own, tables, and a load."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from local.stack import Stack
from sluice.settings import Connection

ROOT = Path(__file__).resolve().parents[2]

CONTRACT = '''
from datetime import date

from msgspec import Struct

from sluice.contract import Contract, Table, Version


class Thing(Struct, frozen=True):
    """A thing."""

    name: str
    size: int


contract = Contract(
    topic="wheel_things",
    subject="wheel-things-value",
    message=Thing,
    versions=(Version(name="1.0", released=date(2026, 1, 1)),),
    key="name",
    table=Table(name="wheel_things", order_by=("name",)),
    owner="tests",
)
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that has the wheel, and no trace of this checkout.

    The packages that the wheel depends on come from the tests' own environment.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "env"
    venv.create(environment, with_pip=True)
    pip = str(environment / "bin" / "pip")
    subprocess.run([pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    # A path in a .pth file is not searched for .pth files itself, so the editable install of this
    # checkout stays out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "sluice"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a package of contracts, and nothing else."""
    package = tmp_path / "our_contracts"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "things.py").write_text(CONTRACT)
    return tmp_path


def test_a_wheel_and_a_package_of_contracts_load_a_topic(
    installed: Path, project: Path, stack: Stack, kafka: Connection, database: Connection
) -> None:
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
    }
    environment |= {
        name: value.replace('"default"}', f'"{database.schema}"}}')
        for name, value in stack.connections.items()
    }
    environment |= {
        "SLUICE_CONTRACTS": "our_contracts",
        "SLUICE_DATABASE": f"{database.schema}_sluice",
    }

    def run(*arguments: str) -> str:
        command = [str(installed), *arguments]
        result = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    assert "Usage: sluice" in run("--help")
    assert "CREATE TABLE IF NOT EXISTS `wheel_things`" in run("ddl")
    run("ddl", "--write")
    assert {path.name for path in (project / "sql").iterdir()} == {
        "bookkeeping.sql",
        "wheel_things.sql",
    }
    run("ddl", "--check")
    run("produce-samples", "wheel_things", "--count", "300", "--broken", "0", "--tombstones", "0")
    assert "published" in run("load", "wheel_things")
    assert "is in exactly one place" in run("verify", "wheel_things", "--content")


def test_the_wheel_has_the_library_and_no_other_folder_of_the_project(installed: Path) -> None:
    python = installed.with_name("python")
    for module in ("include", "local"):
        code = f"import importlib.util; print(importlib.util.find_spec({module!r}))"
        command = [str(python), "-c", code]
        elsewhere = installed.parent
        result = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "None"
