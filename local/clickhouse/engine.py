"""The embedded engine: its connections, its sessions, and its running statements."""

import contextlib
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import chdb

from local.clickhouse.errors import ClickHouseError
from local.clickhouse.statements import literal

_connect: Callable[[str], Any] = chdb.connect

DEFAULT_SESSION_SECONDS = 60.0
WATCH_SECONDS = 0.5


class _Session:
    """A connection kept between requests: SET, USE and temporary tables apply to later ones."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        self.expires = 0.0


class Engine:
    """One engine over one data folder.

    Opening a connection takes 0.4 ms, so every request without a session gets its own, and
    settings never leak from one request to the next.
    """

    def __init__(self, folder: str, slots: int = 8) -> None:
        self._folder = folder
        self._root = _connect(folder)
        self._slots = threading.BoundedSemaphore(slots)
        self._guard = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._running: dict[str, socket.socket] = {}
        self._closed = threading.Event()
        self.timezone = self._root.query("SELECT timezone()", "TSV").bytes().decode().strip()
        threading.Thread(target=self._watch, name="watch clients", daemon=True).start()

    def close(self) -> None:
        """End all sessions and close the data folder."""
        self._closed.set()
        for session in self._sessions.values():
            session.connection.close()
        self._root.close()

    @contextlib.contextmanager
    def connection(self, session_id: str | None, timeout: float | None) -> Iterator[Any]:
        """Yield a connection for one request; raise error 373 if its session is busy."""
        with self._slots:
            if session_id is None:
                connection = _connect(self._folder)
                try:
                    yield connection
                finally:
                    connection.close()
                return
            session = self._session(session_id)
            try:
                yield session.connection
            finally:
                session.expires = time.monotonic() + (timeout or DEFAULT_SESSION_SECONDS)
                session.lock.release()

    def _session(self, session_id: str) -> _Session:
        with self._guard:
            now = time.monotonic()
            for key, session in list(self._sessions.items()):
                if session.expires < now and not session.lock.locked():
                    self._sessions.pop(key).connection.close()
            if session_id not in self._sessions:
                self._sessions[session_id] = _Session(_connect(self._folder))
            session = self._sessions[session_id]
            if not session.lock.acquire(blocking=False):
                raise ClickHouseError(373, f"Session {session_id} is locked by a concurrent client")
            return session

    @contextlib.contextmanager
    def kill_on_disconnect(self, client: socket.socket | None) -> Iterator[str]:
        """Yield a tag; statements with it are killed if the client disconnects inside the block."""
        tag = secrets.token_hex(16)
        if client is None:
            yield tag
            return
        self._running[tag] = client
        try:
            yield tag
        finally:
            self._running.pop(tag, None)

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_SECONDS):
            for tag, client in list(self._running.items()):
                if _has_left(client):
                    self._root.query(
                        f"KILL QUERY WHERE Settings['log_comment'] = {literal(tag)} ASYNC"
                    )


def _has_left(client: socket.socket) -> bool:
    # Not select(): it cannot handle descriptors above 1023, and an engine has more open files.
    try:
        poll = select.poll()
        poll.register(client, select.POLLIN)
        return bool(poll.poll(0)) and not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False  # the handler has read the bytes in the meantime
    except (OSError, ValueError):
        return True
