"""Writes generated files, or compares the committed ones with the current generated text."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from sluice.cli.console import console

F = TypeVar("F", bound=Callable[..., Any])


def folder_option(default: str) -> Callable[[F], F]:
    """The option for the folder of generated files."""
    return click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        help=f"Folder of the files; by default {default}, next to the contracts' package.",
    )


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files whose text differs.

    Args:
        files: file name → text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            console.print(f"wrote {name}")


def check_files(folder: Path, files: Mapping[str, str], repair: str) -> None:
    """Compare the files with the generated text, and print the differences.

    Args:
        files: file name → text.
        repair: the command that writes the files.

    Raises:
        click.ClickException: a file differs.
    """
    differs = False
    for name, text in files.items():
        path = folder / name
        committed = path.read_text() if path.exists() else ""
        lines = difflib.unified_diff(
            committed.splitlines(keepends=True),
            text.splitlines(keepends=True),
            f"{folder.name}/{name}",
            "generated",
        )
        for line in lines:
            differs = True
            click.echo(line, nl=False)
    if differs:
        raise click.ClickException(f"{folder} differs from the contracts; {repair!r} repairs it")
    console.print(f"{folder.name} is up to date with the contracts")
