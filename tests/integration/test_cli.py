"""The command line, against the real broker and the real engine."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from local.stack import Stack
from sluice import cli
from sluice.commands import tables
from sluice.contract import find
from sluice.ddl import file_text
from sluice.settings import Connection


@pytest.fixture
def run(
    stack: Stack, kafka: Connection, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> "Run":
    for name, value in stack.connections.items():
        monkeypatch.setenv(name, value.replace('"default"}', f'"{database.schema}"}}'))
    monkeypatch.setenv("SLUICE_DATABASE", f"{database.schema}_sluice")
    return Run()


class Run:
    """Runs a command and gives its result; an error without a traceback is expected at most."""

    def __call__(self, *arguments: str) -> Result:
        result = CliRunner().invoke(cli.main, list(arguments))
        if result.exception is not None:
            assert isinstance(result.exception, SystemExit), result.exception
        return result


def test_help_names_every_command() -> None:
    result = Run()("--help")
    for command in ("topics", "ddl", "load", "status", "report", "produce-samples"):
        assert command in result.output


def test_topics_lists_the_contracts() -> None:
    result = Run()("topics")
    assert "orders" in result.output
    assert "payments" in result.output


def test_ddl_check_shows_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SQL", tmp_path)
    assert Run()("ddl", "--write").exit_code == 0
    assert (tmp_path / "orders.sql").read_text() == file_text(find("orders"))
    assert Run()("ddl", "--check").exit_code == 0
    stale = (tmp_path / "orders.sql").read_text().replace("`notes` String", "`notes` Int8")
    (tmp_path / "orders.sql").write_text(stale)
    result = Run()("ddl", "--check")
    assert result.exit_code == 1
    assert "-    `notes` Int8" in result.output
    assert "+    `notes` String" in result.output


def test_produce_load_status_and_report(run: Run, tmp_path: Path) -> None:
    assert run("produce-samples", "payments", "--count", "800", "--seed", "1").exit_code == 0
    before = run("status", "payments")
    assert before.exit_code == 0, before.output
    loaded = run("load", "payments", "--max-messages", "500")
    assert loaded.exit_code == 0, loaded.output
    assert "published" in loaded.output
    assert "500" in loaded.output
    rest = run("load", "payments")
    assert rest.exit_code == 0
    nothing = run("load", "payments")
    assert "nothing new" in nothing.output
    status = run("status", "payments")
    assert status.output.count("published") == 3
    load_id = next(w for w in status.output.split() if w.startswith("payments_2"))
    page = tmp_path / "page.html"
    assert run("report", load_id, "--html", str(page)).exit_code == 0
    assert load_id in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("load", "nope"), "no contract for topic 'nope'"),
        (("load", "payments", "--partition", "99"), "has no partition 99"),
        (("report", "nope"), "no report of load nope"),
    ],
)
def test_errors_are_sentences(run: Run, arguments: tuple[str, ...], words: str) -> None:
    run("produce-samples", "payments", "--count", "10")
    result = run(*arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


def test_without_connections_the_error_says_what_to_set() -> None:
    result = Run()("status", "orders")
    assert result.exit_code == 1
    assert "AIRFLOW_CONN_KAFKA_DEFAULT" in result.output
