import json

import pytest

from sluice.errors import SettingsError
from sluice.settings import Settings, connection_from_environment, parse_connection

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


def test_the_json_form_is_read_whole() -> None:
    found = parse_connection(JSON)
    assert (found.host, found.port, found.login, found.schema) == ("ch", 8443, "loader", "shop")
    assert found.password.get_secret_value() == "s3cret"
    assert found.extra == {"secure": True, "ca_cert": "/ca.pem"}


def test_extra_may_be_a_string_as_airflow_writes_it() -> None:
    extra = json.dumps({"bootstrap.servers": "b:1"})
    found = parse_connection(json.dumps({"conn_type": "kafka", "extra": extra}))
    assert found.extra == {"bootstrap.servers": "b:1"}


def test_the_uri_form_is_read_whole() -> None:
    found = parse_connection("clickhouse://loader:s%40cret@ch:8443/shop?secure=true")
    assert (found.host, found.port, found.login, found.schema) == ("ch", 8443, "loader", "shop")
    assert found.password.get_secret_value() == "s@cret"
    assert found.extra == {"secure": "true"}


def test_a_connection_never_shows_its_secrets() -> None:
    found = parse_connection(JSON)
    assert "s3cret" not in repr(found) + str(found) + repr([found])


def test_a_missing_connection_says_how_to_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    with pytest.raises(SettingsError, match=f"put {NAME} into the environment"):
        connection_from_environment("clickhouse_default")


@pytest.mark.parametrize("value", ['{"password": "s3cret"', "s3cret", '{"port": "s3cret"}'])
def test_a_malformed_connection_is_an_error_without_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(SettingsError) as caught:
        connection_from_environment("clickhouse_default")
    assert NAME in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_DATABASE", "elsewhere")
    monkeypatch.setenv("SLUICE_CHUNK_OFFSETS", "10")
    assert (Settings().database, Settings().chunk_offsets) == ("elsewhere", 10)
