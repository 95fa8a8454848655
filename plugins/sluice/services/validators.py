"""Validators for services that produce or consume a contract's messages one by one or in lists.

All of them use the decoder of the load, so they accept and refuse exactly what a load does.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Generic

import msgspec
import structlog
from msgspec import Struct

from sluice.contract import Contract, M
from sluice.decode.decoder import Decoder
from sluice.errors import MessageRefused, Refusal
from sluice.services.validator_metrics import MetricsCollector

log = structlog.get_logger()


class Validator(Generic[M]):
    """Validates and serializes the messages of one contract. Safe to share between threads."""

    def __init__(self, contract: Contract[M]) -> None:
        self.contract = contract
        self._decoder = Decoder(contract)
        self._encoder = msgspec.json.Encoder()

    def validate(self, data: bytes, version: str = "") -> M:
        """Bytes to a message of the contract's current class.

        Raises:
            MessageRefused: with reason, field and nearest version.
        """
        return self.validate_versioned(data, version)[0]

    def validate_versioned(self, data: bytes, version: str = "") -> tuple[M, str]:
        """The message, and the version that it came in.

        Raises:
            MessageRefused: with reason, field and nearest version.
        """
        found = self._decoder.decode(data, version)
        if isinstance(found, Refusal):
            raise MessageRefused(found)
        message, name = found
        return as_current(self.contract, message), name

    def serialize(self, message: Struct) -> bytes:
        """A message as JSON.

        Raises:
            TypeError: it is not a message of this contract.
        """
        if not isinstance(message, self.contract.message):
            expected, got = self.contract.message.__name__, type(message).__name__
            raise TypeError(f"topic {self.contract.topic!r} carries {expected}, not {got}")
        return self._encoder.encode(message)


def as_current(contract: Contract[M], message: Struct) -> M:
    """The message as an instance of the current class itself, not of a class read as older."""
    if type(message) is contract.message:
        return message
    return contract.message(**msgspec.structs.asdict(message))


class ValidatorPool(Generic[M]):
    """Ready validators, handed out in turn; safe to use from many threads.

    Example::

        pool = ValidatorPool(contract, pool_size=8)
        order = pool.validate(message.value())
    """

    def __init__(self, contract: Contract[M], pool_size: int = 4) -> None:
        if pool_size < 1:
            raise ValueError(f"pool_size must be at least 1, not {pool_size}")
        self._validators = [Validator(contract) for _ in range(pool_size)]
        self._turn = itertools.count()  # one step of the interpreter, so no lock is needed

    def get_validator(self) -> Validator[M]:
        """The next validator in turn."""
        return self._validators[next(self._turn) % len(self._validators)]

    def validate(self, data: bytes) -> M:
        """Validate with the next validator.

        Raises:
            MessageRefused: with reason, field and nearest version.
        """
        return self.get_validator().validate(data)


class BatchValidator(Generic[M]):
    """Validates and serializes lists, one result a message, in order."""

    def __init__(self, contract: Contract[M]) -> None:
        self._contract = contract
        self._decoder = Decoder(contract)
        self._encoder = msgspec.json.Encoder()

    def validate_batch(
        self, batch: Sequence[bytes]
    ) -> list[tuple[M, None] | tuple[None, MessageRefused]]:
        """(message, None) or (None, error) for each message, in order."""
        decode, contract = self._decoder.decode, self._contract
        results: list[tuple[M, None] | tuple[None, MessageRefused]] = []
        for data in batch:
            found = decode(data)
            if isinstance(found, Refusal):
                results.append((None, MessageRefused(found)))
            else:
                results.append((as_current(contract, found[0]), None))
        return results

    def serialize_batch(self, messages: Sequence[Struct]) -> list[bytes]:
        """Each message as JSON, in order."""
        encode = self._encoder.encode
        return [encode(message) for message in messages]


class FlexibleValidator(Generic[M]):
    """Validates messages whose missing fields the caller can fill."""

    def __init__(self, contract: Contract[M]) -> None:
        self._validator = Validator(contract)

    def validate_with_defaults(self, data: bytes, defaults: Mapping[str, Any]) -> M:
        """Validate; top-level fields that are missing are taken from ``defaults``.

        A field that is there is never replaced, also when it is wrong. On the bulk path the
        versions of a contract do this.

        Raises:
            MessageRefused: the message is wrong, or lacks a field without a default.
        """
        try:
            return self._validator.validate(data)
        except MessageRefused:
            try:
                given = msgspec.json.decode(data, type=dict[str, Any])
            except (msgspec.MsgspecError, ValueError, RecursionError):
                given = None
            if given is None or not defaults.keys() - given.keys():
                raise
            return self._validator.validate(msgspec.json.encode({**defaults, **given}))


class MonitoredValidator(Generic[M]):
    """A validator that counts, and tells each message to structlog.

    Events: ``message_validated`` with the contract's key, ``validation_failed`` and
    ``serialization_failed`` with the error; all with ``duration_ms``. Errors are re-raised.
    """

    def __init__(self, contract: Contract[M], metrics: MetricsCollector) -> None:
        self.metrics = metrics
        self._validator, self._key = Validator(contract), contract.key

    def validate(self, data: bytes, version: str = "") -> M:
        """Validate one message.

        Raises:
            MessageRefused: with reason, field and nearest version.
        """
        began = time.perf_counter()
        try:
            message, found = self._validator.validate_versioned(data, version)
        except MessageRefused as error:
            took = _milliseconds(began)
            self.metrics.record_validation(took, False, error.refusal.version)
            log.warning("validation_failed", error=str(error), duration_ms=took)
            raise
        took = _milliseconds(began)
        self.metrics.record_validation(took, True, found)
        key = {self._key: getattr(message, self._key)}
        log.info("message_validated", duration_ms=took, **key)
        return message

    def serialize(self, message: Struct) -> bytes:
        """Serialize one message.

        Raises:
            TypeError: it is not a message of this contract, or holds what JSON cannot.
        """
        began = time.perf_counter()
        try:
            data = self._validator.serialize(message)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            took = _milliseconds(began)
            self.metrics.record_serialization(took, False)
            log.warning("serialization_failed", error=str(error), duration_ms=took)
            raise
        self.metrics.record_serialization(_milliseconds(began), True)
        return data


def _milliseconds(began: float) -> float:
    return (time.perf_counter() - began) * 1000
