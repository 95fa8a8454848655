"""The owners of loads that run outside of Airflow: processes, and whether they still run."""

import os
import socket
import uuid
from pathlib import Path

import psutil


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
