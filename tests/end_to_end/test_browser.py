"""The UI as a person uses it, in Debian's Chromium. Run with ``make browser``."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from local.airflow import Api
from local.stack import Stack
from tests.end_to_end.conftest import loader_of, until, wait_for_run

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: SCREENSHOTS, to renew those of the documentation."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def page(api: Api, whole_stack: Stack) -> Iterator[Page]:
    """A page of a logged-in admin."""
    assert Path(CHROMIUM).exists(), f"no browser at {CHROMIUM}: install Debian's chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        made = browser.new_page(viewport={"width": 1400, "height": 900})
        made.set_default_timeout(PATIENCE)
        made.goto(f"{api.url}/")
        made.fill("input[name=username]", "admin")
        made.fill("input[name=password]", whole_stack.secrets["admin"])
        made.keyboard.press("Enter")
        expect(made.get_by_role("link", name="Dags")).to_be_visible(timeout=PATIENCE)
        yield made
        browser.close()


def in_both_themes(page: Page, path: Path) -> None:
    """A picture of what is shown, and one of it in the dark."""
    page.screenshot(path=path)
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=path.with_stem(f"{path.stem}-dark"))
    page.emulate_media(color_scheme="light")


def test_a_load_from_the_form_to_its_report(
    page: Page, api: Api, send: Callable[..., None], pictures: Path
) -> None:
    send("orders", 20_000)
    page.goto(f"{api.url}/dags/load_orders")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("What to load")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(500)
    page.screenshot(path=pictures / "form.png")
    dialog.get_by_role("button", name="Trigger").last.click()
    page.wait_for_url(re.compile(r"/runs/manual"), timeout=PATIENCE)
    run = re.sub(r"[?#].*", "", page.url)
    run_id = unquote(run.split("/runs/")[1].split("/")[0])
    assert wait_for_run(api, "load_orders", run_id) == "success"
    page.reload()
    expect(page.get_by_text("Success").first).to_be_visible(timeout=PATIENCE)
    for task in ("plan", "drain", "audit", "decide", "publish", "report"):
        expect(page.get_by_role("link", name=re.compile(rf"^{task}\b")).first).to_be_visible()
    page.screenshot(path=pictures / "run.png")

    page.get_by_role("link", name="Load report").click()
    report = page.frame_locator("iframe")
    expect(report.get_by_text("adds up")).to_be_visible(timeout=PATIENCE)
    expect(report.get_by_role("heading", name="Topic orders → default.orders")).to_be_visible()
    page.screenshot(path=pictures / "report.png")

    page.goto(run)
    page.get_by_role("button", name="Show Graph").or_(page.get_by_label("Graph")).first.click()
    expect(page.get_by_test_id("node-plan").or_(page.get_by_text("plan").first)).to_be_visible()
    page.wait_for_timeout(3000)
    page.screenshot(path=pictures / "graph.png")


def test_the_report_is_readable_in_the_dark(page: Page, api: Api, pictures: Path) -> None:
    runs = api.get("/dags/load_orders/dagRuns?order_by=-start_date&limit=1")["dag_runs"]
    assert isinstance(runs, list)
    run_id = runs[0]["dag_run_id"]
    page.emulate_media(color_scheme="dark")
    page.goto(f"{api.url}/sluice/run?dag_id=load_orders&run_id={quote(run_id, safe='')}")
    expect(page.get_by_role("heading", name="Topic orders → default.orders")).to_be_visible()
    colours = page.evaluate(
        "() => [getComputedStyle(document.body).color,"
        " getComputedStyle(document.documentElement).colorScheme]"
    )
    assert colours[0] == "rgb(255, 255, 255)"
    page.screenshot(path=pictures / "report-dark.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 420, "height": 900})
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 420, "a narrow screen scrolls the tables, not the page"


def test_a_refused_message_is_looked_at_replayed_and_found(
    page: Page, api: Api, whole_stack: Stack, send: Callable[..., None], pictures: Path
) -> None:
    """A script in every field is shown as text, and nothing of it runs."""
    page.set_viewport_size({"width": 1400, "height": 900})
    hostile = "<script>document.title = 'owned'</script>"
    producer = loader_of(whole_stack, "orders").broker.producer()
    value = msgspec.json.encode({"order_id": hostile, "customer_name": hostile, hostile: hostile})
    producer.produce("orders", value, hostile, headers=[(hostile, hostile)])
    producer.flush()
    send("orders", 2000)
    assert wait_for_run(api, "load_orders", api.trigger("load_orders")) == "success"

    page.goto(f"{api.url}/plugin/sluice-topics")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Topics")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(500)
    in_both_themes(page, pictures / "topics.png")
    frame.get_by_role("link", name="orders", exact=True).click()
    expect(frame.get_by_role("heading", name="Topic orders")).to_be_visible()
    frame.get_by_role("link", name="Quarantine").click()
    expect(frame.get_by_role("button", name="Replay these")).to_be_visible()
    shown = frame.locator("details", has_text="document.title").first
    shown.locator("summary").click()
    expect(shown.locator("pre")).to_contain_text("<script>document.title")
    in_both_themes(page, pictures / "quarantine.png")
    frame.get_by_role("button", name="Replay these").click()
    expect(frame.get_by_role("status")).to_contain_text("started run", timeout=PATIENCE)
    run_id = frame.get_by_role("status").inner_text().removeprefix("started run ")
    assert wait_for_run(api, "replay_orders", run_id) == "success"
    assert page.title() != "owned"

    frame.get_by_role("link", name="Where is…?").click()
    frame.get_by_label("Topic").select_option("orders")
    order = loader_of(whole_stack, "orders").clickhouse.rows(
        "SELECT order_id, _partition AS p, _offset AS o FROM orders ORDER BY _offset DESC LIMIT 1"
    )[0]
    frame.get_by_label("Question").fill(f"order_id={order['order_id']}")
    frame.get_by_role("button", name="Find").click()
    found = frame.get_by_text(f"partition {order['p']}, offset {order['o']}")
    expect(found).to_be_visible()
    in_both_themes(page, pictures / "where.png")


def test_a_topic_s_charts_are_zoomed_and_its_documents_and_schema_are_read(
    page: Page, api: Api, pictures: Path
) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    for scheme, suffix in (("dark", "-dark"), ("light", "")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(f"{api.url}/sluice/topic/load_orders")
        expect(page.locator("#versions canvas")).to_be_visible()
        page.screenshot(path=pictures / f"topic{suffix}.png")
    scale = (
        "() => { const x = document.getElementById('rows').chart.scales.x; return x.max - x.min }"
    )
    whole = page.evaluate(scale)
    box = page.locator("#rows .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 40, steps=5)
    page.mouse.up()
    assert page.evaluate(scale) < 0.5 * whole
    page.mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 40)
    assert page.evaluate(scale) == whole

    page.locator("tr", has_text="load_orders/manual").first.get_by_role("link").click()
    page.get_by_role("link", name="Data document").click()
    expect(page.get_by_text("partition and offset are unique")).to_be_visible()
    in_both_themes(page, pictures / "data-document.png")
    page.get_by_role("link", name="Schemas").press("Enter")
    page.get_by_role("link", name="orders", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="AddressMessage")).to_be_visible()
    in_both_themes(page, pictures / "schema.png")


@pytest.mark.parametrize(
    ("option", "state", "end"),
    [("Release", "published", "success"), ("Discard", "abandoned", "failed")],
)
def test_the_gate_holds_a_load_back_until_a_person_decides(
    page: Page,
    api: Api,
    send: Callable[..., None],
    pictures: Path,
    option: str,
    state: str,
    end: str,
) -> None:
    send("payments", 600, broken_share=0.4)
    run_id = api.trigger("load_payments")

    def waits() -> bool:
        states = {task: state for task, _, state in api.task_states("load_payments", run_id)}
        return states.get("decide") == "awaiting_input"

    until(waits, "the question")
    run = f"{api.url}/dags/load_payments/runs/{quote(run_id, safe='')}"
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto(f"{run}/plugin/sluice")
    report = page.frame_locator("iframe")
    expect(report.get_by_text("held", exact=True)).to_be_visible(timeout=PATIENCE)
    page.goto(f"{run}/tasks/decide/required_actions")
    expect(page.get_by_text("the contract's limit is 1.0%")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("textbox").last.fill("looked at in the browser")
    page.screenshot(path=pictures / f"gate-{option.lower()}.png")
    page.get_by_role("button", name=option).click()
    assert wait_for_run(api, "load_payments", run_id) == end
    page.goto(f"{run}/plugin/sluice")
    expect(report.get_by_text(state, exact=True)).to_be_visible(timeout=PATIENCE)
    expect(report.get_by_text("by admin: looked at in the browser")).to_be_visible()
    page.screenshot(path=pictures / f"gate-{state}.png")
