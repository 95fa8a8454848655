"""``docs/reported-elsewhere.md``: its tests exist, and its links match their numbers."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHEET = (ROOT / "docs" / "reported-elsewhere.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SHEET)))
KINDS = re.findall(r"^\*\*(.+?)\*\*$\n(.*?)(?=^(?:\*\*|#)|\Z)", SHEET, re.S | re.M)
LINK = re.compile(r"\[([\w.-]+/[\w.-]+)#(\d+)\]\((\S+)\)")


def test_the_sheet_lists_kinds_and_tests() -> None:
    assert len(KINDS) > 80
    assert len(TESTS) > 80
    assert SHEET.count("*Reports:*") == len(KINDS)


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name for _, name in TESTS])
def test_every_test_named_in_the_sheet_exists(file: str, name: str) -> None:
    assert (ROOT / file).exists(), file
    text = (ROOT / file).read_text()
    assert re.search(rf"^(?:async )?def {name}\(", text, re.M), f"{file} has no test {name}"


@pytest.mark.parametrize(("kind", "text"), KINDS, ids=[kind for kind, _ in KINDS])
def test_every_kind_has_reports_a_sentence_and_a_test(kind: str, text: str) -> None:
    items = re.findall(r"^- \*(Reports|Sluice|Tests?):\*\s+(\S.*)", text, re.M)
    assert [label.rstrip("s") for label, _ in items] == ["Report", "Sluice", "Test"]
    reports = text.partition("- *Sluice:*")[0]
    assert LINK.search(reports) or items[0][1] == "none found"
    assert re.search(r"`tests/\S+::\w+`", text.partition("- *Sluice:*")[2])


def test_the_address_of_a_report_has_its_repository_and_number() -> None:
    reports = LINK.findall(SHEET)
    assert len(reports) > 150
    for repository, number, address in reports:
        kind = "pull" if "/pull/" in address else "issues"
        assert address == f"https://github.com/{repository}/{kind}/{number}"
