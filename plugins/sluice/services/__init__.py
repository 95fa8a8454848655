"""Validators, metrics and registries for services that use the contracts outside of loads."""

from sluice.services.local_registry import LocalSchemaRegistry
from sluice.services.pydantic_bridge import PydanticToMsgspec
from sluice.services.validator_metrics import MetricsCollector, SchemaMetrics
from sluice.services.validators import (
    BatchValidator,
    FlexibleValidator,
    MonitoredValidator,
    Validator,
    ValidatorPool,
)

__all__ = [
    "BatchValidator",
    "FlexibleValidator",
    "LocalSchemaRegistry",
    "MetricsCollector",
    "MonitoredValidator",
    "PydanticToMsgspec",
    "SchemaMetrics",
    "Validator",
    "ValidatorPool",
]
