import json
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import msgspec
import pytest
import structlog

from include.schemas.orders import UNKNOWN_ADDRESS, OrderEventMessage
from include.schemas.orders import contract as orders
from include.schemas.payments import contract as payments
from sluice.authoring.examples import example_message
from sluice.errors import MessageRefused
from sluice.refusals import Reason
from sluice.services.validator_metrics import MetricsCollector, SchemaMetrics
from sluice.services.validators import (
    BatchValidator,
    FlexibleValidator,
    MonitoredValidator,
    Validator,
    ValidatorPool,
)

MESSAGE = example_message(orders, Random(3))
GOOD = msgspec.json.encode(MESSAGE)
FIELDS: dict[str, Any] = json.loads(GOOD)


def without(*names: str, **changed: Any) -> bytes:
    return json.dumps({k: v for k, v in (FIELDS | changed).items() if k not in names}).encode()


@pytest.mark.parametrize("contract", [orders, payments])
def test_any_contract_goes_both_ways(contract: Any) -> None:
    message = example_message(contract, Random(1))
    validator = Validator(contract)
    assert validator.validate(validator.serialize(message)) == message


def test_an_older_message_becomes_one_of_the_current_class() -> None:
    message = Validator(orders).validate(without("shipping_address"))
    assert type(message) is OrderEventMessage
    assert message == msgspec.structs.replace(MESSAGE, shipping_address=UNKNOWN_ADDRESS)


def test_an_error_has_reason_field_and_nearest_version() -> None:
    with pytest.raises(MessageRefused) as caught:
        Validator(orders).validate(without("shipping_address", total_price="1"))
    refusal = caught.value.refusal
    assert (refusal.reason, refusal.field) == (Reason.WRONG_TYPE, "total_price")
    assert caught.value.field == "total_price"


def test_a_message_of_another_contract_is_not_serialized() -> None:
    with pytest.raises(TypeError, match="carries OrderEventMessage, not PaymentMessage"):
        Validator(orders).serialize(example_message(payments, Random(1)))


def test_the_pool_uses_its_validators_in_turn() -> None:
    pool = ValidatorPool(orders, pool_size=3)
    used = [pool.get_validator() for _ in range(7)]
    assert len({id(v) for v in used}) == 3
    assert used[0] is used[3] is used[6]
    with pytest.raises(ValueError, match="pool_size"):
        ValidatorPool(orders, pool_size=0)


def test_the_pool_serves_16_threads() -> None:
    pool = ValidatorPool(orders, pool_size=4)
    start = threading.Barrier(16)
    used: list[int] = []

    def work(number: int) -> bool:
        start.wait()
        for _ in range(500):
            assert pool.validate(GOOD) == MESSAGE
            used.append(id(pool.get_validator()))
        with pytest.raises(MessageRefused):
            pool.validate(without("order_id"))
        return True

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(work, range(16)))
    assert len(set(used)) == 4


def test_a_batch_has_one_result_per_message_in_order() -> None:
    validator = BatchValidator(orders)
    results = validator.validate_batch([GOOD, b"broken", without("shipping_address")])
    assert [message is not None for message, _ in results] == [True, False, True]
    assert [error is not None for _, error in results] == [False, True, False]
    assert results[0][0] == MESSAGE
    error = results[1][1]
    assert error is not None
    assert error.refusal.reason is Reason.NOT_JSON
    assert validator.validate_batch([]) == []
    assert validator.serialize_batch([MESSAGE, MESSAGE]) == [GOOD, GOOD]


def test_defaults_fill_missing_fields_only() -> None:
    validator = FlexibleValidator(orders)
    data = without("customer_name", notes="given")
    defaults = {"customer_name": "nobody", "notes": "default"}
    message = validator.validate_with_defaults(data, defaults)
    assert (message.customer_name, message.notes) == ("nobody", "given")
    refused = [
        (without(customer_name=5), Reason.WRONG_TYPE, "customer_name"),
        (without("order_id"), Reason.MISSING_FIELD, "order_id"),
        (b"{", Reason.NOT_JSON, ""),
    ]
    for data, reason, field in refused:
        with pytest.raises(MessageRefused) as caught:
            validator.validate_with_defaults(data, {"customer_name": "nobody"})
        assert (caught.value.refusal.reason, caught.value.field) == (reason, field)


def test_a_monitored_validator_counts_logs_and_re_raises() -> None:
    metrics = MetricsCollector()
    validator = MonitoredValidator(orders, metrics)
    with structlog.testing.capture_logs() as events:
        validator.validate(GOOD)
        validator.validate(without("shipping_address"))
        with pytest.raises(MessageRefused):
            validator.validate(b"broken")
        validator.serialize(MESSAGE)
        with pytest.raises(TypeError):
            validator.serialize(example_message(payments, Random(1)))
    assert [event["event"] for event in events] == [
        "message_validated",
        "message_validated",
        "validation_failed",
        "serialization_failed",
    ]
    assert isinstance(MESSAGE, OrderEventMessage)
    assert events[0]["order_id"] == MESSAGE.order_id
    assert all(event["duration_ms"] > 0 for event in events)
    assert "not_json" in events[2]["error"]
    found = metrics.get_metrics()
    assert (found.messages_validated, found.validation_errors) == (2, 1)
    assert (found.messages_serialized, found.serialization_errors) == (1, 1)
    assert found.schema_versions_seen == {"1.2": 1, "1.1": 1}
    assert found.validation_error_rate == pytest.approx(100 / 3)
    assert found.avg_validation_time_ms == pytest.approx(found.total_validation_time_ms / 3)


def test_a_snapshot_does_not_change_and_reset_sets_zero() -> None:
    metrics = MetricsCollector()
    metrics.record_validation(1.0, True, "1.0")
    before = metrics.get_metrics()
    metrics.record_validation(3.0, True, "1.0")
    metrics.record_validation(2.0, False, "1.0")
    assert before.schema_versions_seen == {"1.0": 1}
    assert before.messages_validated == 1
    assert metrics.get_metrics().schema_versions_seen == {"1.0": 2}
    metrics.reset()
    assert metrics.get_metrics() == SchemaMetrics()


def test_rates_and_averages_of_an_empty_collector_are_zero() -> None:
    empty = MetricsCollector().get_metrics()
    assert empty.validation_error_rate == 0
    assert empty.avg_validation_time_ms == empty.avg_serialization_time_ms == 0


def test_the_collector_is_thread_safe() -> None:
    metrics = MetricsCollector()

    def record(_: int) -> None:
        for _ in range(1000):
            metrics.record_validation(1.0, True, "1.0")
            metrics.record_serialization(1.0, True)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(record, range(8)))
    found = metrics.get_metrics()
    assert found.messages_validated == found.messages_serialized == 8000
    assert found.schema_versions_seen == {"1.0": 8000}
    assert found.total_validation_time_ms == 8000
