"""The ClickHouse endpoint of the local stack, through clickhouse-connect's ordinary client."""

import fcntl
import http.client
import json
import multiprocessing
import socket
import time
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from local.clickhouse.engine import _has_left
from local.process import Service
from local.stack import Ports, Stack
from sluice.settings import Connection


def open_client(connection: Connection, **options: Any) -> Client:
    return clickhouse_connect.get_client(
        host=connection.host,
        port=connection.port,
        username=connection.login,
        password=connection.password.get_secret_value(),
        database=connection.schema,
        **options,
    )


@pytest.fixture
def client(database: Connection) -> Client:
    return open_client(database, autogenerate_session_id=False)


def raw(connection: Connection, body: bytes, **headers: str) -> http.client.HTTPResponse:
    http_connection = http.client.HTTPConnection(str(connection.host), connection.port, timeout=30)
    login = {
        "X-ClickHouse-User": connection.login,
        "X-ClickHouse-Key": connection.password.get_secret_value(),
    }
    http_connection.request("POST", f"/?database={connection.schema}", body, login | headers)
    return http_connection.getresponse()


def test_it_listens_on_loopback_only(database: Connection) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for address in addresses - {"127.0.0.1", "::1"}:
        with socket.socket(socket.AF_INET6 if ":" in str(address) else socket.AF_INET) as probe:
            probe.settimeout(1)
            assert probe.connect_ex((str(address), database.port)) != 0, address


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_is_refused(database: Connection, password: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        clickhouse_connect.get_client(
            host=database.host, port=database.port, username="default", password=password
        )
    assert caught.value.code == 516


def test_it_does_not_start_without_a_password(tmp_path: Path) -> None:
    service = Service("clickhouse", tmp_path, lambda: False, 10)
    import sys

    service.start(
        [sys.executable, "-m", "local.clickhouse", str(tmp_path / "data"), "--port", "0"],
        Path(__file__).parents[2],
        {"CLICKHOUSE_PASSWORD": ""},
    )
    with pytest.raises(Exception, match="CLICKHOUSE_PASSWORD is not set"):
        service.wait()


def test_commands_queries_and_parameters(client: Client) -> None:
    client.command("CREATE TABLE t (n Int64, s String) ENGINE = MergeTree ORDER BY n")
    client.command("INSERT INTO t VALUES (1, 'a'), (2, 'b''c')")
    found = client.query(
        "SELECT s FROM t WHERE n = {n:Int64} AND s != {s:String}",
        parameters={"n": 2, "s": "it's \\ \" ;"},
    )
    assert found.result_rows == [("b'c",)]
    assert client.command("SELECT count() FROM t") == 2
    assert client.query("SELECT * FROM t WHERE n = 99").result_rows == []
    assert client.query("SHOW TABLES").result_rows == [("t",)]


def test_many_and_long_parameters_sent_as_a_form(database: Connection) -> None:
    client = open_client(database, form_encode_query_params=True)
    values = {f"p{n}": "x" * 1000 + "é\n" for n in range(60)}
    wanted = ", ".join(f"length({{{name}:String}})" for name in values)
    assert client.query(f"SELECT {wanted}", parameters=values).result_rows == [(1003,) * 60]


def test_settings_are_of_one_request(client: Client) -> None:
    sql = "SELECT getSetting('max_threads')"
    assert str(client.command(sql, settings={"max_threads": 3})) == "3"
    assert str(client.command(sql)) != "3"


def test_an_unknown_setting_is_refused_by_name(database: Connection) -> None:
    answer = raw(database, b"SELECT 1", **{"Content-Type": "text/plain"})
    assert answer.read() == b"1\n"
    connection = http.client.HTTPConnection(str(database.host), database.port)
    login = {
        "X-ClickHouse-User": database.login,
        "X-ClickHouse-Key": database.password.get_secret_value(),
    }
    connection.request("POST", "/?no_such_setting=1", b"SELECT 1", login)
    answer = connection.getresponse()
    assert answer.getheader("X-ClickHouse-Exception-Code") == "115"
    assert b"no_such_setting" in answer.read()


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_native_queries_are_streamed(database: Connection, compress: bool | str) -> None:
    client = open_client(database, compress=compress)
    rows = blocks = 0
    sql = "SELECT number, toString(number) FROM numbers(1000000)"
    with client.query_row_block_stream(sql) as stream:
        for block in stream:
            rows += len(block)
            blocks += 1
    assert rows == 1_000_000
    assert blocks > 5


@pytest.mark.parametrize("compress", [False, "lz4", "zstd"])
def test_native_inserts(database: Connection, compress: bool | str) -> None:
    client = open_client(database, compress=compress)
    client.command("CREATE TABLE t (n Int64, s Nullable(String)) ENGINE = MergeTree ORDER BY n")
    rows = [[n, None if n % 3 else f"text {n}"] for n in range(50_000)]
    client.insert("t", rows, ["n", "s"])
    found = client.query("SELECT count(), sum(n), countIf(s IS NULL) FROM t").result_rows
    assert found == [(50_000, sum(range(50_000)), 33_333)]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
def test_raw_inserts(client: Client, compression: str | None) -> None:
    import gzip

    import lz4.frame
    from backports import zstd

    client.command("CREATE TABLE t (n Int64, s String) ENGINE = MergeTree ORDER BY n")
    body = b"".join(json.dumps({"n": n, "s": "ü;\n'"}).encode() + b"\n" for n in range(20_000))
    packed = {
        None: lambda data: data,
        "lz4": lz4.frame.compress,
        "zstd": zstd.compress,
        "gzip": gzip.compress,
    }[compression](body)
    client.raw_insert("t", ["n", "s"], packed, fmt="JSONEachRow", compression=compression)
    assert client.query("SELECT count(), sum(n), any(s) FROM t").result_rows == [
        (20_000, sum(range(20_000)), "ü;\n'")
    ]


def test_a_damaged_compressed_body_is_an_error_and_inserts_nothing(client: Client) -> None:
    import lz4.frame

    client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
    packed = lz4.frame.compress(b'{"n": 1}\n' * 5000)
    with pytest.raises(DatabaseError):
        client.raw_insert("t", ["n"], packed[:-20], fmt="JSONEachRow", compression="lz4")
    assert client.command("SELECT count() FROM t") == 0


def test_tokens_make_a_repeated_insert_harmless(client: Client) -> None:
    client.command(
        "CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n"
        " SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("a", "a", "b"):
        client.raw_insert(
            "t",
            ["n"],
            b'{"n": 1}\n',
            fmt="JSONEachRow",
            settings={"insert_deduplication_token": token},
        )
    assert client.command("SELECT count() FROM t") == 2


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELEC 1", 62),
        ("SELECT * FROM nowhere", 60),
        ("SELECT * FROM no_such_database.t", 81),
        ("SELECT nothing", 47),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT throwIf(number = 3) FROM numbers(10)", 395),
    ],
)
def test_errors_carry_clickhouse_s_code(client: Client, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query(sql)
    assert caught.value.code == code
    assert client.command("SELECT 1") == 1


def test_an_error_in_mid_stream_reaches_the_client(client: Client) -> None:
    sql = "SELECT number, repeat('x', 100), throwIf(number = 3000000) FROM numbers(4000000)"
    rows = 0
    with (
        pytest.raises(ClickHouseError),
        client.query_row_block_stream(sql, settings={"max_threads": 1}) as stream,
    ):
        for block in stream:
            rows += len(block)
    assert rows < 4_000_000


def test_what_a_constraint_or_a_view_refuses_is_an_error(client: Client) -> None:
    client.command("CREATE TABLE small (n Int64, CONSTRAINT low CHECK n < 10) ENGINE = Memory")
    client.command("CREATE TABLE watched (n Int64) ENGINE = Memory")
    client.command(
        "CREATE MATERIALIZED VIEW watching ENGINE = Memory AS"
        " SELECT throwIf(n > 10) AS n FROM watched"
    )
    for table, code in (("small", 469), ("watched", 395)):
        with pytest.raises(DatabaseError, match=f"Code: {code}"):
            client.raw_insert(table, ["n"], b'{"n": 99}\n', fmt="JSONEachRow")
        client.raw_insert(table, ["n"], b'{"n": 9}\n', fmt="JSONEachRow")


def test_a_refused_insert_is_answered_though_the_client_still_sends(client: Client) -> None:
    client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
    body = b'{"n": "x"}\n' + b'{"n": 1}\n' * 2_000_000
    with pytest.raises(DatabaseError) as caught:
        client.raw_insert("t", ["n"], body, fmt="JSONEachRow")
    assert caught.value.code in (27, 72)


def test_a_session_keeps_its_temporary_tables(database: Connection) -> None:
    mine = open_client(database, session_id="mine", autogenerate_session_id=False)
    other = open_client(database, session_id="other", autogenerate_session_id=False)
    mine.command("CREATE TEMPORARY TABLE kept (n Int64)")
    mine.command("INSERT INTO kept VALUES (5)")
    assert mine.query("SELECT n FROM kept").result_rows == [(5,)]
    with pytest.raises(DatabaseError):
        other.query("SELECT n FROM kept")


def test_a_session_in_use_is_refused(database: Connection) -> None:
    first = open_client(database, session_id="busy", autogenerate_session_id=False)
    second = open_client(database, session_id="busy", autogenerate_session_id=False)
    sql = "SELECT number, repeat('x', 1000) FROM numbers(200000)"  # more than sockets buffer
    with (
        first.query_row_block_stream(sql) as stream,
        pytest.raises(DatabaseError) as caught,
    ):
        next(iter(stream))
        second.command("SELECT 1")
    assert caught.value.code == 373


def test_a_client_that_disappears_in_mid_insert_leaves_no_part_of_it(
    client: Client, database: Connection
) -> None:
    client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
    head = (
        f"POST /?database={database.schema}&query=INSERT+INTO+t+FORMAT+JSONEachRow HTTP/1.1\r\n"
        f"Host: x\r\nX-ClickHouse-User: {database.login}\r\n"
        f"X-ClickHouse-Key: {database.password.get_secret_value()}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    piece = b'{"n": 1}\n' * 1000
    with socket.create_connection((str(database.host), database.port)) as leaving:
        leaving.sendall(head.encode())
        for _ in range(20):
            leaving.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    time.sleep(0.5)
    assert client.command("SELECT count() FROM t") == 0
    client.raw_insert("t", ["n"], piece, fmt="JSONEachRow")
    assert client.command("SELECT count() FROM t") == 1000


def _insert_some(connection: Connection, number: int) -> None:
    client = open_client(connection, autogenerate_session_id=False)
    for part in range(5):
        body = b"".join(b'{"p": %d, "n": %d}\n' % (number, part * 1000 + n) for n in range(1000))
        client.raw_insert("t", ["p", "n"], body, fmt="JSONEachRow")
        assert client.command(f"SELECT count() FROM t WHERE p = {number}") == (part + 1) * 1000


def test_clients_in_several_processes_at_once(client: Client, database: Connection) -> None:
    client.command("CREATE TABLE t (p Int64, n Int64) ENGINE = MergeTree ORDER BY (p, n)")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_insert_some, args=(database, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 3
    assert client.query("SELECT count(), uniqExact(p, n) FROM t").result_rows == [(15_000, 15_000)]


def test_a_killed_server_comes_back_with_its_rows(tmp_path: Path) -> None:
    stack = Stack(tmp_path, Ports.free())
    service = stack.services["clickhouse"]
    try:
        stack.start(("clickhouse",))
        service.wait()
        port, password = stack.ports.clickhouse, stack.secrets["clickhouse"]
        options: dict[str, Any] = {"host": "127.0.0.1", "port": port, "password": password}
        client = clickhouse_connect.get_client(**options)
        client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
        client.command("INSERT INTO t SELECT number FROM numbers(1000)")
        service.kill()
        assert not service.running()
        stack.start(("clickhouse",))
        service.wait()
        client = clickhouse_connect.get_client(**options)
        assert client.command("SELECT count() FROM t") == 1000
    finally:
        stack.stop()


def test_a_client_with_a_high_descriptor_is_not_taken_for_one_that_left() -> None:
    """The engine has many files open; its clients' sockets then have numbers beyond 1023."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        high = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 1500)
        with socket.socket(fileno=high) as client:
            assert not _has_left(client)
            theirs.send(b"GET")
            assert not _has_left(client)
            client.recv(9)
            theirs.close()
            assert _has_left(client)
        assert _has_left(client)
