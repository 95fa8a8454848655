"""The pages within Airflow: who sees what, and what hostile messages look like."""

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from local.airflow import Api
from local.stack import Stack
from tests.end_to_end.conftest import RunDag, Triggered


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


def test_topics_and_their_loads(api: Api, orders_run: Triggered) -> None:
    run_id = orders_run.run_id
    overview = page(api, api.url, "/").text
    assert "load_orders" in overview
    assert "load_payments" in overview
    topic = page(api, api.url, "/topic/load_orders").text
    assert run_id.replace("+", "&#43;") in topic or run_id in topic
    assert "no gap" in topic
    load = orders_run.report.load_id
    assert f"/load/load_orders/{load}" in topic
    assert "load: 3,002 offsets 0:[0, " in topic
    assert "adds up" in page(api, api.url, f"/load/load_orders/{load}").text
    assert page(api, api.url, f"/load/load_payments/{load}").status_code == 404
    assert "Data document" in page(api, api.url, f"/docs/load_orders/{load}").text


def test_the_catalogue_is_that_of_the_contracts(api: Api) -> None:
    assert "OrderEventMessage" in page(api, api.url, "/schemas").text
    schema = page(api, api.url, "/schemas/load_orders").text
    assert "AddressMessage</h3>" in schema
    assert "<td>str (1 to 64 characters)</td>" in schema
    assert "schema docs --write" not in schema


def test_housekeeping_runs(run_dag: RunDag) -> None:
    assert run_dag("sluice_housekeeping")[1] == "success"


def test_a_hostile_message_is_text_and_its_payload_needs_a_stronger_right(
    api: Api, viewer: Api, orders_run: Triggered
) -> None:
    seen = page(api, api.url, "/quarantine/load_orders", reason="missing_field")
    assert "alert(" in seen.text
    assert "<script>alert" not in seen.text
    assert seen.text.count("<script") == 1
    assert "script-src 'nonce-" in seen.headers["Content-Security-Policy"]
    less = page(viewer, api.url, "/quarantine/load_orders", reason="missing_field")
    assert less.status_code == 200
    assert "alert(" not in less.text
    assert "Replay these" not in less.text


def test_where_is_an_order(api: Api, orders_run: Triggered, hostile: str) -> None:
    found = page(api, api.url, "/where", topic="orders", question=f"order_id={hostile}")
    assert "loaded" in found.text
    assert found.headers["X-Correlation-ID"] == "c-77"
    echoed = httpx.get(
        f"{api.url}/sluice/", headers={**api.client.headers, "X-Correlation-ID": "r-1"}
    )
    assert echoed.headers["X-Correlation-ID"] == "r-1"
    lost = page(api, api.url, "/where", topic="orders", question="order_id=<b>")
    assert "No row, no staged row and no refused message" in lost.text
    wrong = page(api, api.url, "/where", topic="orders", question="colour=red")
    assert "there is no column &#39;colour&#39;" in wrong.text


def test_metrics_are_openmetrics_text(api: Api, orders_run: Triggered) -> None:
    text = page(api, api.url, "/metrics").text
    assert text.endswith("# EOF\n")
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    (offsets,) = (family for family in families if family.name == "sluice_offsets")
    labels = {"topic": "orders", "outcome": "loaded"}
    (loaded,) = (sample for sample in offsets.samples if sample.labels.items() >= labels.items())
    assert loaded.name == "sluice_offsets_total"
    assert loaded.value > 0
