"""The command line with a real broker and a real engine."""

import json
from pathlib import Path

import pytest

from sluice.contract import find
from sluice.contract.ddl import file_text
from tests.commands import Run


def test_help_names_every_command() -> None:
    result = Run()("--help")
    named = (
        "topics ddl migrate load status report verify quarantine schema new-topic produce-samples"
    )
    for command in named.split():
        assert command in result.output


def test_topics_lists_the_contracts() -> None:
    result = Run()("topics")
    assert "orders" in result.output
    assert "payments" in result.output


def test_ddl_check_shows_what_differs(tmp_path: Path) -> None:
    into = ("--folder", str(tmp_path))
    assert Run()("ddl", "--write", *into).exit_code == 0
    assert (tmp_path / "orders.sql").read_text() == file_text(find("orders"))
    assert "CREATE TABLE" in (tmp_path / "bookkeeping.sql").read_text()
    assert Run()("ddl", "--check", *into).exit_code == 0
    stale = (tmp_path / "orders.sql").read_text().replace("`notes` String", "`notes` Int8")
    (tmp_path / "orders.sql").write_text(stale)
    result = Run()("ddl", "--check", *into)
    assert result.exit_code == 1
    assert "-    `notes` Int8" in result.output
    assert "+    `notes` String" in result.output


def test_produce_load_status_and_report(run: Run, tmp_path: Path) -> None:
    assert run("produce-samples", "payments", "--count", "800", "--seed", "1").exit_code == 0
    before = run("status", "payments")
    assert before.exit_code == 0, before.output
    assert "lag, seconds" in before.output
    loaded = run("load", "payments", "--max-messages", "500")
    assert loaded.exit_code == 0, loaded.output
    assert "published" in loaded.output
    assert "500" in loaded.output
    rest = run("load", "payments")
    assert rest.exit_code == 0
    nothing = run("load", "payments")
    assert "nothing new" in nothing.output
    status = run("status", "payments")
    assert status.output.count("published") == 2
    audited = run("verify", "payments", "--content")
    assert audited.exit_code == 0, audited.output
    assert "is in exactly one place" in audited.output
    assert "payments matches its contract" in run("migrate", "payments", "--plan").output
    load_id = next(w for w in status.output.split() if w.startswith("payments_2"))
    page = tmp_path / "page.html"
    assert run("report", load_id, "--html", str(page)).exit_code == 0
    assert load_id in page.read_text()
    assert json.loads(run("report", load_id, "--json").output)["load_id"] == load_id


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("load", "nope"), "topic 'nope': "),
        (("load", "payments", "--partition", "99"), "topic 'payments', partition 99: "),
        (("report", "nope"), "no report of load nope"),
    ],
)
def test_errors_are_sentences(run: Run, arguments: tuple[str, ...], words: str) -> None:
    run("produce-samples", "payments", "--count", "10")
    result = run(*arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


def test_the_error_without_connections_names_the_variable() -> None:
    result = Run()("status", "orders")
    assert result.exit_code == 1
    assert "AIRFLOW_CONN_KAFKA_DEFAULT" in result.output
