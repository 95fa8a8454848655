"""The one module that talks to a schema registry with the Confluent API."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from pydantic import ValidationError

from sluice.contract import Contract, Version
from sluice.errors import RegistryError, SettingsError
from sluice.registry import SchemaRegistryConfig
from sluice.versions import class_of

log = structlog.get_logger()
T = TypeVar("T")

VERSION_KEY = "x-version"
"""Where a schema that Sluice registered names its version."""


class Registered(msgspec.Struct, frozen=True):
    """A schema as the registry has it.

    Attributes:
        type: ``JSON``, ``AVRO`` or ``PROTOBUF``.
        text: the schema itself.
    """

    id: int
    type: str
    text: str


class UnknownSchema(RegistryError):
    """The registry answers, and does not have the id."""


class SchemaRegistry:
    """A registry server, with schemas kept by id for the configured time.

    An id never changes its meaning, so while the server is down a schema that was fetched
    before is used beyond its time; only an id that was never seen is then an error.

    Args:
        config: where it is, and how long schemas are kept.
        clock: monotonic seconds; a test may turn it.
    """

    def __init__(
        self, config: SchemaRegistryConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config, self._clock = config, clock
        self._kept: dict[int, tuple[float, Registered]] = {}
        self.client = self._connect()

    def by_id(self, schema_id: int) -> Registered:
        """The schema of an id.

        Raises:
            UnknownSchema: the registry does not have it.
            RegistryError: the registry does not answer, and the id was not fetched before.
        """
        until, known = self._kept.get(schema_id, (0.0, None))
        if known and self._config.cache_schemas and self._clock() < until:
            return known
        # The client keeps what it fetched for good: a fresh one asks the server.
        client = self._connect() if known else self.client
        try:
            schema = self._ask(lambda: client.get_schema(schema_id), f"schema {schema_id}")
        except UnknownSchema:
            self._kept.pop(schema_id, None)
            raise
        except RegistryError as error:
            if not known:
                raise
            log.warning("registry_down", schema_id=schema_id, error=str(error))
            return known
        found = Registered(schema_id, schema.schema_type or "AVRO", schema.schema_str or "")
        self._kept[schema_id] = (self._clock() + self._config.cache_ttl_seconds, found)
        self.client = client
        return found

    def register(self, subject: str, text: str, type_: str = "JSON") -> int:
        """Register a schema, unless it breaks the subject's compatibility; gives its id.

        The same schema again gives the same id.

        Raises:
            RegistryError: it is not compatible, or the registry does not answer.
        """
        schema = Schema(text, type_)
        try:
            found = self._ask(lambda: self.client.lookup_schema(subject, schema), subject)
            return int(found.schema_id or 0)
        except UnknownSchema:
            pass
        if not self.compatible(subject, text, type_):
            level = self._ask(lambda: self.client.get_compatibility(subject), subject)
            raise RegistryError(
                f"subject {subject!r}: the schema is not {level} compatible with the latest"
                " registered one; nothing was registered"
            )
        return self._ask(lambda: self.client.register_schema(subject, schema), subject)

    def compatible(self, subject: str, text: str, type_: str = "JSON") -> bool:
        """Whether a schema may follow the subject's latest one; the first one may.

        Raises:
            RegistryError: the registry does not answer.
        """
        schema = Schema(text, type_)
        try:
            return self._ask(lambda: self.client.test_compatibility(subject, schema), subject)
        except UnknownSchema:
            return True

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set what may follow in a subject: ``BACKWARD``, ``FULL`` and so on."""
        self._ask(lambda: self.client.set_compatibility(subject, level), subject)

    def _connect(self) -> SchemaRegistryClient:
        options: dict[str, Any] = {"url": self._config.registry_url, "timeout": 10}
        options |= {"max.retries": 2, "retries.wait.ms": 200}
        if self._config.registry_user:
            password = self._config.registry_password.get_secret_value()
            options["basic.auth.user.info"] = f"{self._config.registry_user}:{password}"
        return SchemaRegistryClient(options)

    def _ask(self, call: Callable[[], T], what: str) -> T:
        where = self._config.registry_url
        try:
            return call()
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                raise UnknownSchema(f"schema registry {where} does not know {what}") from error
            said = str(error.error_message or error)[:500]
            raise RegistryError(f"schema registry {where}, {what}: {said}") from error
        except Exception as error:  # whatever the client's transport raises
            raise RegistryError(
                f"schema registry {where} does not answer ({type(error).__name__}: {error})"
            ) from error


def registry_from_environment(subject: str) -> SchemaRegistry | None:
    """The registry that ``SCHEMA_REGISTRY_URL`` names; None when it is not set.

    Raises:
        SettingsError: a setting is not valid; names it.
    """
    try:
        return SchemaRegistry(SchemaRegistryConfig(schema_subject=subject))  # type: ignore[call-arg]
    except ValidationError as error:
        problems = [(str(e["loc"][0]), e["type"], e["msg"]) for e in error.errors()]
        if problems[0][:2] == ("registry_url", "missing"):
            return None
        told = "; ".join(f"SCHEMA_{name.upper()}: {said}" for name, _, said in problems)
        raise SettingsError(told) from None


def json_schema(contract: Contract, version: Version) -> dict[str, Any]:
    """The JSON Schema of a version, as it is registered.

    A field that came with a version is not required, since readers fill it, and objects are
    closed: registries then see that a version that only adds is backward compatible.
    """
    schema = msgspec.json.schema(class_of(contract, version))
    definitions: dict[str, Any] = schema["$defs"]
    message: dict[str, Any] = definitions.pop(schema["$ref"].rpartition("/")[2])
    names = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    filled = {names.get(n, n) for v in contract.versions for n in v.added}
    message["required"] = [name for name in message["required"] if name not in filled]
    for definition in (message, *definitions.values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    head = {"$schema": "http://json-schema.org/draft-07/schema#", VERSION_KEY: version.name}
    return {**head, **message, **({"$defs": definitions} if definitions else {})}


def register_versions(registry: SchemaRegistry, contract: Contract) -> dict[str, int]:
    """Register the versions since the last one that renamed, removed or lifted, as JSON Schemas.

    The first one sets the subject to backward compatibility: readers fill what is missing.
    Repeating it changes nothing. Gives the ids by version.

    Raises:
        RegistryError: a version breaks compatibility, or the registry does not answer.
    """
    breaking = [n for n, v in enumerate(contract.versions) if v.renamed or v.removed or v.lift]
    ids: dict[str, int] = {}
    for version in contract.versions[breaking[-1] if breaking else 0 :]:
        text = msgspec.json.encode(json_schema(contract, version)).decode()
        ids[version.name] = registry.register(contract.subject, text)
        if len(ids) == 1:
            registry.set_compatibility(contract.subject, "BACKWARD")
    return ids
