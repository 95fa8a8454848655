"""ClickHouse's HTTP interface: reads requests and sends responses."""

import base64
import binascii
import hmac
import itertools
import json
import re
import secrets
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

from local.clickhouse.engine import Engine
from local.clickhouse.errors import ClickHouseError, from_engine
from local.clickhouse.statements import (
    HEAD_LIMIT,
    INSERT_HEAD,
    STREAMABLE,
    identifier,
    is_insert,
    literal,
    output_format,
)
from local.clickhouse.wire import Body

NOT_SETTINGS = frozenset(
    {
        "database",
        "query",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "user",
        "password",
        "compress",
        "decompress",
        "role",
        "quota_key",
        "wait_end_of_query",
        "buffer_size",
        "client_protocol_version",
        "default_format",
        "enable_http_compression",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
    }
)
"""URL parameters of the interface itself; others are settings or ``param_…``."""

WHOLE_RESPONSE = 4 << 20
"""A response up to this size is sent whole: with its length, a summary, and a clean error."""


WHOLE_INSERT = 1 << 20
"""Rows up to this size, as text, are inserted by one statement, whose errors are complete."""

TEXT_FORMAT = re.compile(rb"JSON|CSV|TSV|TabSeparated|Values")
"""Formats of rows that may follow a statement in one text."""


class Server(ThreadingHTTPServer):
    """Serves one engine to a single user."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, engine: Engine, port: int, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine, self._login = engine, f"{user}:{password}".encode()

    def admits(self, user: str, password: str) -> bool:
        """Return whether the login is right, in the same time for every wrong one."""
        return hmac.compare_digest(f"{user}:{password}".encode(), self._login)


class Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests: a statement may contain data."""

    def do_GET(self) -> None:
        """Respond to one request."""
        url = urlsplit(self.path)
        self.body = Body(self.rfile, self.headers)  # type: ignore[arg-type]  # Message is a mapping
        self.query_id = ""
        if url.path == "/ping" or (self.command == "GET" and self.path == "/"):
            self._reply(200, b"Ok.\n")
            return
        try:
            parameters = dict(parse_qsl(url.query, keep_blank_values=True))
            self._authenticate(parameters)
            pieces: Iterator[bytes] = iter(self.body)
            if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
                parameters |= self._form(b"".join(pieces))
                pieces = iter(())
            self._run(parameters, pieces)
        except (OSError, ValueError):
            self.close_connection = True  # the client disconnected, or sent malformed HTTP
        except ClickHouseError as error:
            self._fail(error)
        except Exception as error:  # the engine uses one class for all errors
            self._fail(from_engine(error))

    do_POST = do_GET

    def _authenticate(self, parameters: dict[str, str]) -> None:
        user = parameters.get("user") or self.headers.get("X-ClickHouse-User") or "default"
        password = parameters.get("password") or self.headers.get("X-ClickHouse-Key") or ""
        authorization = self.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            try:
                login = base64.b64decode(authorization[6:]).decode()
            except (binascii.Error, UnicodeDecodeError):
                login = ""
            user, _, password = login.partition(":")
        if not self.server.admits(user, password):
            raise ClickHouseError(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with"
                " such name. (AUTHENTICATION_FAILED)",
            )

    def _form(self, body: bytes) -> dict[str, str]:
        """Parse parameters sent as a form, which clients use when they are many or long."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form: dict[str, str] = {}
        for part in BytesParser().parsebytes(head + body).walk():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes):
                form[name] = content.decode()
        return form

    def _run(self, parameters: dict[str, str], pieces: Iterator[bytes]) -> None:
        self.query_id = parameters.get("query_id") or secrets.token_hex(16)
        kills = parameters.get("cancel_http_readonly_queries_on_client_close") == "1"
        timeout = parameters.get("session_timeout")
        with (
            self.server.engine.connection(
                parameters.get("session_id") or None, float(timeout) if timeout else None
            ) as connection,
            self.server.engine.kill_on_disconnect(self.connection if kills else None) as tag,
        ):
            settings = {"log_comment": tag if kills else self.query_id} | {
                name: value
                for name, value in parameters.items()
                if name not in NOT_SETTINGS and not name.startswith("param_")
            }
            for name in settings:
                if not re.fullmatch(r"\w+", name):
                    raise ClickHouseError(115, f"Unknown setting {name!r}. (UNKNOWN_SETTING)")
            if database := parameters.get("database"):
                connection.query(f"USE {identifier(database)}")
            pairs = ", ".join(f"{name} = {literal(value)}" for name, value in settings.items())
            connection.query(f"SET {pairs}")
            self._execute(connection, parameters, pieces)

    def _execute(
        self, connection: Any, parameters: dict[str, str], pieces: Iterator[bytes]
    ) -> None:
        sql = parameters.get("query", "").encode()
        head = INSERT_HEAD.match(sql)
        if not sql:
            # The body begins with the statement: read up to its FORMAT, or to the end.
            for piece in pieces:
                sql += piece
                head = INSERT_HEAD.match(sql)
                if head or len(sql) > HEAD_LIMIT or not is_insert(sql):
                    break
        if head:
            self._insert(connection, head, itertools.chain([sql[head.end() :]], pieces))
            return
        sql = b"".join([sql, b"\n" if parameters.get("query") else b"", *pieces])
        analysis = connection._conn.classify_query(sql)
        if analysis["statement_count"] > 1:
            raise ClickHouseError(62, "Multi-statements are not allowed. (SYNTAX_ERROR)")
        format_ = output_format(sql, parameters.get("default_format", "TabSeparated"))
        bound = {
            k.removeprefix("param_"): v for k, v in parameters.items() if k.startswith("param_")
        }
        reads = analysis["query_class"] == chdb._chdb.query_class.READ_ONLY  # type: ignore[attr-defined]
        if reads and format_ in STREAMABLE:
            try:
                with connection.send_query(sql, format_, params=bound) as stream:
                    self._stream(stream, format_)
                return
            except RuntimeError as error:
                if "Streaming query is not supported" not in str(error):
                    raise
        result = connection.query(sql, format_, params=bound)
        out = result.bytes() or b""
        self._reply(
            200,
            out,
            self._statement_headers(
                format_ if out or reads else None,
                read=(result.storage_rows_read(), result.storage_bytes_read()),
                written=(result.rows_written(), result.bytes_written()),
                seconds=result.elapsed(),
            ),
        )

    def _insert(self, connection: Any, head: re.Match[bytes], pieces: Iterator[bytes]) -> None:
        if not TEXT_FORMAT.match(head[2]):
            self._stream_insert(connection, head, pieces)
            return
        rows = b""
        for piece in pieces:
            rows += piece
            if len(rows) > WHOLE_INSERT:
                break
        else:
            result = connection.query(b"%b FORMAT %b\n%b" % (head[1], head[2], rows))
            written = (result.rows_written(), result.bytes_written())
            self._reply(
                200, b"", self._statement_headers(None, written=written, seconds=result.elapsed())
            )
            return
        self._stream_insert(connection, head, itertools.chain([rows], pieces))

    def _stream_insert(
        self, connection: Any, head: re.Match[bytes], pieces: Iterator[bytes]
    ) -> None:
        """Insert rows as they arrive. The engine reports what it cannot parse, but neither a
        constraint nor a view that refuses rows.
        """
        insert = connection.send_insert(head[1].decode(), head[2].decode())
        sent = False
        try:
            for piece in pieces:
                if piece:
                    insert.append(piece)
                    sent = sent or bool(piece.strip())
            result = insert.finish()
        except BaseException:
            insert.cancel()
            raise
        if sent and not result.rows_written:  # the engine ends a cancelled insert without an error
            raise ClickHouseError(394, "The insert was cancelled. (QUERY_WAS_CANCELLED)")
        written = (result.rows_written, result.bytes_written)
        self._reply(
            200, b"", self._statement_headers(None, written=written, seconds=result.elapsed)
        )

    def _stream(self, stream: Any, format_: str) -> None:
        buffered: list[bytes] = []
        size, rows_read, bytes_read, seconds = 0, 0, 0, 0.0
        for part in stream:
            buffered.append(part.bytes())
            size += len(buffered[-1])
            rows_read += part.storage_rows_read()
            bytes_read += part.storage_bytes_read()
            seconds = part.elapsed()
            if size > WHOLE_RESPONSE:
                break
        else:
            headers = self._statement_headers(
                format_, read=(rows_read, bytes_read), seconds=seconds
            )
            self._reply(200, b"".join(buffered), headers)
            return
        tag = secrets.token_hex(8)
        headers = self._statement_headers(format_) | {"X-ClickHouse-Exception-Tag": tag}
        self._start(200, headers | {"Transfer-Encoding": "chunked"})
        for piece in buffered:
            self._chunk(piece)
        buffered.clear()
        try:
            for part in stream:
                self._chunk(part.bytes())
        except OSError:
            raise
        except Exception as error:
            # Too late for a status: send the tagged block, and no last chunk.
            message = str(from_engine(error)).encode()
            block = b"\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n"
            self._chunk(block % (tag.encode(), message, len(message) + 1, tag.encode()))
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _statement_headers(
        self,
        format_: str | None,
        *,
        read: tuple[int, int] = (0, 0),
        written: tuple[int, int] = (0, 0),
        seconds: float = 0.0,
    ) -> dict[str, str]:
        """Build the headers that summarize a statement."""
        summary = {
            "read_rows": read[0],
            "read_bytes": read[1],
            "written_rows": written[0],
            "written_bytes": written[1],
            "elapsed_ns": int(seconds * 1e9),
        }
        headers = {
            "X-ClickHouse-Query-Id": self.query_id,
            "X-ClickHouse-Timezone": self.server.engine.timezone,
            "X-ClickHouse-Summary": json.dumps({k: str(v) for k, v in summary.items()}),
        }
        return headers | ({"X-ClickHouse-Format": format_} if format_ else {})

    def _fail(self, error: ClickHouseError) -> None:
        try:
            self.body.drain()
        except (OSError, ValueError):
            self.close_connection = True
            return
        headers = {"X-ClickHouse-Exception-Code": str(error.code)}
        if self.query_id:
            headers["X-ClickHouse-Query-Id"] = self.query_id
        self._reply(error.status, f"{error}\n".encode(), headers)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._start(status, (headers or {}) | {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain; charset=UTF-8"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
