"""Naming the process that runs a load, and telling whether it is still there."""

import os
import socket
import uuid
from pathlib import Path

import psutil


def process_owner() -> str:
    """One run of this process, in a form that no other run and no later process shares."""
    run = uuid.uuid4().hex[:8]
    return f"process/{socket.gethostname()}/{os.getpid()}/{start_mark(os.getpid())}#{run}"


def is_process_over(name: str) -> bool | None:
    """Whether a process named by :func:`process_owner` is gone; None when it ran on another host."""
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
    """When a process began, such that a later one with its id has another mark.

    On Linux counted from the boot of the machine: the time of day would change with the clock,
    which is set anew after a suspended or migrated machine goes on.

    Raises:
        psutil.NoSuchProcess: there is none.
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
