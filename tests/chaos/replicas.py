"""Two engines behind one address, as replicas of one database: the second one lags behind.

Every write runs on the first engine, and in the same order, after a random delay, on the second.
Reads go to either. A read that asks for sequential consistency waits until the second engine has
received what was written before, unless the mode says otherwise. Real replicas hold inserts until a
quorum has them; these do not, so they are stricter.
"""

import queue
import random
import re
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, NamedTuple, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

import urllib3

from local.stack import Ports, Stack

Mode = Literal["lag", "stale reads", "stale copies", "stale metadata", "away"]
"""What is worse than a delay:

- *lag*: nothing; what asks for consistency gets it.
- *stale reads*: reads of rows do not wait, whatever they ask for.
- *stale copies*: an ``INSERT … SELECT`` reads from either engine without waiting.
- *stale metadata*: ``system.*``, ``SHOW`` and ``DESCRIBE`` do not wait.
- *away*: the second engine refuses connections now and then, for up to two seconds, and receives
  nothing meanwhile.
"""

MODES: tuple[Mode, ...] = get_args(Mode)

_WRITES = re.compile(r"\s*(INSERT|CREATE|ALTER|DROP|DELETE|RENAME|TRUNCATE|OPTIMIZE)\b", re.I)
_METADATA = re.compile(r"\s*(SHOW|DESCRIBE|EXISTS)\b|\bsystem\.", re.I)
_COPY = re.compile(r"(INSERT INTO [^(]+?) \(([^)]*)\) SELECT (.*)", re.S)


class Request(NamedTuple):
    """A request to one of the engines."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def sql(self) -> str:
        """The statement, without the rows of an insert."""
        return self.parameters.get("query") or self.body.decode()

    def with_sql(self, sql: str) -> "Request":
        """The same request with another statement."""
        if "query" in self.parameters:
            return self._replace(parameters={**self.parameters, "query": sql})
        return self._replace(body=sql.encode())


class Response(NamedTuple):
    """The response of an engine."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Away(Exception):
    """The engine refuses connections."""


def second_engine(stack: Stack, folder: Path) -> Stack:
    """Another engine with the login of a stack's; its own broker is not started."""
    second = Stack(folder, Ports.free())
    folder.mkdir(exist_ok=True)
    shutil.copy(stack.folder / "secrets.json", folder)
    second.up("clickhouse")
    return second


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed leave connections behind."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Replicas:
    """Listens on the loopback interface in front of two engines.

    Attributes:
        port: where it listens.
        ports: where the engines listen.
        stale: how many statements were answered by an engine that lacked something.
    """

    def __init__(
        self, first: int, second: int, mode: Mode, seed: int, longest_lag: float = 0.32
    ) -> None:
        self.ports, self._mode, self._longest_lag = (first, second), mode, longest_lag
        self._random = random.Random(seed)
        self._http = urllib3.PoolManager(maxsize=32, timeout=urllib3.Timeout(120), retries=False)
        self._writing, self._applied = threading.Lock(), threading.Condition()
        self._written = self._received = self.stale = 0
        self._failed = ""
        self._away_until = 0.0
        self._queue: queue.Queue[tuple[float, Request] | None] = queue.Queue()
        threading.Thread(target=self._replicate, daemon=True).start()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening and replicating."""
        self._server.shutdown()
        self._server.server_close()
        self._queue.put(None)

    def wait(self) -> None:
        """Wait until both engines have received everything.

        Raises:
            AssertionError: the second engine has refused what the first one has done.
        """
        self._wait_for(self._written)

    def handle(self, request: Request) -> Response:
        """Run a request on one of the engines.

        Raises:
            Away: it refuses connections.
        """
        if request.method == "GET":
            return self._send(0, request)
        request = _translated(request)
        if _WRITES.match(request.sql):
            return self._write(request)
        if "system.processes" in request.sql or request.sql.startswith("KILL"):
            return self._send(0, request)
        return self._read(request)

    def _write(self, request: Request) -> Response:
        with self._writing:
            if self._mode == "stale copies" and (copy := _COPY.match(request.sql)):
                into, names, query = copy.groups()
                selected = self._select(request.with_sql(_named(names, query)))
                if selected.status != 200:
                    return selected
                if not selected.body:
                    return selected._replace(headers={})
                statement = f"{into} ({names}) FORMAT Native"
                parameters = {**request.parameters, "query": statement}
                request = request._replace(parameters=parameters, body=selected.body)
            response = self._send(0, request)
            if response.status == 200:
                self._written += 1
                delay = self._random.uniform(0, self._longest_lag)
                self._queue.put((time.monotonic() + delay, request))
                if self._mode == "away" and self._random.random() < 0.02:
                    self._away_until = time.monotonic() + self._random.uniform(0.5, 2)
        return response

    def _select(self, request: Request) -> Response:
        """The rows that a copy reads, from either engine."""
        headers = {k: v for k, v in request.headers.items() if k.lower() != "accept-encoding"}
        parameters = {**request.parameters, "default_format": "Native"}
        parameters.pop("enable_http_compression", None)
        engine = self._random.randrange(2)
        self._count_stale(engine)
        return self._send(engine, request._replace(headers=headers, parameters=parameters))

    def _read(self, request: Request) -> Response:
        engine = self._random.randrange(2)
        if engine and self._waits(request):
            self._wait_for(self._written)
        self._count_stale(engine)
        return self._send(engine, request)

    def _waits(self, request: Request) -> bool:
        if request.parameters.get("select_sequential_consistency") != "1":
            return False
        if self._mode == "stale metadata":
            return not _METADATA.search(request.sql)
        return self._mode != "stale reads"

    def _count_stale(self, engine: int) -> None:
        with self._applied:
            self.stale += int(bool(engine) and self._received < self._written)

    def _wait_for(self, number: int) -> None:
        with self._applied:
            reached = self._applied.wait_for(
                lambda: self._failed or self._received >= number, timeout=60
            )
        assert not self._failed, self._failed
        assert reached, "the second engine does not receive what was written"

    def _replicate(self) -> None:
        while item := self._queue.get():
            due, request = item
            time.sleep(max(0.0, max(due, self._away_until) - time.monotonic()))
            response = self._send(1, request, away=False)
            with self._applied:
                if response.status != 200:
                    text = response.body[:500].decode(errors="replace")
                    self._failed = f"the second engine has refused {request.sql[:500]}: {text}"
                self._received += 1
                self._applied.notify_all()

    def _send(self, engine: int, request: Request, away: bool = True) -> Response:
        if engine and away and time.monotonic() < self._away_until:
            raise Away
        url = f"http://127.0.0.1:{self.ports[engine]}{request.path}"
        answer = self._http.request(
            request.method,
            f"{url}?{urlencode(request.parameters)}",
            body=request.body,
            headers=request.headers,
            decode_content=False,
        )
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in ("transfer-encoding", "content-length", "connection")
        }
        return Response(answer.status, kept, answer.data)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        replicas = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                parts = urlsplit(self.path)
                parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
                left_out = ("host", "content-length", "transfer-encoding", "connection")
                headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
                request = Request(self.command, parts.path, parameters, headers, self._body())
                try:
                    response = replicas.handle(request)
                except Away:
                    self.close_connection = True
                    return
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            do_GET = do_POST

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing is printed."""

        return Handler


def _translated(request: Request) -> Request:
    """What a server with a Replicated database would understand, for an engine without Keeper."""
    sql = request.sql
    if "FROM system.databases" in sql:
        sql = sql.replace("SELECT any(engine) ", "SELECT 'Replicated' ")
    elif sql.lstrip().startswith("CREATE"):
        sql = re.sub(r"\bENGINE = Replicated(?=\w*MergeTree)", "ENGINE = ", sql)
        sql = re.sub(
            r"\breplicated_deduplication_window = ", "non_replicated_deduplication_window = ", sql
        )
    return request.with_sql(sql) if sql != request.sql else request


def _named(names: str, query: str) -> str:
    """A query with the names of an insert's columns, by which the format Native matches them.

    Args:
        query: what follows ``SELECT``.
    """
    depth, at = 0, 0
    while depth or not query.startswith(" FROM ", at):
        depth += {"(": 1, ")": -1}.get(query[at], 0)
        at += 1
    columns, source = query[:at], query[at + len(" FROM ") :]
    numbered = (f"t.{number} AS {name}" for number, name in enumerate(names.split(", "), 1))
    return f"SELECT {', '.join(numbered)} FROM (SELECT tuple({columns}) AS t FROM {source})"
