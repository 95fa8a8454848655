"""Counts and durations of a service's validations and serializations."""

import threading
from collections import Counter

import msgspec


class SchemaMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the metrics; later recording does not change it.

    Attributes:
        schema_versions_seen: validated messages by their version.
    """

    messages_validated: int = 0
    messages_serialized: int = 0
    validation_errors: int = 0
    serialization_errors: int = 0
    total_validation_time_ms: float = 0.0
    total_serialization_time_ms: float = 0.0
    schema_versions_seen: dict[str, int] = {}

    @property
    def avg_validation_time_ms(self) -> float:
        """Milliseconds per validation, successful or not; 0 without validations."""
        return _ratio(
            self.total_validation_time_ms, self.messages_validated + self.validation_errors
        )

    @property
    def avg_serialization_time_ms(self) -> float:
        """Milliseconds per serialization, successful or not; 0 without serializations."""
        return _ratio(
            self.total_serialization_time_ms, self.messages_serialized + self.serialization_errors
        )

    @property
    def validation_error_rate(self) -> float:
        """Percentage of messages that failed validation; 0 without validations."""
        return 100 * _ratio(
            self.validation_errors, self.messages_validated + self.validation_errors
        )


class MetricsCollector:
    """Collects :class:`SchemaMetrics`; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def record_validation(
        self, duration_ms: float, success: bool, schema_version: str = "", count: int = 1
    ) -> None:
        """Record one validation, or ``count`` validations with ``duration_ms`` in total."""
        with self._lock:
            self._validation_ms += duration_ms
            if success:
                self._validated += count
                if schema_version:
                    self._versions[schema_version] += count
            else:
                self._validation_errors += count

    def record_serialization(self, duration_ms: float, success: bool, count: int = 1) -> None:
        """Record one serialization, or ``count`` serializations with ``duration_ms`` in total."""
        with self._lock:
            self._serialization_ms += duration_ms
            if success:
                self._serialized += count
            else:
                self._serialization_errors += count

    def get_metrics(self) -> SchemaMetrics:
        """The metrics so far, as a snapshot."""
        with self._lock:
            return SchemaMetrics(
                messages_validated=self._validated,
                messages_serialized=self._serialized,
                validation_errors=self._validation_errors,
                serialization_errors=self._serialization_errors,
                total_validation_time_ms=self._validation_ms,
                total_serialization_time_ms=self._serialization_ms,
                schema_versions_seen=dict(self._versions),
            )

    def reset(self) -> None:
        """Set all metrics to zero."""
        with self._lock:
            self._validated = self._serialized = 0
            self._validation_errors = self._serialization_errors = 0
            self._validation_ms = self._serialization_ms = 0.0
            self._versions: Counter[str] = Counter()


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
