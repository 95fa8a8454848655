import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from pydantic import SecretStr

from sluice.errors import SettingsError
from sluice.settings import Connection, Settings, connection_from_environment, parse_connection
from sluice.store.clickhouse_client import server_address

NAME = "AIRFLOW_CONN_CLICKHOUSE_DEFAULT"
JSON = json.dumps(
    {
        "conn_type": "clickhouse",
        "host": "ch",
        "port": 8443,
        "login": "loader",
        "password": "s3cret",
        "schema": "shop",
        "extra": {"secure": True, "ca_cert": "/ca.pem"},
    }
)


def address(connection: Connection) -> tuple[str, int | None, str, str]:
    return connection.host, connection.port, connection.login, connection.schema


def test_every_part_of_the_json_form_is_parsed() -> None:
    connection = parse_connection(JSON)
    assert address(connection) == ("ch", 8443, "loader", "shop")
    assert connection.password.get_secret_value() == "s3cret"
    assert connection.extra == {"secure": True, "ca_cert": "/ca.pem"}


def test_extra_may_be_a_string_as_airflow_writes_it() -> None:
    extra = json.dumps({"bootstrap.servers": "b:1"})
    connection = parse_connection(json.dumps({"conn_type": "kafka", "extra": extra}))
    assert connection.extra == {"bootstrap.servers": "b:1"}


def test_every_part_of_the_uri_form_is_parsed() -> None:
    connection = parse_connection("clickhouse://loader:s%40cret@ch:8443/shop?secure=true")
    assert address(connection) == ("ch", 8443, "loader", "shop")
    assert connection.password.get_secret_value() == "s@cret"
    assert connection.extra == {"secure": "true"}


def test_the_text_of_a_connection_has_no_secrets() -> None:
    connection = parse_connection(JSON)
    assert "s3cret" not in repr(connection) + str(connection) + repr([connection])


def test_the_error_of_a_missing_connection_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    with pytest.raises(SettingsError, match=NAME):
        connection_from_environment("clickhouse_default")


@pytest.mark.parametrize("value", ['{"password": "s3cret"', "s3cret", '{"port": "s3cret"}'])
def test_the_error_of_a_malformed_connection_does_not_contain_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(SettingsError, match=NAME) as raised:
        connection_from_environment("clickhouse_default")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_DATABASE", "elsewhere")
    monkeypatch.setenv("SLUICE_CHUNK_OFFSETS", "10")
    assert (Settings().database, Settings().chunk_offsets) == ("elsewhere", 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH_ROWS", "0"),
        ("CHUNK_OFFSETS", "-5"),
        ("BATCH_BYTES", "0"),
        ("HOLD_HOURS", "nan"),
        ("KEEP_DAYS", "-1"),
        ("STALL_SECONDS", "0"),
        ("MAX_MESSAGE_BYTES", "many"),
        ("DATABASE", ""),
        ("CONTRACTS", "not a package"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SLUICE_{name}", value)
    with pytest.raises(SettingsError) as raised:
        Settings()
    assert f"SLUICE_{name}={value!r}" in raised.value.detail


PASSWORD = "+ / @ \" ß'<&"


@pytest.mark.parametrize(
    "written",
    [PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), quote_plus(PASSWORD), repr(PASSWORD)],
)
def test_no_form_of_a_password_is_shown(written: str) -> None:
    connection = Connection(password=SecretStr(PASSWORD))
    assert PASSWORD not in connection.redact(f"at {written}!")
    assert written.strip("'") not in connection.redact(f"at {written}!")


def test_the_uri_form_takes_the_password_and_the_extra_as_airflow_does() -> None:
    extra = quote(json.dumps({"secure": True, "settings": {"max_threads": 2}}))
    uri = f"clickhouse://me:{quote(PASSWORD, safe='')}@ch/shop?__extra__={extra}"
    connection = parse_connection(uri)
    assert connection.password.get_secret_value() == PASSWORD
    assert connection.extra == {"secure": True, "settings": {"max_threads": 2}}
    assert server_address(connection) == ("ch", 8443)


@pytest.mark.parametrize(
    ("extra", "port"),
    [
        ({}, 8123),
        ({"secure": True}, 8443),
        ({"secure": "true"}, 8443),
        ({"secure": "false"}, 8123),
        ({"interface": "https"}, 8443),
    ],
)
def test_the_port_is_the_drivers_own_by_default(extra: dict[str, Any], port: int) -> None:
    assert server_address(Connection(host="ch", extra=extra)) == ("ch", port)
    assert server_address(Connection(host="ch", port=9, extra=extra)) == ("ch", 9)
