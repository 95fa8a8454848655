"""Python source in the project's format: by ``ruff``, which is a development dependency."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from sluice.authoring.new_topic.wrapping import WIDTH


class _LongLine(msgspec.Struct, frozen=True):
    """A finding of ruff: ``noqa_row`` is the line on which a comment suppresses it."""

    noqa_row: int


def format_source(source: str) -> str | None:
    """The source, formatted and with ``noqa`` for long lines that cannot be broken.

    None when ruff is not installed.

    Raises:
        subprocess.CalledProcessError: ruff cannot read the source.
    """
    ruff = _find_ruff()
    if ruff is None:
        return None
    formatted = _run(ruff, ["format"], source)
    check = ["check", "--select=E501", "--exit-zero", "--output-format=json"]
    findings = msgspec.json.decode(_run(ruff, check, formatted), type=list[_LongLine])
    lines = formatted.split("\n")
    for row in {finding.noqa_row for finding in findings}:
        lines[row - 1] += "  # noqa: E501"
    return "\n".join(lines)


def _find_ruff() -> str | None:
    environment = Path(sys.executable).parent
    return shutil.which("ruff", path=str(environment)) or shutil.which("ruff")


def _run(ruff: str, command: list[str], source: str) -> str:
    # Isolated: the result does not depend on the settings of the folder that the command runs in.
    options = ["--isolated", "--no-cache", f"--line-length={WIDTH}", "--stdin-filename=x.py", "-"]
    result = subprocess.run(
        [ruff, *command, *options], input=source, capture_output=True, encoding="utf-8", check=True
    )
    return result.stdout
