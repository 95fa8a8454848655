"""A client of a schema registry (Confluent API): schemas by id, registration, compatibility."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sluice.errors import RegistryError, SettingsError
from sluice.settings import ENV_FILES

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

log = structlog.get_logger()
T = TypeVar("T")


class SchemaRegistryConfig(BaseSettings):
    """Connection to the schema registry: variables with the prefix ``SCHEMA_``, or ``.env``.

    Attributes:
        registry_url: URL of the registry; starts with http:// or https://.
        registry_user, registry_password: for basic authentication, if the registry requires it.
        schema_subject: the subject to look up.
        cache_schemas: whether schemas fetched by id are cached.
        cache_ttl_seconds: how long they are cached.
    """

    model_config = SettingsConfigDict(
        env_prefix="SCHEMA_", env_file=ENV_FILES, extra="ignore", populate_by_name=True
    )

    registry_url: str
    registry_user: str = ""
    registry_password: SecretStr = SecretStr("")
    schema_subject: str = Field(
        validation_alias=AliasChoices("schema_subject", "SCHEMA_SCHEMA_SUBJECT", "SCHEMA_SUBJECT")
    )
    cache_schemas: bool = True
    cache_ttl_seconds: int = Field(default=3600, ge=0)

    @field_validator("registry_url")
    @classmethod
    def _has_a_scheme(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("registry_url must start with http:// or https://")
        return value


class Registered(msgspec.Struct, frozen=True):
    """A schema of the registry.

    Attributes:
        id: its id, which is unique over all subjects.
        type: ``JSON``, ``AVRO`` or ``PROTOBUF``.
        text: the schema itself.
        references: the schemas that it refers to, each after those that it refers to itself.
    """

    id: int
    type: str
    text: str
    references: tuple[str, ...] = ()


class UnknownSchema(RegistryError):
    """The registry does not have the schema; raised only when the registry responds."""


class SchemaRegistry:
    """A client of a registry server that caches schemas by id for the configured time.

    The schema of an id never changes, so a cached schema is used beyond its time while the server
    is down. Only an id that is not cached is an error then.

    Attributes:
        client: confluent-kafka's client.

    Args:
        config: URL of the registry, and how long schemas are cached.
        clock: returns monotonic seconds; a test may pass its own.
    """

    def __init__(
        self, config: SchemaRegistryConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config, self._clock = config, clock
        self._cache: dict[int, tuple[float, Registered]] = {}
        self.client = self._connect()

    def by_id(self, schema_id: int) -> Registered:
        """The schema of an id.

        Raises:
            UnknownSchema: the registry does not have it.
            RegistryError: the registry does not respond, and the id is not cached.
        """
        expires_at, cached = self._cache.get(schema_id, (0.0, None))
        if cached and self._config.cache_schemas and self._clock() < expires_at:
            return cached
        # confluent-kafka's client caches schemas forever: a new one requests them again.
        client = self._connect() if cached else self.client
        try:
            schema = self._request(lambda: client.get_schema(schema_id), f"schema {schema_id}")
            references = self._references(client, schema)
        except UnknownSchema:
            self._cache.pop(schema_id, None)
            raise
        except RegistryError as error:
            if not cached:
                raise
            log.warning("registry_down", schema_id=schema_id, error=str(error))
            return cached
        text, type_ = schema.schema_str or "", schema.schema_type or "AVRO"
        fetched = Registered(schema_id, type_, text, tuple(references.values()))
        self._cache[schema_id] = (self._clock() + self._config.cache_ttl_seconds, fetched)
        self.client = client
        return fetched

    def _references(self, client: "SchemaRegistryClient", schema: "Schema") -> dict[str, str]:
        """Name of a reference → its text, of all that a schema needs."""
        found: dict[str, str] = {}
        for reference in schema.references or ():
            name, subject, version = str(reference.name), reference.subject, reference.version
            if name in found or not subject or not version:
                continue
            item = f"version {version} of subject {subject!r}"
            referenced = self._request(partial(client.get_version, subject, version), item).schema
            found |= self._references(client, referenced)
            found[name] = referenced.schema_str or ""
        return found

    def register(self, subject: str, text: str, type_: str = "JSON") -> int:
        """Register a schema that is compatible with the subject, and return its id.

        Repeatable: a schema that is registered already keeps its id.

        Raises:
            RegistryError: it is not compatible, or the registry does not respond.
        """
        schema = _library().Schema(text, type_)
        try:
            registered = self._request(lambda: self.client.lookup_schema(subject, schema), subject)
            return int(registered.schema_id or 0)
        except UnknownSchema:
            pass
        if not self.compatible(subject, text, type_):
            level = self._request(lambda: self.client.get_compatibility(subject), subject)
            raise RegistryError(
                f"the schema is not {level} compatible with the latest one of subject"
                f" {subject!r}; it was not registered"
            )
        return self._request(lambda: self.client.register_schema(subject, schema), subject)

    def compatible(self, subject: str, text: str, type_: str = "JSON") -> bool:
        """Whether a schema is compatible with the subject's latest one; true for a first one.

        Raises:
            RegistryError: the registry does not respond.
        """
        schema = _library().Schema(text, type_)
        try:
            return self._request(lambda: self.client.test_compatibility(subject, schema), subject)
        except UnknownSchema:
            return True

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set a subject's compatibility level: ``BACKWARD``, ``FULL`` and so on."""
        self._request(lambda: self.client.set_compatibility(subject, level), subject)

    def _connect(self) -> "SchemaRegistryClient":
        options: dict[str, Any] = {"url": self._config.registry_url, "timeout": 10}
        options |= {"max.retries": 2, "retries.wait.ms": 200}
        if self._config.registry_user:
            password = self._config.registry_password.get_secret_value()
            options["basic.auth.user.info"] = f"{self._config.registry_user}:{password}"
        client: SchemaRegistryClient = _library().SchemaRegistryClient(options)
        return client

    def _request(self, call: Callable[[], T], item: str) -> T:
        url = self._config.registry_url
        try:
            return call()
        except _library().SchemaRegistryError as error:
            if error.http_status_code == 404:
                raise UnknownSchema(f"schema registry {url} does not have {item}") from error
            reason = str(error.error_message or error)[:500]
            raise RegistryError(f"schema registry {url}, {item}: {reason}") from error
        except Exception as error:  # whatever the client's transport raises
            raise RegistryError(
                f"schema registry {url} does not respond ({type(error).__name__}: {error})"
            ) from error


def _library() -> Any:
    """confluent-kafka's client, which takes 0.2 s to import: most topics have no registry."""
    import confluent_kafka.schema_registry as library

    return library


def registry_from_environment(subject: str) -> SchemaRegistry | None:
    """The registry at ``SCHEMA_REGISTRY_URL``; None if the variable is not set.

    Raises:
        SettingsError: a setting is invalid; the detail names it.
    """
    try:
        return SchemaRegistry(SchemaRegistryConfig(schema_subject=subject))  # type: ignore[call-arg]
    except ValidationError as error:
        problems = [(str(e["loc"][0]), e["type"], e["msg"]) for e in error.errors()]
        if problems[0][:2] == ("registry_url", "missing"):
            return None
        text = "; ".join(f"SCHEMA_{name.upper()}: {reason}" for name, _, reason in problems)
        raise SettingsError(text) from None
