"""Tracing that producers add to messages and loads read back."""

from random import Random
from uuid import UUID

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span

from include.schemas.orders import AddressMessage, TracedOrderEventMessage, contract
from sluice.authoring.examples import example_message
from sluice.decode.tracing import MARK, TracingHelper, add_body_tracing, read_tracing
from sluice.decode.wire import Tracing, read_headers

ORDER = example_message(contract, Random(1))


def test_adding_tracing_keeps_all_fields() -> None:
    traced = TracingHelper.add_tracing(ORDER)
    assert isinstance(traced, TracedOrderEventMessage)
    for field in ORDER.__struct_fields__:
        assert getattr(traced, field) == getattr(ORDER, field)
    assert UUID(traced.correlation_id).version == 4
    assert (traced.trace_id, traced.span_id) == ("", "")
    again = TracingHelper.add_tracing(traced, "given")
    assert (again.correlation_id, again.order_id) == ("given", ORDER.order_id)
    assert TracingHelper.generate_correlation_id() != TracingHelper.generate_correlation_id()


def test_the_current_span_is_added_and_read_back_from_headers() -> None:
    span = TracerProvider().get_tracer("test").start_span("produce")
    with use_span(span):
        traced = TracingHelper.add_tracing(ORDER, "c-1")
    context = span.get_span_context()
    assert int(traced.trace_id, 16) == context.trace_id
    assert int(traced.span_id, 16) == context.span_id
    headers = [(n, v) for n, v in TracingHelper.headers(traced) if isinstance(v, bytes)]
    tracing = read_headers(headers)
    assert tracing == Tracing("", "c-1", traced.trace_id, traced.span_id)
    assert TracingHelper.headers(TracingHelper.add_tracing(ORDER, "c")) == [
        ("correlation_id", b"c")
    ]


def test_tracing_missing_in_headers_is_read_from_the_body() -> None:
    value = msgspec.json.encode(TracingHelper.add_tracing(ORDER, "c-1"))
    assert MARK in value
    assert add_body_tracing(Tracing("1.2"), value) == Tracing("1.2", "c-1")
    assert add_body_tracing(Tracing("", "", "t", "s"), value) == Tracing("", "c-1", "t", "s")
    assert add_body_tracing(Tracing(), b"\x00\x00\x00\x00\x07" + value).correlation_id == "c-1"


@pytest.mark.parametrize("value", [b'{"correlation_id": 7}', b'["correlation_id"]', b'"x', b"\xff"])
def test_a_malformed_body_yields_no_correlation_id(value: bytes) -> None:
    tracing = Tracing("1.2")
    assert add_body_tracing(tracing, value) is tracing


def test_a_class_without_a_traced_subclass_is_refused() -> None:
    with pytest.raises(TypeError, match="AddressMessage has no subclass"):
        TracingHelper.add_tracing(AddressMessage("s", "c", "p", "x"))


def test_a_deeply_nested_message_yields_no_tracing() -> None:
    value = b'{"correlation_id": "c", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert read_tracing(None, value) == Tracing()
