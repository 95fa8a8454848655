"""The command line with a real broker and a real engine."""

import json
import os
from pathlib import Path

import pytest

from sluice.contract import find
from sluice.contract.ddl import file_text
from sluice.kafka.broker import Broker
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
    log = run("log", "payments", "--most", "5")
    assert [line.split()[3] for line in log.output.splitlines() if line[:6].strip()] == [
        "published",
        "reserved",
        "audited",
        "publishing",
        "published",
    ]
    assert "load: 300 offsets" in log.output
    audited = run("verify", "payments", "--content")
    assert audited.exit_code == 0, audited.output
    assert "is in exactly one place" in audited.output
    nothing = run("verify", "payments", "--from", "2999-01-01")
    assert nothing.exit_code == 0
    assert "nothing to verify: no load has published offsets" in nothing.output
    assert "exactly one place" not in nothing.output
    empty = run("verify", "payments", "--from", "5", "--to", "1")
    assert (empty.exit_code, "the range of offsets from 5 to 1 is empty" in empty.output) == (
        1,
        True,
    )
    assert "payments matches its contract" in run("migrate", "payments", "--plan").output
    load_id = next(w for w in status.output.split() if w.startswith("payments_2"))
    page = tmp_path / "page.html"
    assert run("report", load_id, "--html", str(page)).exit_code == 0
    assert load_id in page.read_text()
    assert json.loads(run("report", load_id, "--json").output)["load_id"] == load_id


def test_texts_of_senders_do_not_control_the_terminal(
    run: Run, project_with_topic: str, broker: Broker, tmp_path: Path
) -> None:
    """The refusal of an unknown version repeats it. A file that cannot be written is a sentence."""
    topic, version = project_with_topic, "\x1b]0;x\x07\x9b2J"
    broker.create_topic(topic, 1)
    producer = broker.producer()
    headers: list[tuple[str, str | bytes | None]] = [("schema_version", version.encode())]
    producer.produce(topic, b"{}", b"key", headers=headers)
    producer.flush()
    commands: list[tuple[str, ...]] = [
        ("-v", "load", topic),
        ("quarantine", "list", topic),
        ("quarantine", "show", topic, "0", "0"),
        ("where", topic, "offset=0:0"),
    ]
    for command in commands:
        result = run(*command)
        assert result.exit_code == 0, result.output
        assert not set(result.output) & {"\x1b", "\x07", "\x9b"}, command
    assert r"\x1b]0;x\x07\x9b2J" in run(*commands[2]).output
    missing = tmp_path / "no such folder" / "file"
    load_id = run(*commands[2]).output.partition("load ")[2].split()[0]
    commands = [
        ("quarantine", "export", topic, str(missing)),
        ("report", load_id, "--html", str(missing)),
    ]
    for command in commands:
        result = run(*command)
        assert (result.exit_code, "Traceback" in result.output) == (1, False)
        assert f"{missing}: No such file or directory" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        "produce-samples payments --count -1",
        "produce-samples payments --partitions 0",
        "produce-samples payments --broken 1.5",
        "produce-samples payments --tombstones nan",
        "quarantine export payments file --most -1",
        "quarantine list payments --partition -1",
        "quarantine list payments --from -1",
        "quarantine list payments --to 9223372036854775808",
        "quarantine show payments 2147483648 0",
        "load payments --partition -1",
        "load payments --max-messages 9223372036854775808",
        "verify payments --partition -1",
        "housekeeping --keep-days nan",
        "new-topic things --messages 0",
    ],
)
def test_numbers_out_of_range_are_refused(arguments: str) -> None:
    result = Run()(*arguments.split())
    assert result.exit_code == 2
    assert "Invalid value" in result.output


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


def test_a_backlog_is_loaded_in_several_loads(
    run: Run, project_with_topic: str, tmp_path: Path
) -> None:
    module = tmp_path / os.environ["SLUICE_CONTRACTS"] / "orders.py"
    with module.open("a") as file:
        file.write("contract = msgspec.structs.replace(contract, max_offsets=30)\n")
    run("produce-samples", project_with_topic, "--count", "50", "--partitions", "2")
    loaded = run("load", project_with_topic)
    assert loaded.exit_code == 0, loaded.output
    assert loaded.output.count("load orders_") == loaded.output.count("published") == 2
    assert "20 offsets wait for the next load" in " ".join(loaded.output.split())
    again = run("load", project_with_topic)
    assert "nothing new" in again.output
    assert run("verify", project_with_topic).exit_code == 0
