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
from sluice.errors import MessageRefused, Reason
from sluice.services.validator_metrics import MetricsCollector, SchemaMetrics
from sluice.services.validators import (
    BatchValidator,
    FlexibleValidator,
    MonitoredValidator,
    Validator,
    ValidatorPool,
)

MESSAGE = orders.example(Random(3))
GOOD = msgspec.json.encode(MESSAGE)
FIELDS: dict[str, Any] = json.loads(GOOD)


def without(*names: str, **changed: Any) -> bytes:
    return json.dumps({k: v for k, v in (FIELDS | changed).items() if k not in names}).encode()


@pytest.mark.parametrize("contract", [orders, payments])
def test_any_contract_goes_both_ways(contract: Any) -> None:
    message = contract.example(Random(1))
    validator = Validator(contract)
    assert validator.validate(validator.serialize(message)) == message


def test_an_older_message_becomes_one_of_the_current_class() -> None:
    message = Validator(orders).validate(without("shipping_address"))
    assert type(message) is OrderEventMessage
    assert message == msgspec.structs.replace(MESSAGE, shipping_address=UNKNOWN_ADDRESS)


def test_an_error_has_reason_field_and_nearest_version() -> None:
    with pytest.raises(MessageRefused, match="wrong_type at total_price: Expected") as caught:
        Validator(orders).validate(without("shipping_address", total_price="1"))
    refusal = caught.value.refusal
    assert (refusal.reason, refusal.field) == (Reason.WRONG_TYPE, "total_price")


def test_what_is_not_of_the_contract_is_not_serialized() -> None:
    with pytest.raises(TypeError, match="carries OrderEventMessage, not PaymentMessage"):
        Validator(orders).serialize(payments.example(Random(1)))


def test_the_pool_hands_its_validators_out_in_turn() -> None:
    pool = ValidatorPool(orders, pool_size=3)
    handed = [pool.get_validator() for _ in range(7)]
    assert len({id(v) for v in handed}) == 3
    assert handed[0] is handed[3] is handed[6]
    with pytest.raises(ValueError, match="pool_size"):
        ValidatorPool(orders, pool_size=0)


def test_the_pool_serves_16_threads() -> None:
    pool = ValidatorPool(orders, pool_size=4)
    start = threading.Barrier(16)
    handed: list[int] = []

    def work(number: int) -> bool:
        start.wait()
        for _ in range(500):
            assert pool.validate(GOOD) == MESSAGE
            handed.append(id(pool.get_validator()))
        with pytest.raises(MessageRefused):
            pool.validate(without("order_id"))
        return True

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(work, range(16)))
    assert len(set(handed)) == 4


def test_a_batch_gives_one_result_a_message_in_order() -> None:
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


def test_defaults_fill_what_is_missing_and_nothing_else() -> None:
    validator = FlexibleValidator(orders)
    data = without("customer_name", notes="given")
    defaults = {"customer_name": "nobody", "notes": "default"}
    message = validator.validate_with_defaults(data, defaults)
    assert (message.customer_name, message.notes) == ("nobody", "given")
    with pytest.raises(MessageRefused, match="customer_name"):
        validator.validate_with_defaults(without(customer_name=5), {"customer_name": "nobody"})
    with pytest.raises(MessageRefused, match="order_id is missing"):
        validator.validate_with_defaults(without("order_id"), {"customer_name": "nobody"})
    with pytest.raises(MessageRefused, match="not_json"):
        validator.validate_with_defaults(b"{", {"customer_name": "nobody"})


def test_a_monitored_validator_counts_tells_and_raises_again() -> None:
    metrics = MetricsCollector()
    validator = MonitoredValidator(orders, metrics)
    with structlog.testing.capture_logs() as events:
        validator.validate(GOOD)
        validator.validate(without("shipping_address"))
        with pytest.raises(MessageRefused):
            validator.validate(b"broken")
        validator.serialize(MESSAGE)
        with pytest.raises(TypeError):
            validator.serialize(payments.example(Random(1)))
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


def test_a_snapshot_does_not_change_and_reset_begins_anew() -> None:
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


def test_nothing_seen_divides_by_nothing() -> None:
    empty = MetricsCollector().get_metrics()
    assert empty.validation_error_rate == 0
    assert empty.avg_validation_time_ms == empty.avg_serialization_time_ms == 0


def test_the_collector_loses_nothing_between_threads() -> None:
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
