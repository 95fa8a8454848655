"""Starting a service in the background, finding it again, and stopping exactly it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from sluice.plan.owners import start_mark


class NotReady(Exception):
    """A service ended, or did not become ready in time; names its log and its last words."""


class Service:
    """One background process group, known by a file with its process id and start time.

    Args:
        name: of the service; its log is ``logs/<name>.log`` under ``folder``.
        folder: where the logs and the process files are.
        answers: whether the service serves requests.
        patience: seconds that it may take to become ready.
    """

    def __init__(
        self, name: str, folder: Path, answers: Callable[[], bool], patience: float = 120
    ) -> None:
        self.name, self._answers, self._patience = name, answers, patience
        self.log = folder / "logs" / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"

    def process(self) -> psutil.Process | None:
        """The running process, or None; another process with a reused id is not it."""
        try:
            known = json.loads(self._pid_file.read_text())
            process = psutil.Process(known["pid"])
            same = start_mark(process.pid) == known["started"]
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            return None

    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the service unless it runs already; does not wait for it to be ready."""
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
        known = {"pid": child.pid, "started": start_mark(child.pid)}
        self._pid_file.write_text(json.dumps(known))

    def wait(self, waiting: Callable[[float], None] = lambda seconds: None) -> None:
        """Wait until the service answers; calls ``waiting`` with the seconds waited.

        Raises:
            NotReady: it ended or takes too long.
        """
        began = time.monotonic()
        while not self._answers():
            waited = time.monotonic() - began
            if self.process() is None:
                raise NotReady(f"{self.name} ended before it was ready.{self._last_words()}")
            if waited > self._patience:
                raise NotReady(
                    f"{self.name} is not ready after {waited:.0f} s.{self._last_words()}"
                )
            waiting(waited)
            time.sleep(0.2)

    def running(self) -> bool:
        """Whether the service runs and serves requests."""
        return self.process() is not None and self._answers()

    def stop(self, patience: float = 20) -> bool:
        """End the service's whole process group; False when it was not running."""
        process = self.process()
        if process is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        group = [process, *process.children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        _, left = psutil.wait_procs(group, timeout=patience)
        for straggler in left:
            straggler.kill()
        psutil.wait_procs(left, timeout=5)
        self._pid_file.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """End the service at once, as a crash would."""
        process = self.process()
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            psutil.wait_procs([process], timeout=10)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        return f" Its log is {self.log}:\n  " + "\n  ".join(lines)
