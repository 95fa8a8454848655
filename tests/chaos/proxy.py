"""A TCP proxy that cuts, delays or refuses connections when a test requests it."""

import contextlib
import socket
import threading
import time
from typing import Literal

Fault = Literal["none", "lose response", "cut request", "delay", "refuse"]


class Proxy:
    """Listens on the loopback interface and forwards everything to a port there.

    A fault applies to the next requests only, so that a retry succeeds:

    - *lose response*: the whole request reaches the server; its response does not come back.
    - *cut request*: the connection is cut after some bytes of the request.
    - *delay*: the response is delayed by a second.
    - *refuse*: the next connections are closed at once.
    """

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self._target = (target_host, target_port)
        self._lock = threading.Lock()
        self._fault: Fault = "none"
        self._left = 0
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listening.getsockname()[1])
        self.injected = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def plan(self, fault: Fault, times: int = 1) -> None:
        """Inject a fault into the next requests that carry rows or statements."""
        with self._lock:
            self._fault, self._left = fault, times

    def close(self) -> None:
        """Stop listening."""
        self._listening.close()

    def _take(self, *kinds: Fault) -> Fault:
        with self._lock:
            if self._left and self._fault in kinds:
                self._left -= 1
                self.injected += 1
                return self._fault
        return "none"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self._take("refuse") == "refuse":
                return
            with socket.create_connection(self._target, 5) as server:
                server.settimeout(None)
                lost = threading.Event()
                up = threading.Thread(
                    target=self._forward_requests, args=(client, server, lost), daemon=True
                )
                up.start()
                self._forward_responses(client, server, lost)

    def _forward_requests(
        self, client: socket.socket, server: socket.socket, lost: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                fault = self._take("lose response", "cut request") if len(data) > 600 else "none"
                if fault == "cut request":
                    server.sendall(data[: len(data) // 2])
                    break
                if fault == "lose response":
                    lost.set()
                server.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR if not lost.is_set() else socket.SHUT_RD)

    def _forward_responses(
        self, client: socket.socket, server: socket.socket, lost: threading.Event
    ) -> None:
        try:
            while data := server.recv(1 << 16):
                if lost.is_set():
                    return
                if self._take("delay") == "delay":
                    time.sleep(1)
                client.sendall(data)
        finally:
            # Closing alone does not reach the other side while a thread is still reading.
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
