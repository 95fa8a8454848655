"""Starts a service in the background, finds it again, and stops that process and no other."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from sluice.plan.run_owners import start_mark


class NotReady(Exception):
    """A service ended or did not become ready in time; the message quotes the end of its log."""


class Service:
    """One background process group, identified by a file with its process id and start time.

    Args:
        name: the name of the service; its log is ``logs/<name>.log`` under ``folder``.
        folder: the folder of the logs and the process files.
        is_ready: returns whether the service serves requests.
        timeout: seconds that the service may take to become ready.
    """

    def __init__(
        self, name: str, folder: Path, is_ready: Callable[[], bool], timeout: float = 120
    ) -> None:
        self.name, self._is_ready, self._timeout = name, is_ready, timeout
        self.log = folder / "logs" / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"

    def process(self) -> psutil.Process | None:
        """Return the running process; None if it has ended, even if its id was reused."""
        try:
            record = json.loads(self._pid_file.read_text())
            process = psutil.Process(record["pid"])
            same = start_mark(process.pid) == record["started"]
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            return None

    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the service unless it is already running; do not wait until it is ready."""
        if self.process():
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = {"pid": child.pid, "started": start_mark(child.pid)}
        self._pid_file.write_text(json.dumps(record))

    def wait(self, on_wait: Callable[[float], None] = lambda seconds: None) -> None:
        """Wait until the service is ready; call ``on_wait`` with the seconds waited so far.

        Raises:
            NotReady: the service ended or took too long.
        """
        began = time.monotonic()
        while not self._is_ready():
            waited = time.monotonic() - began
            if self.process() is None:
                raise NotReady(f"{self.name} ended before it was ready.{self._log_tail()}")
            if waited > self._timeout:
                raise NotReady(f"{self.name} is not ready after {waited:.0f} s.{self._log_tail()}")
            on_wait(waited)
            time.sleep(0.2)

    def running(self) -> bool:
        """Whether the service runs and serves requests."""
        return self.process() is not None and self._is_ready()

    def stop(self, timeout: float = 20) -> bool:
        """End the service's whole process group; return False if it was not running."""
        process = self.process()
        if process is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        group = [process, *process.children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        _, left = psutil.wait_procs(group, timeout=timeout)
        for straggler in left:
            straggler.kill()
        psutil.wait_procs(left, timeout=5)
        self._pid_file.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """Kill the service's process group, as a crash would."""
        process = self.process()
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            psutil.wait_procs([process], timeout=10)

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        return f" Its log is {self.log}:\n  " + "\n  ".join(lines)
