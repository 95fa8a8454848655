"""Servers behind one address that do not replicate each other are refused by name."""

import itertools
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from local.stack import Stack
from sluice.errors import SettingsError
from sluice.settings import Connection
from sluice.store.clickhouse import connect
from sluice.store.ledger import Ledger
from tests.chaos.replicas import second_engine

Behind = Callable[[bool], Connection]


@pytest.fixture
def two_servers(
    stack: Stack, clickhouse_server: Connection, tmp_path: Path
) -> Iterator[tuple[int, int]]:
    """The ports of two engines that know nothing of each other."""
    second = second_engine(stack, tmp_path / "second")
    try:
        second.up("clickhouse")
        yield stack.ports.clickhouse, second.ports.clickhouse
    finally:
        second.stop()


@pytest.fixture
def behind(two_servers: tuple[int, int], clickhouse_server: Connection) -> Iterator[Behind]:
    """Starts a balancer in front of both: by request, or by connection."""
    closing: list[Callable[[], None]] = []

    def start(by_request: bool) -> Connection:
        port, close = (_by_request if by_request else _by_connection)(two_servers)
        closing.append(close)
        return msgspec.structs.replace(clickhouse_server, port=port)

    yield start
    for close in closing:
        close()


def _by_request(ports: tuple[int, int]) -> tuple[int, Callable[[], None]]:
    turns, http = itertools.cycle(ports), urllib3.PoolManager()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            response = http.request(
                self.command, f"http://127.0.0.1:{next(turns)}{self.path}", body, headers=headers
            )
            self.send_response(response.status)
            for name, value in response.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.data)))
            self.end_headers()
            self.wfile.write(response.data)

        do_GET = do_POST

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1]), server.shutdown


def _by_connection(ports: tuple[int, int]) -> tuple[int, Callable[[], None]]:
    # An order that no number of connections per statement is in step with (Thue and Morse).
    turns = (ports[number.bit_count() % 2] for number in itertools.count())
    listening = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", next(turns)))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1]), listening.close


@pytest.mark.parametrize("by_request", [True, False])
def test_unrelated_servers_are_refused_at_the_first_contact(
    behind: Behind, by_request: bool, two_servers: tuple[int, int]
) -> None:
    connection, database = behind(by_request), f"first_{uuid.uuid4().hex[:10]}"
    with pytest.raises(SettingsError, match="not replicated between them") as raised:
        Ledger(connect(connection), database).create()
    assert str(raised.value).count(", engine ") == 2
    assert f":{connection.port}" in str(raised.value)
    for port in two_servers:
        server = connect(msgspec.structs.replace(connection, port=port))
        assert not server.has_table(database, "topic_log")


def test_a_server_that_is_added_later_is_refused_at_the_next_start(
    behind: Behind, clickhouse_server: Connection, two_servers: tuple[int, int]
) -> None:
    database = f"later_{uuid.uuid4().hex[:10]}"
    for port in two_servers:
        server = connect(msgspec.structs.replace(clickhouse_server, port=port))
        Ledger(server, database).create()
    with pytest.raises(SettingsError, match="not replicated between them"):
        Ledger(connect(behind(True)), database).create()


def test_one_server_is_not_refused(clickhouse_server: Connection) -> None:
    clickhouse = connect(clickhouse_server)
    clickhouse.refuse_unrelated_servers()
    assert not clickhouse.has_replicas
