"""Naming the process that runs a load, and telling whether it is still there."""

import os
import socket
import uuid

import psutil


def owner() -> str:
    """One run of this process, in a form that no other run and no later process shares."""
    started = psutil.Process().create_time()
    run = uuid.uuid4().hex[:8]
    return f"process/{socket.gethostname()}/{os.getpid()}/{started:.2f}#{run}"


def is_over(name: str) -> bool | None:
    """Whether a process named by :func:`owner` is gone; None when it ran on another host."""
    kind, _, rest = name.partition("#")[0].partition("/")
    parts = rest.rsplit("/", 2)
    if kind != "process" or len(parts) != 3 or parts[0] != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(parts[1]))
        same = abs(process.create_time() - float(parts[2])) < 0.05
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return True
