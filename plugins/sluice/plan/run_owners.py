"""The names of the runs that own loads: DAG runs, and processes; whether a process still runs."""

import os
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil


class AirflowRun(NamedTuple):
    """The DAG run that an owner names.

    Attributes:
        mark: distinguishes the run from a deleted one of the same id; empty in owners recorded by
            older versions.
    """

    dag_id: str
    run_id: str
    mark: str


def airflow_owner(dag_id: str, run_id: str, run_after: datetime | None = None) -> str:
    """The owner that the ledger records for the loads of a DAG run.

    Args:
        run_after: set by Airflow when the run is created; clearing the run does not change it.
    """
    mark = f"#{run_after.astimezone(UTC):%Y%m%dT%H%M%S.%f}" if run_after else ""
    return f"airflow/{dag_id}/{run_id}{mark}"


def parse_airflow_owner(owner: str) -> AirflowRun | None:
    """The DAG run of an owner that :func:`airflow_owner` named; None for other owners."""
    kind, _, rest = owner.partition("/")
    dag_id, _, run = rest.partition("/")
    if kind != "airflow" or not run:
        return None
    run_id, _, mark = run.partition("#")
    return AirflowRun(dag_id, run_id, mark)


def process_owner() -> str:
    """A name for one run of this process; no other run and no later process has the same."""
    run = uuid.uuid4().hex[:8]
    return f"process/{socket.gethostname()}/{os.getpid()}/{start_mark(os.getpid())}#{run}"


def is_process_over(name: str) -> bool | None:
    """Whether a process that :func:`process_owner` named is gone; None if it ran elsewhere."""
    kind, _, rest = name.partition("#")[0].partition("/")
    parts = rest.rsplit("/", 2)
    if kind != "process" or len(parts) != 3 or parts[0] != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(parts[1]))
        same = start_mark(process.pid) == parts[2]
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return True


def start_mark(pid: int) -> str:
    """A mark of when a process began: a later process with the same id has another one.

    On Linux counted from the boot of the machine: the time of day changes when the clock is set, as
    it is after a suspended or migrated machine resumes.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return f"{psutil.Process(pid).create_time():.2f}"
    try:
        # The second field is the program's name, which may hold blanks and parentheses.
        ticks = stat.read_text().rpartition(")")[2].split()[19]
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return f"{boot}-{ticks}"
