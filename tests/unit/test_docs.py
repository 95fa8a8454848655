"""The documentation: links lead somewhere, and its commands exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from sluice.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "plugins" / "sluice" / "README.md",
]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_there_are_pages() -> None:
    assert len(PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_command_in_a_bash_block_exists(page: Path) -> None:
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.S | re.M):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            for command in re.split(r"\s(?:&&|\||;)\s", line):
                check(command.strip())


def check(command: str) -> None:
    """Refuse a make target, a ``sluice`` command or option, or a module that does not exist."""
    words = shlex.split(command, comments=True) if command.count("'") % 2 == 0 else []
    words = [word for word in words if not re.match(r"\w+=", word)]
    if not words:
        return
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        assert set(words[1:]) <= TARGETS, f"{command}: no such target"
    elif program == "sluice":
        check_sluice(command, words[1:])
    elif program == "python" and words[1:2] == ["-m"]:
        module = ROOT / words[2].replace(".", "/")
        found = module.with_suffix(".py").exists() or (module / "__main__.py").exists()
        assert found or words[2] in ("pytest", "pip"), f"{command}: no such module"


def check_sluice(command: str, words: list[str]) -> None:
    found: click.Command = main
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        assert name in found.commands, f"{command}: no such command"
        found = found.commands[name]
    options = {option for param in found.params for option in (*param.opts, *param.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options | {"--help"}, f"{command}: no option {word}"
