import multiprocessing
from pathlib import Path

import pydantic
import pytest

from sluice.errors import RegistryError
from sluice.kafka.schema_registry import SchemaRegistryConfig
from sluice.services.local_registry import LocalSchemaRegistry

A, B = {"type": "object", "title": "A"}, {"type": "object", "title": "B"}


def test_ids_are_stable_and_kept_on_disk(tmp_path: Path) -> None:
    first = LocalSchemaRegistry(tmp_path)
    assert first.register_schema("orders", "1.0", A) == 1
    assert first.register_schema("orders", "1.1", B) == 2
    again = LocalSchemaRegistry(tmp_path)
    assert again.register_schema("orders", "1.0", A) == 1
    assert again.register_schema("payments", "1.0", A) == 3
    assert again.get_schema("orders", "1.1") == B


def test_versions_are_numbers(tmp_path: Path) -> None:
    registry = LocalSchemaRegistry(tmp_path)
    for version in ("1.10", "1.9", "1.2"):
        registry.register_schema("orders", version, {"title": version})
    assert registry.get_latest_schema("orders") == ("1.10", {"title": "1.10"})
    assert registry.list_schemas() == {"orders": ["1.2", "1.9", "1.10"]}


def test_a_different_schema_under_an_existing_version_is_refused(tmp_path: Path) -> None:
    registry = LocalSchemaRegistry(tmp_path)
    registry.register_schema("orders", "1.0", A)
    with pytest.raises(RegistryError, match=r"version 1.0 is registered with a different schema"):
        registry.register_schema("orders", "1.0", B)
    assert registry.get_schema("orders", "1.0") == A


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    registry = LocalSchemaRegistry(tmp_path)
    with pytest.raises(RegistryError, match=r"no subject 'orders' \(known: none\)"):
        registry.get_latest_schema("orders")
    registry.register_schema("orders", "1.0", A)
    with pytest.raises(RegistryError, match=r"no version 2.0 \(known: 1.0\)"):
        registry.get_schema("orders", "2.0")
    with pytest.raises(RegistryError, match="does not consist of numbers"):
        registry.register_schema("orders", "latest", A)


def test_a_damaged_file_is_an_error_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / "schemas.json").write_text("{")
    with pytest.raises(RegistryError, match="is damaged"):
        LocalSchemaRegistry(tmp_path).register_schema("orders", "1.0", A)
    assert (tmp_path / "schemas.json").read_text() == "{"


def _register(folder: Path, number: int) -> None:
    registry = LocalSchemaRegistry(folder)
    for version in range(20):
        registry.register_schema(f"s{number % 2}", f"1.{version}", {"version": version})


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_register, args=(tmp_path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    registry = LocalSchemaRegistry(tmp_path)
    assert {s: len(v) for s, v in registry.list_schemas().items()} == {"s0": 20, "s1": 20}
    ids = {
        registry.register_schema(f"s{s}", f"1.{v}", {"version": v})
        for s in range(2)
        for v in range(20)
    }
    assert ids == set(range(1, 41))


def test_the_config_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://registry:8081")
    monkeypatch.setenv("SCHEMA_SUBJECT", "orders-value")
    config = SchemaRegistryConfig()  # type: ignore[call-arg]  # from the environment
    assert (config.registry_url, config.schema_subject) == ("http://registry:8081", "orders-value")
    assert (config.cache_schemas, config.cache_ttl_seconds) == (True, 3600)
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "registry:8081")
    with pytest.raises(pydantic.ValidationError, match="must start with http:// or https://"):
        SchemaRegistryConfig()  # type: ignore[call-arg]


def test_the_config_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "SCHEMA_REGISTRY_URL=https://r\nSCHEMA_SCHEMA_SUBJECT=s\nSCHEMA_CACHE_TTL_SECONDS=60\n"
    )
    config = SchemaRegistryConfig(_env_file=tmp_path / ".env")  # type: ignore[call-arg]
    assert (config.registry_url, config.schema_subject) == ("https://r", "s")
    assert config.cache_ttl_seconds == 60
