"""Validators for services that produce or consume a contract's messages, singly or in batches.

They use the decoder of the loads, so they accept and refuse exactly what a load does.
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
from sluice.errors import MessageRefused
from sluice.refusals import Refusal
from sluice.services.validator_metrics import MetricsCollector

log = structlog.get_logger()


class Validator(Generic[M]):
    """Validates and serializes the messages of one contract; thread-safe."""

    def __init__(self, contract: Contract[M]) -> None:
        self.contract = contract
        self._decoder = Decoder(contract)
        self._encoder = msgspec.json.Encoder()

    def validate(self, data: bytes, version: str = "") -> M:
        """Decode bytes to a message of the contract's current class.

        Raises:
            MessageRefused: with reason, field and nearest version.
        """
        return self.validate_versioned(data, version)[0]

    def validate_versioned(self, data: bytes, version: str = "") -> tuple[M, str]:
        """The message, and the version of the received bytes.

        Raises:
            MessageRefused: with reason, field and nearest version.
        """
        result = self._decoder.decode(data, version)
        if isinstance(result, Refusal):
            raise MessageRefused(result)
        message, name = result
        return as_current(self.contract, message), name

    def serialize(self, message: Struct) -> bytes:
        """A message as JSON.

        Raises:
            TypeError: it is not a message of this contract.
        """
        if not isinstance(message, self.contract.message):
            expected, actual = self.contract.message.__name__, type(message).__name__
            raise TypeError(f"topic {self.contract.topic!r} carries {expected}, not {actual}")
        return self._encoder.encode(message)


def as_current(contract: Contract[M], message: Struct) -> M:
    """The message as an instance of the current class, not of the class of an older version."""
    if type(message) is contract.message:
        return message
    return contract.message(**msgspec.structs.asdict(message))


class ValidatorPool(Generic[M]):
    """A fixed number of validators, used in turn; thread-safe.

    Example::

        pool = ValidatorPool(contract, pool_size=8)
        order = pool.validate(message.value())
    """

    def __init__(self, contract: Contract[M], pool_size: int = 4) -> None:
        if pool_size < 1:
            raise ValueError(f"pool_size must be at least 1, not {pool_size}")
        self._validators = [Validator(contract) for _ in range(pool_size)]
        self._turn = itertools.count()  # next() is atomic, so no lock is needed

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
    """Validates and serializes lists, with one result per message, in order."""

    def __init__(self, contract: Contract[M]) -> None:
        self._contract = contract
        self._decoder = Decoder(contract)
        self._encoder = msgspec.json.Encoder()

    def validate_batch(
        self, batch: Sequence[bytes]
    ) -> list[tuple[M, None] | tuple[None, MessageRefused]]:
        """(message, None) or (None, error) per message, in order."""
        decode, contract = self._decoder.decode, self._contract
        results: list[tuple[M, None] | tuple[None, MessageRefused]] = []
        for data in batch:
            result = decode(data)
            if isinstance(result, Refusal):
                results.append((None, MessageRefused(result)))
            else:
                results.append((as_current(contract, result[0]), None))
        return results

    def serialize_batch(self, messages: Sequence[Struct]) -> list[bytes]:
        """Each message as JSON, in order."""
        encode = self._encoder.encode
        return [encode(message) for message in messages]


class FlexibleValidator(Generic[M]):
    """Validates messages; the caller can supply missing fields."""

    def __init__(self, contract: Contract[M]) -> None:
        self._validator = Validator(contract)

    def validate_with_defaults(self, data: bytes, defaults: Mapping[str, Any]) -> M:
        """Validate one message; missing top-level fields are taken from ``defaults``.

        A present field is never replaced, even if it is invalid. Loads use the versions of the
        contract for this instead.

        Raises:
            MessageRefused: the message is invalid, or lacks a field without a default.
        """
        try:
            return self._validator.validate(data)
        except MessageRefused:
            try:
                fields = msgspec.json.decode(data, type=dict[str, Any])
            except (msgspec.MsgspecError, ValueError, RecursionError):
                fields = None
            if fields is None or not defaults.keys() - fields.keys():
                raise
            return self._validator.validate(msgspec.json.encode({**defaults, **fields}))


class MonitoredValidator(Generic[M]):
    """A validator that records metrics and logs each message with structlog.

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
        start = time.perf_counter()
        try:
            message, actual_version = self._validator.validate_versioned(data, version)
        except MessageRefused as error:
            duration = _milliseconds(start)
            self.metrics.record_validation(duration, False, error.refusal.version)
            log.warning("validation_failed", error=str(error), duration_ms=duration)
            raise
        duration = _milliseconds(start)
        self.metrics.record_validation(duration, True, actual_version)
        key = {self._key: getattr(message, self._key)}
        log.info("message_validated", duration_ms=duration, **key)
        return message

    def serialize(self, message: Struct) -> bytes:
        """Serialize one message.

        Raises:
            TypeError: it is not a message of this contract, or JSON cannot represent a value.
        """
        start = time.perf_counter()
        try:
            data = self._validator.serialize(message)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            duration = _milliseconds(start)
            self.metrics.record_serialization(duration, False)
            log.warning("serialization_failed", error=str(error), duration_ms=duration)
            raise
        self.metrics.record_serialization(_milliseconds(start), True)
        return data


def _milliseconds(start: float) -> float:
    return (time.perf_counter() - start) * 1000
