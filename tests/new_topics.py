"""Writes contract files of new topics for tests, and checks them by the project's rules."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from sluice.authoring.new_topic.choices import Choices, describe
from sluice.authoring.new_topic.description import Draft, SkippedFields
from sluice.authoring.new_topic.formatter import format_source
from sluice.authoring.new_topic.inference import SampledValue, infer
from sluice.authoring.new_topic.json_schema import read_schema
from sluice.authoring.new_topic.naming import module_name
from sluice.authoring.new_topic.writer import source_of
from sluice.contract import Contract
from sluice.contract.columns import columns_of

ROOT = Path(__file__).resolve().parents[1]
TODAY = date(2026, 11, 24)


def from_samples(
    messages: Sequence[Mapping[str, Any]], *skipped: str, topic: str = "things"
) -> Draft:
    values = [SampledValue(message, 0, offset) for offset, message in enumerate(messages)]
    return infer(values, topic, SkippedFields(skipped))


def from_schema(schema: Any, *skipped: str) -> Draft:
    return read_schema(msgspec.json.encode(schema), "things", SkippedFields(skipped))


def object_schema(**properties: Any) -> dict[str, Any]:
    """A schema with an id and other required properties."""
    properties = {"id": {"type": "string"}, **properties}
    return {"type": "object", "properties": properties, "required": list(properties)}


def source(draft: Draft, topic: str = "things", **choices: Any) -> str:
    """The formatted contract file of a draft."""
    formatted = format_source(source_of(describe(topic, draft, Choices(**choices), TODAY)))
    assert formatted is not None
    return formatted


def line_of(text: str, name: str) -> str:
    """The line that declares an attribute."""
    return next(line.strip() for line in text.splitlines() if line.startswith(f"    {name}: "))


class Written:
    """Writes files to a folder and imports them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, draft: Draft, topic: str = "things", **choices: Any) -> Contract:
        path = self.folder / f"{module_name(topic)}.py"
        path.write_text(source(draft, topic, **choices))
        return imported(path)

    def check(self) -> None:
        """Check that the files pass the project's linter and formatter."""
        for command in (["format", "--check"], ["check", "--output-format", "concise"]):
            done = subprocess.run(
                [
                    Path(sys.executable).with_name("ruff"),
                    *command,
                    "--no-cache",
                    "--config",
                    "pyproject.toml",
                    self.folder,
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr


def imported(path: Path) -> Contract:
    spec = importlib.util.spec_from_file_location(f"written_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.contract, Contract)
    return module.contract


def types_of(contract: Contract) -> dict[str, str]:
    """Column → type."""
    return {column.name: str(column.type.stored) for column in columns_of(contract.message)}
