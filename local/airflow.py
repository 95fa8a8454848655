"""Airflow on one machine: all of its components, on SQLite, with the LocalExecutor.

Run as a program it migrates the database and supervises the components: those that are named, or
all. ``airflow standalone`` does nearly the same, but its servers of task logs listen on every
interface.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

STARTED_AGAIN = 3
"""How often a component that ends is started again."""

COMPONENTS = {
    "api-server": ("-m", "airflow", "api-server"),
    # Tasks are forked from the scheduler, so an audit need not import Great Expectations itself,
    # which takes seconds.
    "scheduler": (
        "-c",
        "import great_expectations, sluice.loader; from airflow.__main__ import main; main()",
        *("scheduler", "--skip-serve-logs"),
    ),
    "dag-processor": ("-m", "airflow", "dag-processor"),
    "triggerer": ("-m", "airflow", "triggerer", "--skip-serve-logs"),
}
"""Arguments of Python."""


def environment(root: Path, home: Path, port: int, users: dict[str, str]) -> dict[str, str]:
    """Airflow's settings, and the users that may log in.

    Args:
        root: the project's folder, with ``dags`` and ``plugins``.
        home: where Airflow keeps its state.
        users: password by name; the first is an admin, the others may only look.
    """
    home.mkdir(parents=True, exist_ok=True)
    passwords = home / "passwords.json"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps(users))
    roles = ",".join(f"{n}:{'viewer' if i else 'admin'}" for i, n in enumerate(users))
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": roles,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        # Tasks of an Airflow that was killed are tried again within a minute, not after five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "GX_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "plugins")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def answers(port: int) -> bool:
    """Whether the API serves, and scheduler and DAG processor have given a sign of life."""
    try:
        health = httpx.get(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=3).json()
    except (httpx.HTTPError, ValueError):
        return False
    parts = ("metadatabase", "scheduler", "dag_processor")
    return all(health.get(part, {}).get("status") == "healthy" for part in parts)


def supervise(names: Sequence[str]) -> int:
    """Run these components until told to stop.

    One that ends is started again, as it would be in production: with SQLite the scheduler does
    not survive a DAG run that it has seen and that was rolled back. All end when it keeps ending.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    migrated = subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=False)
    if migrated.returncode:
        return migrated.returncode

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *COMPONENTS[name]])

    children = {name: start(name) for name in names}
    ended = threading.Event()
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        ended.set()

    def watch(name: str) -> None:
        for again in range(STARTED_AGAIN + 1):
            code = children[name].wait()
            if stopping.is_set():
                return
            if again < STARTED_AGAIN:
                print(f"{name} ended with {code}; starting it again", flush=True)
                children[name] = start(name)
        print(f"{name} ended with {code}; stopping all", flush=True)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for name in children:
        threading.Thread(target=watch, args=(name,), daemon=True).start()
    ended.wait()
    failed = not stopping.is_set()
    stopping.set()
    for child in children.values():
        child.terminate()
    for child in children.values():
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
    return 1 if failed else 0


class Api:
    """Airflow's REST API, as one user."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        login = httpx.post(
            f"{self.url}/auth/token", json={"username": user, "password": password}, timeout=30
        )
        login.raise_for_status()
        token = login.json()["access_token"]
        self.client = httpx.Client(
            base_url=f"{self.url}/api/v2",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )

    def get(self, path: str) -> dict[str, object]:
        """The JSON object at a path below /api/v2."""
        response = self.client.get(path)
        response.raise_for_status()
        found: dict[str, object] = response.json()
        return found

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG has been parsed."""
        return self.client.get(f"/dags/{dag_id}").status_code == 200

    def import_errors(self) -> list[str]:
        """What kept DAG files from being parsed."""
        found = self.get("/importErrors")["import_errors"]
        assert isinstance(found, list)
        return [error["stack_trace"] for error in found]

    def trigger(self, dag_id: str, conf: dict[str, object] | None = None) -> str:
        """Start a run; gives its id."""
        for _ in range(10):
            response = self.client.post(
                f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}}
            )
            if response.status_code != 500:
                break
            time.sleep(1)  # SQLite is locked for a moment
        response.raise_for_status()
        return str(response.json()["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run, ``queued`` to ``success`` or ``failed``."""
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[tuple[str, int, str]]:
        """(task, map index, state) of a run's task instances."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        assert isinstance(found, list)
        return [(t["task_id"], t["map_index"], t["state"] or "none") for t in found]


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:] or list(COMPONENTS)))
