"""The pages within Airflow: who sees what, and what hostile messages look like."""

from collections.abc import Callable
from random import Random

import httpx
import msgspec
import pytest

from local.airflow import Api
from local.stack import Stack
from tests.end_to_end.conftest import loader_of

Run = Callable[..., tuple[str, str]]
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def hostile(api: Api, whole_stack: Stack) -> str:
    """Id of an order that is refused and has a script in all of its fields."""
    loader = loader_of(whole_stack, "orders")
    producer = loader.broker.producer()
    value = msgspec.json.encode({"order_id": HOSTILE, "customer_name": HOSTILE, HOSTILE: HOSTILE})
    headers: list[tuple[str, str | bytes | None]] = [(HOSTILE, HOSTILE)]
    producer.produce("orders", value, HOSTILE, headers=headers)
    good = loader.contract.example(Random(77))
    producer.produce("orders", msgspec.json.encode(good), headers=[("correlation_id", "c-77")])
    producer.flush()
    return str(msgspec.to_builtins(good)["order_id"])


def page(reader: Api | None, url: str, path: str, **params: str) -> httpx.Response:
    headers = dict(reader.client.headers) if reader else {}
    return httpx.get(f"{url}/sluice{path}", params=params, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def viewer(api: Api, whole_stack: Stack) -> Api:
    return Api(whole_stack.ports.airflow, "viewer", whole_stack.secrets["viewer"])


def test_pages_are_for_those_who_are_logged_in(api: Api) -> None:
    for path in (
        "/",
        "/topic/load_orders",
        "/quarantine/load_orders",
        "/where",
        "/schemas",
        "/schemas/load_orders",
        "/docs/load_orders/none",
        "/metrics",
    ):
        assert page(None, api.url, path).status_code == 401, path
        answer = page(api, api.url, path)
        assert answer.status_code == 200, answer.text
        assert "http" not in answer.text.replace("http-equiv", "")
    assert page(api, api.url, "/topic/load_nothing").status_code in (403, 404, 503)


def test_topics_and_their_loads(api: Api, run_dag: Run, hostile: str) -> None:
    run_id, _ = run_dag("load_orders")
    overview = page(api, api.url, "/").text
    assert "load_orders" in overview
    assert "load_payments" in overview
    topic = page(api, api.url, "/topic/load_orders").text
    assert run_id.replace("+", "&#43;") in topic or run_id in topic
    assert "no gap" in topic
    load = topic.split("/load/load_orders/")[1].split('"')[0]
    assert "adds up" in page(api, api.url, f"/load/load_orders/{load}").text
    assert page(api, api.url, f"/load/load_payments/{load}").status_code == 404
    assert "Data document" in page(api, api.url, f"/docs/load_orders/{load}").text


def test_the_catalogue_is_that_of_the_contracts(api: Api) -> None:
    assert "OrderEventMessage" in page(api, api.url, "/schemas").text
    schema = page(api, api.url, "/schemas/load_orders").text
    assert "AddressMessage</h3>" in schema
    assert "<td>str (1 to 64 characters)</td>" in schema
    assert "schema docs --write" not in schema


def test_housekeeping_runs(run_dag: Run) -> None:
    assert run_dag("sluice_housekeeping")[1] == "success"


def test_a_hostile_message_is_text_and_its_payload_needs_a_stronger_right(
    api: Api, viewer: Api, run_dag: Run, hostile: str
) -> None:
    run_dag("load_orders")
    seen = page(api, api.url, "/quarantine/load_orders", reason="missing_field")
    assert "alert(" in seen.text
    assert "<script>alert" not in seen.text
    assert seen.text.count("<script") == 1
    assert "script-src 'nonce-" in seen.headers["Content-Security-Policy"]
    less = page(viewer, api.url, "/quarantine/load_orders", reason="missing_field")
    assert less.status_code == 200
    assert "alert(" not in less.text
    assert "Replay these" not in less.text


def test_where_is_an_order(api: Api, run_dag: Run, hostile: str) -> None:
    run_dag("load_orders")
    found = page(api, api.url, "/where", topic="orders", question=f"order_id={hostile}")
    assert "loaded" in found.text
    assert found.headers["X-Correlation-ID"] == "c-77"
    echoed = httpx.get(
        f"{api.url}/sluice/", headers={**api.client.headers, "X-Correlation-ID": "r-1"}
    )
    assert echoed.headers["X-Correlation-ID"] == "r-1"
    lost = page(api, api.url, "/where", topic="orders", question="order_id=<b>")
    assert "No row and no refused message" in lost.text
    wrong = page(api, api.url, "/where", topic="orders", question="colour=red")
    assert "has no &#39;colour&#39;" in wrong.text


def test_metrics_are_openmetrics_text(api: Api, run_dag: Run, hostile: str) -> None:
    run_dag("load_orders")
    text = page(api, api.url, "/metrics").text
    assert text.endswith("# EOF\n")
    line = next(x for x in text.splitlines() if 'topic="orders",outcome="loaded"' in x)
    assert line.startswith("sluice_offsets_total{")
    assert float(line.rpartition(" ")[2]) > 0
